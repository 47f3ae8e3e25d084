"""The application: routes, errors in one form, the dashboard's files. Made by `__main__`, `document` and the tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import compile_path
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from attune import __version__
from attune.api.kinds import AB_TEST, MODEL_VERSION, RETRIEVER, TRAINING_JOB, TRAINING_SCHEDULE
from attune.cluster import watching
from attune.cluster.transport import Transport
from attune.errors import ClusterError
from attune.objects import Manifest
from attune.rest.access import Reviewer
from attune.rest.desk import Gate, House
from attune.rest.metrics import Metrics
from attune.rest.middleware import Around
from attune.rest.mirror import Fields, Form, Mirror
from attune.rest.openapi import described
from attune.rest.problems import Refused, of_cluster, of_validation
from attune.rest.routes.ab_tests import tests
from attune.rest.routes.callers import callers
from attune.rest.routes.retrievers import retrievers
from attune.rest.routes.training import runs
from attune.rest.routes.versions import versions
from attune.rest.settings import ApiSettings
from attune.rest.streams import Streams
from attune.views import rows
from attune.views.retrievers import phase_of

DASHBOARD = Path(__file__).parent / "dashboard"
_CONTENT_POLICY = (
    "default-src 'self'; object-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The last two: the browser itself refuses to make elements out of text, so a name in the data can never become one."""


def _phased(thing: Manifest) -> Fields:
    return {"retriever": thing["spec"]["retriever"], "phase": phase_of(thing)}


def _version(thing: Manifest) -> Fields:
    spec = thing["spec"]
    return {
        "retriever": spec["retriever"],
        "type": spec["type"],
        "stage": str((thing.get("status") or {}).get("stage") or ""),
    }


FORMS = (
    Form(RETRIEVER, lambda thing: {"retriever": thing["metadata"]["name"]}, lambda _: {}),
    Form(TRAINING_JOB, rows.run_row, _phased),
    Form(MODEL_VERSION, rows.version_row, _version),
    Form(AB_TEST, rows.test_row, _phased),
    Form(TRAINING_SCHEDULE, rows.schedule_row, lambda thing: {"retriever": thing["spec"]["retriever"]}),
)


@dataclass
class Api:
    """The application with what it lives on. `app` is served; `draining` makes /readyz fail."""

    app: FastAPI
    streams: Streams
    mirrors: dict[str, Mirror]
    watches: list[asyncio.Task[None]] = field(default_factory=list)
    draining: bool = False

    @property
    def unread(self) -> list[str]:
        """Kinds that were not read from the API server yet."""
        return [mirror.kind.plural for mirror in self.mirrors.values() if not mirror.is_read]


def build(transport: Transport, settings: ApiSettings) -> Api:
    """An API over one connection to a cluster. Watches run while the application does (its lifespan)."""
    streams = Streams(settings.max_streams)
    metrics = Metrics(lambda: streams.open)
    transport.on_request = metrics.cluster_request
    scopes: tuple[str | None, ...] = settings.namespaces or (None,)
    mirrors = {form.kind.kind: Mirror(form, scopes) for form in FORMS}
    gate = Gate(House(transport, Reviewer(transport, settings), mirrors, settings))

    @asynccontextmanager
    async def alive(_: FastAPI) -> AsyncIterator[None]:
        api.watches[:] = [
            asyncio.create_task(
                watching.follow(transport, mirror.kind, scope, mirror), name=f"watch {mirror.kind.plural}"
            )
            for mirror in mirrors.values()
            for scope in scopes
        ]
        try:
            yield
        finally:
            for watch in api.watches:
                watch.cancel()
            await asyncio.gather(*api.watches, return_exceptions=True)

    api = Api(application(alive), streams, mirrors)
    api.app.state.streams = streams
    _open_routes(api, metrics)
    _dashboard(api.app)
    api.app.add_middleware(Around, gate=gate, metrics=metrics)
    return api


def application(lifespan: Any = None) -> FastAPI:
    """Routes and errors, without a cluster: enough for the document."""
    app = FastAPI(
        title="Attune",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    for part in (runs, tests, versions, retrievers, callers):  # /models/train before /models/{id}
        app.include_router(part.router)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(ClusterError, _of_cluster)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.openapi = lambda: described(app)  # type: ignore[method-assign]  # as FastAPI says to extend it
    return app


# ---- what anybody may ask


def _open_routes(api: Api, metrics: Metrics) -> None:
    """Probes and Prometheus: nothing of the cluster is in them."""

    async def healthz(_: Request) -> Response:
        ended = [watch.get_name() for watch in api.watches if watch.done()]
        return PlainTextResponse(f"ended: {', '.join(ended)}\n" if ended else "ok\n", 503 if ended else 200)

    async def readyz(_: Request) -> Response:
        why = "draining" if api.draining else f"not read yet: {', '.join(api.unread)}" if api.unread else ""
        return PlainTextResponse(f"{why or 'ready'}\n", 503 if why else 200)

    async def prometheus(_: Request) -> Response:
        return Response(metrics.render(), media_type=metrics.content_type)

    for path, endpoint in (("/healthz", healthz), ("/readyz", readyz), ("/metrics", prometheus)):
        api.app.add_route(path, endpoint, methods=["GET"])


class _Files(StaticFiles):
    """The dashboard, with a policy that lets it load nothing from elsewhere. Paths of the API are none of its files."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        if scope["path"].startswith("/api/"):
            raise HTTPException(405 if _methods(Request(scope)) else 404)
        return await super().get_response(path, scope)

    def file_response(self, *given: Any, **named: Any) -> Response:
        answer = super().file_response(*given, **named)
        answer.headers["content-security-policy"] = _CONTENT_POLICY
        answer.headers["referrer-policy"] = "no-referrer"
        answer.headers["cache-control"] = (
            "no-cache"  # asked for again by its ETag: never modules of two versions at once
        )
        return answer


def _dashboard(app: FastAPI) -> None:
    """Its files are public; all it shows it asks of the API, with the token of whoever looks."""
    if (DASHBOARD / "index.html").is_file():
        app.mount("/", _Files(directory=DASHBOARD, html=True), name="dashboard")


# ---- errors


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response(request)


async def _of_cluster(request: Request, error: Exception) -> Response:
    assert isinstance(error, ClusterError)
    return of_cluster(error).response(request)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return of_validation(error.errors()).response(request)


async def _http(request: Request, error: Exception) -> Response:
    """Paths and methods that are not there."""
    assert isinstance(error, HTTPException)
    reason = {404: "NoSuchPath", 405: "NoSuchMethod"}.get(error.status_code, "HttpError")
    detail = f"{request.method} {request.url.path}: {error.detail}; /openapi.json has the paths"
    allowed = {"allow": _methods(request) or "GET"} if error.status_code == 405 else {}
    headers = {**(error.headers or {}), **allowed}
    return Refused(error.status_code, reason, detail, headers=headers).response(request)


def _methods(request: Request) -> str:
    """All that the path takes, "" where there is none: two routes may share it, and starlette tells of one."""
    document = request.app.openapi()["paths"]
    known = [ops for path, ops in document.items() if compile_path(path)[0].match(request.url.path)]
    return ", ".join(sorted({method.upper() for ops in known[:1] for method in ops}))


async def _gone(_: Request, __: Exception) -> Response:
    return Response(status_code=499)
