"""How routes are made: each declares the rights it needs, and is refused before its body is read. Used by everything in `routes`.

A route that declares nothing cannot be made: `guarded` has no default for `needs`, and `GuardedRoute` raises without it.
"""

import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Path, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from attune.api.kinds import Kind
from attune.environment import DNS_LABEL
from attune.messages.problem import MEDIA_TYPE, Problem
from attune.rest.desk import Desk, Gate
from attune.rest.problems import Refused

ID_PATTERN = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
NEEDS = "x-attune-needs"
GATE, DESK = "attune.gate", "attune.desk"


@dataclass(frozen=True, slots=True)
class Need:
    """A right that every call of a route needs: the verb on a kind, on the object of the path where it is `named`."""

    verb: str
    kind: Kind
    named: bool = False


ANSWERS: dict[str, type[BaseModel]] = {}
"""Forms of answers, by name: for the document. Handlers answer with values of these forms, by `answers`."""
ANYBODY: tuple[Need, ...] = ()
"""For what every authenticated caller may ask: who am I."""


class GuardedRoute(APIRoute):
    """Lets a request through only with a desk whose caller has every right that the route needs."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        extra = options.get("openapi_extra") or {}
        if NEEDS not in extra:
            raise TypeError(f"{path} declares no needs; make it with `guarded`")
        self.needs: tuple[Need, ...] = extra[NEEDS]
        options["openapi_extra"] = {**extra, "security": [{"bearer": []}]}
        super().__init__(path, endpoint, **options)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        takes_body = self.body_field is not None

        async def guarded_handle(request: Request) -> Response:
            gate: Gate = request.scope[GATE]
            caller = await gate.caller(request)
            desk = gate.desk(caller, _namespace(request, gate.settings.namespace))
            for need in self.needs:
                await desk.demand(need.verb, need.kind, request.path_params.get("id", "") if need.named else "")
            if not gate.settings.serves(desk.namespace):
                served = ", ".join(gate.settings.namespaces)
                detail = f"namespace {desk.namespace!r} is not served here; served are: {served}"
                raise Refused(404, "NamespaceNotServed", detail)
            request.scope[DESK] = desk
            if takes_body:
                await _must_be_json(request, gate.settings.max_body_bytes)
            return await handle(request)

        return guarded_handle


def guarded(tag: str) -> "Guarded":
    """A router whose routes are guarded."""
    return Guarded(tag)


class Guarded:
    """Makes routes. `router` is what the application includes."""

    def __init__(self, tag: str) -> None:
        self.router = APIRouter(prefix="/api/rag", route_class=GuardedRoute, tags=[tag])

    def route(  # noqa: PLR0913  what a route is
        self,
        method: str,
        path: str,
        needs: tuple[Need, ...],
        *,
        status: int = 200,
        answer: type[BaseModel] | None = None,
        may_fail: tuple[int, ...] = (),
        more: Mapping[int | str, dict[str, Any]] | None = None,
    ) -> Callable[[Callable[..., Awaitable[Response]]], Callable[..., Awaitable[Response]]]:
        """As FastAPI's decorators. `answer` is the form of the answer, for the document; `may_fail` statuses beside the usual ones."""
        failures = {401, 403, 422, 503, *may_fail, *({413, 415} if method == "POST" else ())}
        responses: dict[int | str, dict[str, Any]] = {code: problem(code) for code in sorted(failures)}
        if answer is not None:
            ANSWERS[answer.__name__] = answer
            schema = {"$ref": f"#/components/schemas/{answer.__name__}"}
            described = (answer.__doc__ or "").strip().partition("\n")[0]
            responses[status] = {"description": described, "content": {"application/json": {"schema": schema}}}
        responses |= more or {}
        return self.router.api_route(
            path,
            methods=[method],
            status_code=status,
            response_model=None,
            response_class=Response,
            responses=responses,
            openapi_extra={NEEDS: needs},
        )


_WORDS = {
    401: "No token, or one that the API server does not accept.",
    403: "The caller may not do that; the detail names verb, resource and namespace.",
    404: "There is no such object, or the namespace is not served here.",
    409: "It cannot be done now; the reason says why.",
    410: "It is gone for good.",
    413: "The body is larger than ATTUNE_API_MAX_BODY_BYTES.",
    415: "The body is no application/json.",
    422: "Something in the request is wrong; errors names the fields.",
    503: "The API server, or the API, cannot answer now; Retry-After says when to try again.",
}


def problem(code: int) -> dict[str, Any]:
    """A refusal in the document."""
    found: dict[str, Any] = {
        "description": _WORDS[code],
        "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}},
    }
    if code == 503:
        found["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    if code == 401:
        found["headers"] = {"WWW-Authenticate": {"description": "Bearer.", "schema": {"type": "string"}}}
    return found


def _namespace(request: Request, default: str) -> str:
    given = request.query_params.getlist("namespace")
    if not given:
        return default
    if len(given) > 1 or not re.match(DNS_LABEL, given[0]):
        shown = "&".join(given)[:80]
        raise Refused(
            422,
            "Invalid",
            f"namespace: {shown!r} is no namespace; give one name of lower-case letters, digits and hyphens",
            field="namespace",
        )
    return given[0]


async def _must_be_json(request: Request, most: int) -> None:
    """415 and 413, before anything is parsed; the body is kept for FastAPI."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise _too_large(most)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if body and kind != "application/json":
        what = f"Content-Type {kind or 'is missing'!r}; send application/json"
        raise Refused(415, "NoJson", what, headers={"accept-post": "application/json"})
    request._body = bytes(body)
    try:
        request._json = orjson.loads(body) if body else None
    except ValueError as error:
        raise Refused(422, "InvalidJson", f"the body is no JSON: {error}", field="body") from error


def _too_large(most: int) -> Refused:
    return Refused(
        413,
        "TooLarge",
        f"the body is larger than {most} bytes (ATTUNE_API_MAX_BODY_BYTES)",
        headers={"connection": "close"},
    )


async def _desk(
    request: Request,
    namespace: Annotated[  # noqa: ARG001  read by the guard; here for the document
        str | None,
        Query(pattern=DNS_LABEL, max_length=63, description="Namespace of the objects; unset: the API's own."),
    ] = None,
) -> Desk:
    desk: Desk = request.scope[DESK]
    return desk


AtDesk = Annotated[Desk, Depends(_desk)]
"""The only way to the cluster, in the name of the caller."""
Id = Annotated[str, Path(alias="id", pattern=ID_PATTERN, max_length=253, description="Name of the object.")]
