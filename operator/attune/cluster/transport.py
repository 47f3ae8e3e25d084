"""One HTTP request to the API server: timeout, JSON, and answers mapped to `attune.errors`. Used by `client`."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from attune.cluster.connect import Connection
from attune.errors import AlreadyExists, ClusterError, Conflict, Forbidden, Invalid, NotFound, Unavailable

OnRequest = Callable[[str, str], None]
"""Told verb and status code of every finished request ("error" when there was no answer)."""

Fence = Callable[[], None]
"""Raises NotLeader when this process may not write (any more)."""

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON = "application/json"

_CONNECT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer, not yet parsed."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The object; raises Unavailable for something that is not one (a proxy's page, a cut answer)."""
        try:
            value = json.loads(self.body)
        except ValueError as e:
            raise Unavailable(f"the API server's answer is not JSON: {self.body[:120]!r}", status=self.status) from e
        if not isinstance(value, dict):
            raise Unavailable(f"the API server's answer is not an object: {self.body[:120]!r}", status=self.status)
        return value


class Transport:
    """Requests over one pool of connections. Make it on the event loop that uses it; `close` it at the end."""

    def __init__(self, connection: Connection, *, timeout: float = 30.0, on_request: OnRequest | None = None) -> None:
        self._connection = connection
        self._session = connection.session(trace=fence_trace())
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, _CONNECT_SECONDS))
        self.on_request = on_request

    async def close(self) -> None:
        await self._session.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object | None = None,
        content_type: str = JSON,
        fence: Fence | None = None,
    ) -> Answer:
        """Send one request; raises one of `attune.errors` for every answer that is not 2xx.

        The fence is asked before anything happens, and again when the connection is open and the next thing is to send:
        a process that was stopped (SIGSTOP, a paused VM) in between does not write when it wakes up.
        """
        if fence is not None:
            fence()
        code = "error"
        try:
            async with self._session.request(
                method,
                self._connection.server + path,
                params=query,
                data=None if body is None else json.dumps(body, separators=(",", ":")),
                headers={"Content-Type": content_type} if body is not None else None,
                timeout=self._timeout,
                trace_request_ctx=fence,
            ) as response:
                content = await response.read()
                code = str(response.status)
                if response.status < 300:
                    return Answer(response.status, content)
                raise failure(response.status, content, f"{method} {path}", response.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError) as e:
            what = "no answer in time" if isinstance(e, TimeoutError) else (str(e) or type(e).__name__)
            raise Unavailable(f"{method} {path}: {self._connection.server}: {what}") from e
        finally:
            if self.on_request is not None:
                self.on_request(method, code)

    async def lines(
        self,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        silence: float | None = None,
        opened: Callable[[], None] | None = None,
    ) -> AsyncIterator[str]:
        """Lines of an answer that goes on until the server ends it, such as a log that is followed; errors as of `request`.

        `silence`: seconds without a byte after which the connection is given up; None: it may be quiet for ever. `opened` is
        called once the server has accepted the request.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silence)
        url = self._connection.server + path
        try:
            async with self._session.get(url, params=query, timeout=timeout) as response:
                if response.status >= 300:
                    raise failure(response.status, await response.read(), f"GET {path}")
                if opened is not None:
                    opened()
                rest = b""
                async for part in response.content.iter_any():
                    *whole, rest = (rest + part).split(b"\n")
                    for line in whole:
                        yield line.decode(errors="replace")
                if rest:
                    yield rest.decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise Unavailable(f"GET {path}: {self._connection.server}: {e or type(e).__name__}") from e


def fence_trace() -> aiohttp.TraceConfig:
    """Asks the request's fence at the last moment before it is sent."""

    async def ask(_session: object, context: Any, _params: object) -> None:
        fence: Fence | None = context.trace_request_ctx
        if fence is not None:
            fence()

    trace: aiohttp.TraceConfig = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(ask)
    trace.on_connection_reuseconn.append(ask)
    return trace


def failure(status: int, body: bytes, request: str, retry_after: str | None = None) -> ClusterError:
    """The error for an answer that is not 2xx; its message is the server's own where it sent a Status object."""
    error = _failure(status, body, request, retry_after)
    document = _status_object(body)
    error.said = _message(document)
    details = document.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    error.causes = tuple((str(c.get("field") or ""), str(c.get("message") or "")) for c in causes or ())
    return error


def _failure(status: int, body: bytes, request: str, retry_after: str | None) -> ClusterError:
    document = _status_object(body)
    reason = str(document.get("reason") or "")
    said = _message(document) or body[:300].decode(errors="replace") or "no message"
    message = f"{request}: {said} (HTTP {status})"
    if status == 404:
        return NotFound(message, status=status)
    if status == 409:
        return (AlreadyExists if reason == "AlreadyExists" else Conflict)(message, status=status)
    if status in {401, 403}:
        return Forbidden(message, status=status)
    if status == 429 or status >= 500 or status == 408:
        wait = retry_after or (document.get("details") or {}).get("retryAfterSeconds")
        return Unavailable(message, status=status, retry_after=_seconds(wait))
    return Invalid(message, status=status)


def _message(document: Mapping[str, Any]) -> str | None:
    """Of a Status, or of the error of one of our servers behind the API server's proxy."""
    error = document.get("error")
    said = document.get("message") or (error.get("message") if isinstance(error, dict) else None)
    return str(said) if said else None


def _status_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _seconds(value: object) -> float | None:
    """Retry-After in seconds; the form with a date is not used by Kubernetes."""
    try:
        return max(0.0, float(str(value)))
    except ValueError:
        return None
