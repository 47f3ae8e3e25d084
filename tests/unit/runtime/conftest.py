"""A small API server that really speaks HTTP: objects by path, resourceVersions, the errors, and faults on demand."""

import asyncio
import copy
import itertools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from attune.cluster.client import KubernetesCluster
from attune.cluster.connect import Connection
from attune.cluster.transport import Transport

GROUPS = {
    "/api/v1": {"ConfigMap": "configmaps", "Pod": "pods", "Event": "events"},
    "/apis/batch/v1": {"Job": "jobs"},
    "/apis/coordination.k8s.io/v1": {"Lease": "leases"},
    "/apis/attune.dev/v1alpha1": {"TrainingJob": "trainingjobs"},
}


class ApiServer:
    """Keeps every object; `requests` has (method, path) of all that came in; `faults` answer instead, one each."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.queries: list[dict[str, str]] = []
        self.faults: list[Callable[[web.Request], Any]] = []
        self.logs: dict[str, str] = {}
        self.page: int | None = None
        self.groups = dict(GROUPS)
        self._version = itertools.count(1)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        if path not in self.groups:
            self.requests.append((request.method, path))
            self.headers.append(dict(request.headers))
            self.queries.append(dict(request.query))
            if self.faults:
                answer = self.faults.pop(0)(request)
                answer = await answer if asyncio.iscoroutine(answer) else answer
                if answer is not None:
                    return answer
        if path in self.groups or (path.startswith(("/api/", "/apis/")) and path.count("/") in {2, 3} and "v" in path):
            return self._discover(path)
        body = json.loads(await request.read() or b"null")
        return getattr(self, f"_{request.method.lower()}")(request, path, body)

    def _discover(self, path: str) -> web.Response:
        if path not in self.groups:
            return failure(404, "NotFound", "no such group")
        found = [{"name": plural, "kind": kind, "namespaced": True} for kind, plural in self.groups[path].items()]
        return web.json_response({"resources": [*found, {"name": "x/status", "kind": "X", "namespaced": True}]})

    def _get(self, request: web.Request, path: str, _: Any) -> web.Response:
        if path.endswith("/log"):
            return web.Response(text=self.logs[path]) if path in self.logs else failure(400, "BadRequest", "waiting")
        if path in self.objects:
            return web.json_response(self.objects[path])
        if path.rsplit("/", 1)[-1] in {plural for kinds in self.groups.values() for plural in kinds.values()}:
            return self._list(request, path)
        return failure(404, "NotFound", f"{path} not found")

    def _list(self, request: web.Request, path: str) -> web.Response:
        collection, wanted = path.rsplit("/", 1)[-1], request.query.get("labelSelector", "")
        labels = dict(pair.split("=") for pair in wanted.split(",") if pair)
        root = path.removesuffix("/" + collection)
        found = [
            {k: v for k, v in o.items() if k not in {"kind", "apiVersion"}}
            for p, o in sorted(self.objects.items())
            if p.startswith(root)
            and f"/{collection}/" in p
            and labels.items() <= o["metadata"].get("labels", {}).items()
        ]
        start = int(request.query.get("continue", 0))
        size = self.page or len(found) or 1
        more = {"continue": str(start + size)} if start + size < len(found) else {}
        return web.json_response({"items": found[start : start + size], "metadata": more})

    def _post(self, _: web.Request, path: str, body: Any) -> web.Response:
        path = f"{path}/{body['metadata']['name']}"
        if path in self.objects:
            return failure(409, "AlreadyExists", f"{path} already exists")
        return web.json_response(self._store(path, body), status=201)

    def _put(self, _: web.Request, path: str, body: Any) -> web.Response:
        status, path = path.endswith("/status"), path.removesuffix("/status")
        stored = self.objects.get(path)
        if stored is None:
            return failure(404, "NotFound", f"{path} not found")
        if body["metadata"].get("resourceVersion") != stored["metadata"]["resourceVersion"]:
            return failure(409, "Conflict", "the object has been modified")
        return web.json_response(self._store(path, {**stored, "status": body["status"]} if status else body))

    def _patch(self, request: web.Request, path: str, body: Any) -> web.Response:
        assert request.headers["Content-Type"] == "application/apply-patch+yaml"
        assert request.query["fieldManager"] == "attune"
        assert request.query["force"] == "true"
        merged = {**self.objects.get(path, {}), **body}
        merged["metadata"] = {**self.objects.get(path, {}).get("metadata", {}), **body["metadata"]}
        return web.json_response(self._store(path, merged))

    def _delete(self, _: web.Request, path: str, body: Any) -> web.Response:
        stored = self.objects.get(path)
        if stored is None:
            return failure(404, "NotFound", f"{path} not found")
        uid = ((body or {}).get("preconditions") or {}).get("uid")
        if uid and uid != stored["metadata"]["uid"]:
            return failure(409, "Conflict", "the UID in the precondition does not match")
        del self.objects[path]
        return web.json_response({"kind": "Status", "status": "Success"})

    def _store(self, path: str, body: Any) -> dict[str, Any]:
        stored = copy.deepcopy(body)
        number = str(next(self._version))
        stored["metadata"].setdefault("uid", f"uid-{number}")
        stored["metadata"]["resourceVersion"] = number
        self.objects[path] = stored
        return stored


def failure(code: int, reason: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}
    return web.json_response(body, status=code, headers=headers)


@pytest.fixture
def refuse() -> Callable[..., web.Response]:
    """Builds the answers of an API server that says no."""
    return failure


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"  # type: ignore[attr-defined]
    yield server
    await runner.cleanup()


@pytest.fixture
async def transport(api: Any) -> AsyncIterator[Transport]:
    made = Transport(Connection(api.url), timeout=2)
    yield made
    await made.close()


@pytest.fixture
def cluster(transport: Transport) -> KubernetesCluster:
    return KubernetesCluster(transport)
