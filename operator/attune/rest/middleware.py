"""Around every request: its id, one line in the log, metrics, and the gate. Plain ASGI, so that streams pass through untouched."""

import re
from time import perf_counter
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attune.rest.desk import Gate
from attune.rest.metrics import Metrics
from attune.rest.problems import Refused
from attune.rest.routing import GATE

log = structlog.get_logger("attune.rest.access")

HEADER = "x-request-id"
_ID = re.compile(r"^[A-Za-z0-9._:-]{1,64}$")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


class Around:
    """Never logs a header or a query: tokens have no way into the log."""

    def __init__(self, app: ASGIApp, gate: Gate, metrics: Metrics) -> None:
        self._app, self._gate, self._metrics = app, gate, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _ID.match(given) else uuid4().hex
        scope[GATE] = self._gate
        scope["attune.request_id"] = request_id
        began, status, seconds = perf_counter(), 0, 0.0

        async def answered(message: Message) -> None:
            nonlocal status, seconds
            if message["type"] == "http.response.start":
                status, seconds = message["status"], perf_counter() - began
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                headers["x-content-type-options"] = "nosniff"
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, answered)
            except Exception as error:
                log.exception("request failed", path=scope["path"])
                if status:
                    raise
                what = f"{type(error).__name__}: the log of the API tells of request {request_id}"
                await Refused(500, "Internal", what).response(Request(scope))(scope, receive, answered)
            finally:
                self._told(scope, status, seconds, perf_counter() - began)

    def _told(self, scope: Scope, status: int, seconds: float, whole: float) -> None:
        route = scope.get("route")
        template = str(getattr(route, "path", "none") or "none")
        self._metrics.answered(scope["method"], template, status, seconds)
        line = log.debug if scope["path"] in _QUIET else log.info
        line(
            "request",
            method=scope["method"],
            path=scope["path"],
            status=status,
            milliseconds=round(1000 * whole, 1),
            user=scope.get("attune.user"),
        )
