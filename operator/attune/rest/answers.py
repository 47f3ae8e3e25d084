"""Answers: JSON with an ETag, so that a page that has not changed is not sent twice. Used by `routes`."""

import hashlib
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

JSON = "application/json"
_PRIVATE = "private, no-cache"


def json_answer(request: Request, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value as JSON."""
    return raw_answer(request, orjson.dumps(body), status, headers)


def raw_answer(
    request: Request, body: bytes, status: int = 200, headers: dict[str, str] | None = None, etag: str | None = None
) -> Response:
    """JSON that is bytes already; 304 to a GET that has it."""
    known = {"cache-control": _PRIVATE, "vary": "Authorization", **(headers or {})}
    if request.method == "GET" and status == 200:
        etag = etag or tag(body)
        known["etag"] = etag
        given = {one.strip().removeprefix("W/") for one in request.headers.get("if-none-match", "").split(",")}
        if etag in given or "*" in given:
            return Response(None, 304, known)
    return Response(body, status, known, JSON)


def tag(body: bytes) -> str:
    """The ETag of a body."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
