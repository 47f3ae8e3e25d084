"""An API server in memory over real HTTP: our kinds with list, watch and writes as the real one does them, tokens and rights.

What it checks of an object is its CRD's schema (unknown fields, types, enums, bounds, defaults), not the CEL rules. To look
at: `python tests/support/rest_world.py` runs one with sample objects behind the REST API.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import itertools
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from aiohttp import web

from attune.api.crd import DEFINITIONS, definition
from attune.api.kinds import GROUP, KINDS, kind_named

Thing = dict[str, Any]
KIND_OF = {kind.plural: kind.kind for kind in KINDS}
SCHEMAS = {
    of.kind.plural: definition(of)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for of in DEFINITIONS
}
ALL = "*"


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Grant:
    """A rule of RBAC: who may do what where; `name` "" is every object."""

    user: str
    verb: str
    resource: str
    namespace: str
    name: str = ""


@dataclass
class KubeServer:
    """`put` and `remove` as users would; `faults` answer instead, one each; `requests` has (method, path) of all that came in."""

    tokens: dict[str, str] = field(default_factory=dict)
    """Token → user."""
    grants: list[Grant] = field(default_factory=list)
    objects: dict[tuple[str, str, str], Thing] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Callable[[web.Request], web.StreamResponse | None]] = field(default_factory=list)
    broken: int = 0
    """Another status than 0 is the answer to everything, watches too."""
    lose: int = 0
    """So many writes are stored, and their answers lost."""
    url: str = ""
    page: int | None = None
    """Lists have so many objects a page, whatever was asked for."""

    def __post_init__(self) -> None:
        self._versions = itertools.count(1)
        self._log: list[tuple[int, str, str, Thing]] = []
        self._oldest = 0
        self._streams: set[asyncio.Event] = set()
        self._drop = 0

    # ---- what tests do

    def put(self, thing: Thing) -> Thing:
        """Create, or replace whole, status too."""
        metadata = thing["metadata"]
        key = (kind_named(thing["kind"]).plural, metadata["namespace"], metadata["name"])
        old = self.objects.get(key)
        stored = copy.deepcopy(thing)
        stored["metadata"] = {"uid": str(uuid4()), "creationTimestamp": now(), "generation": 1, **stored["metadata"]}
        if old is not None:
            stored["metadata"] |= {k: old["metadata"][k] for k in ("uid", "creationTimestamp")}
        stored["apiVersion"] = f"{GROUP}/v1alpha1"
        return self._store("ADDED" if old is None else "MODIFIED", key, stored)

    def status(self, kind: str, name: str, namespace: str = "team", **status: Any) -> Thing:
        """Some fields of a status."""
        old = self.get(kind, name, namespace)
        return self.put({**old, "status": {**(old.get("status") or {}), **status}})

    def get(self, kind: str, name: str, namespace: str = "team") -> Thing:
        return copy.deepcopy(self.objects[kind_named(kind).plural, namespace, name])

    def all(self, kind: str) -> list[Thing]:
        return [copy.deepcopy(o) for (plural, _, _), o in sorted(self.objects.items()) if KIND_OF[plural] == kind]

    def remove(self, kind: str, name: str, namespace: str = "team") -> None:
        self._gone((kind_named(kind).plural, namespace, name))

    def let(self, user: str, *verbs: str, on: str = ALL, namespace: str = "team", name: str = "") -> None:
        """Give rights."""
        self.grants.extend(Grant(user, verb, on, namespace, name) for verb in verbs)

    def drop_watches(self) -> None:
        """Every stream ends now."""
        self._drop += 1
        self._wake()

    def forget_log(self) -> None:
        """Watches that begin before now are told that their version is too old."""
        self._log.clear()
        self._oldest = next(self._versions)

    # ---- the server

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[KubeServer]:
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=0.1)  # type: ignore[arg-type]
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            self.drop_watches()
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        if self.broken:
            return refusal(self.broken, "ServiceUnavailable", "the API server is not well")
        if self.faults and (answer := self.faults.pop(0)(request)) is not None:  # type: ignore[arg-type]
            return answer
        body = json.loads(await request.read() or b"null")
        if request.path.endswith("/tokenreviews"):
            return self._token_review(body)
        if request.path.endswith("/subjectaccessreviews"):
            return self._access_review(body)
        parts = request.path.removeprefix(f"/apis/{GROUP}/v1alpha1/").split("/")
        namespace, parts = (parts[1], parts[2:]) if parts[0] == "namespaces" else (None, parts)
        plural, name = parts[0], parts[1] if len(parts) > 1 else None
        if plural not in KIND_OF:
            return refusal(404, "NotFound", "the server could not find the requested resource")
        if name is None:
            if request.method == "POST":
                return self._perhaps_lost(request, self._create(request, plural, str(namespace), body))
            return await (self._watch if request.query.get("watch") else self._list)(request, plural, namespace)
        answer = self._one(request, (plural, str(namespace), name), body)
        return answer if request.method == "GET" else self._perhaps_lost(request, answer)

    def _perhaps_lost(self, request: web.BaseRequest, answer: web.Response) -> web.Response:
        if self.lose:
            self.lose -= 1
            assert request.transport is not None
            request.transport.abort()
        return answer

    def _token_review(self, body: Thing) -> web.Response:
        user = self.tokens.get(body["spec"]["token"])
        status: Thing = {"authenticated": user is not None}
        if user is not None:
            status["user"] = {"username": user, "uid": f"uid-of-{user}", "groups": ["system:authenticated"]}
        return web.json_response({"status": status}, status=201)

    def _access_review(self, body: Thing) -> web.Response:
        spec = body["spec"]
        asked = spec["resourceAttributes"]

        def fits(grant: Grant) -> bool:
            return (
                grant.user == spec["user"]
                and asked["group"] == GROUP
                and grant.verb in {ALL, asked["verb"]}
                and grant.resource in {ALL, asked["resource"]}
                and grant.namespace in {ALL, asked["namespace"]}
                and grant.name in {"", asked.get("name", "")}
            )

        return web.json_response({"status": {"allowed": any(map(fits, self.grants))}}, status=201)

    def _one(self, request: web.BaseRequest, key: tuple[str, str, str], body: Thing) -> web.Response:
        stored = self.objects.get(key)
        if stored is None:
            return refusal(404, "NotFound", f'{key[0]}.{GROUP} "{key[2]}" not found')
        if request.method == "GET":
            return web.json_response(stored)
        uid = (body.get("metadata") or body.get("preconditions") or {}).get("uid")
        if uid is not None and uid != stored["metadata"]["uid"]:
            return refusal(409, "Conflict", "the UID in the precondition does not match")
        if request.method == "DELETE":
            self._gone(key)
            return web.json_response({"kind": "Status", "status": "Success"})
        assert request.method == "PATCH"
        assert request.headers["Content-Type"] == "application/merge-patch+json"
        merged = merge(stored, body)
        if merged["spec"] != stored["spec"]:
            merged["metadata"]["generation"] = stored["metadata"].get("generation", 1) + 1
        merged["metadata"]["managedFields"] = [{"manager": request.query.get("fieldManager", "")}]
        return web.json_response(self._store("MODIFIED", key, merged))

    def _create(self, request: web.BaseRequest, plural: str, namespace: str, body: Thing) -> web.Response:
        metadata = body["metadata"]
        if "name" not in metadata:
            metadata["name"] = metadata.pop("generateName") + uuid4().hex[:5]
        key = (plural, namespace, metadata["name"])
        if key in self.objects:
            return refusal(409, "AlreadyExists", f'{plural}.{GROUP} "{metadata["name"]}" already exists')
        wrong = list(complaints(SCHEMAS[plural], body.get("spec") or {}, "spec"))
        unknown = [where for where, what in wrong if what is None]
        if unknown and request.query.get("fieldValidation") == "Strict":
            told = ", ".join(f'unknown field "{where}"' for where in unknown)
            return refusal(400, "BadRequest", f"strict decoding error: {told}")
        causes = [{"field": where, "message": what} for where, what in wrong if what is not None]
        if causes:
            told = "; ".join(f"{c['field']}: {c['message']}" for c in causes)
            return refusal(422, "Invalid", f'{KIND_OF[plural]} "{metadata["name"]}" is invalid: {told}', causes)
        stored = self.put({**body, "spec": filled(SCHEMAS[plural], body["spec"])})
        return web.json_response(stored, status=201)

    async def _list(self, request: web.BaseRequest, plural: str, namespace: str | None) -> web.StreamResponse:
        wanted = dict(pair.split("=") for pair in request.query.get("labelSelector", "").split(",") if pair)
        found = [
            o
            for (p, n, _), o in sorted(self.objects.items())
            if p == plural and namespace in (None, n) and wanted.items() <= (o["metadata"].get("labels") or {}).items()
        ]
        start, size = 0, self.page or int(request.query.get("limit", 0)) or len(found) or 1
        if "continue" in request.query:
            start = int(base64.b64decode(request.query["continue"]))
        metadata: Thing = {"resourceVersion": str(self._now())}
        if start + size < len(found):
            metadata["continue"] = base64.b64encode(str(start + size).encode()).decode()
        items = [{k: v for k, v in o.items() if k not in {"kind", "apiVersion"}} for o in found[start : start + size]]
        return web.json_response({"items": items, "metadata": metadata})

    async def _watch(self, request: web.BaseRequest, plural: str, namespace: str | None) -> web.StreamResponse:
        seen, changed, dropped = int(request.query["resourceVersion"]), asyncio.Event(), self._drop
        response = web.StreamResponse()
        await response.prepare(request)
        if seen < self._oldest:
            gone = {"kind": "Status", "code": 410, "message": "too old resource version"}
            await response.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            return response
        self._streams.add(changed)
        try:
            while dropped == self._drop and not self.broken:
                for version, kind, what, thing in list(self._log):
                    if version > seen and kind == plural and namespace in (None, thing["metadata"]["namespace"]):
                        await response.write(json.dumps({"type": what, "object": thing}).encode() + b"\n")
                        seen = version
                changed.clear()
                await changed.wait()
        finally:
            self._streams.discard(changed)
        return response

    # ---- inside

    def _now(self) -> int:
        return max([self._oldest, *(int(o["metadata"]["resourceVersion"]) for o in self.objects.values())], default=0)

    def _store(self, what: str, key: tuple[str, str, str], thing: Thing) -> Thing:
        version = next(self._versions)
        thing["metadata"] = {**thing["metadata"], "resourceVersion": str(version)}
        self.objects[key] = thing
        self._log.append((version, key[0], what, copy.deepcopy(thing)))
        self._wake()
        return copy.deepcopy(thing)

    def _gone(self, key: tuple[str, str, str]) -> None:
        thing = self.objects.pop(key)
        version = next(self._versions)
        thing["metadata"]["resourceVersion"] = str(version)
        self._log.append((version, key[0], "DELETED", thing))
        self._wake()

    def _wake(self) -> None:
        for stream in self._streams:
            stream.set()


def refusal(code: int, reason: str, message: str, causes: list[Thing] | None = None) -> web.Response:
    body: Thing = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}
    if causes:
        body["details"] = {"causes": causes}
    return web.json_response(body, status=code)


def merge(old: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    made = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merge(made.get(key), value)
    return made


def complaints(schema: Thing, value: Any, path: str) -> Iterator[tuple[str, str | None]]:
    """(field, what is wrong); None for a field that the schema does not know."""
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
    kind: Any = kinds.get(schema.get("type", ""), object)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind not in {bool, object}):
        yield path, f"must be of type {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield path, f"supported values: {', '.join(map(str, schema['enum']))}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield from _out_of_bounds(schema, value, path)
    if isinstance(value, dict) and "properties" in schema:
        yield from ((f"{path}.{name}", "Required value") for name in schema.get("required", []) if name not in value)
        for name, inner in value.items():
            if name not in schema["properties"]:
                yield f"{path}.{name}", None
            else:
                yield from complaints(schema["properties"][name], inner, f"{path}.{name}")
    if isinstance(value, list):
        for number, inner in enumerate(value):
            yield from complaints(schema.get("items", {}), inner, f"{path}[{number}]")


def _out_of_bounds(schema: Thing, value: float, path: str) -> Iterator[tuple[str, str | None]]:
    if "minimum" in schema and value < schema["minimum"]:
        yield path, f"should be greater than or equal to {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        yield path, f"should be less than or equal to {schema['maximum']}"


def filled(schema: Thing, value: Any) -> Any:
    """With the schema's defaults."""
    if isinstance(value, list):
        return [filled(schema.get("items", {}), inner) for inner in value]
    if not isinstance(value, dict):
        return value
    made = dict(value)
    for name, inner in schema.get("properties", {}).items():
        if name not in made and "default" in inner:
            made[name] = copy.deepcopy(inner["default"])
        if name in made:
            made[name] = filled(inner, made[name])
    return made
