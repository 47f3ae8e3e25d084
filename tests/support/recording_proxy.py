"""An HTTP proxy between an operator process and the real API server that records writes and can kill the operator at one.

The operator talks plain HTTP to the proxy with its own token; the proxy talks TLS to the API server. A kill "before" happens
when the request has arrived and was not passed on; "after" when the API server has answered and the answer was not passed back.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

WRITES = {"POST", "PUT", "PATCH", "DELETE"}
IGNORED = ("/events", "/leases", "/tokenreviews", "/subjectaccessreviews")
HOP_HEADERS = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "host",
    "content-length",
    "content-encoding",
    "accept-encoding",
}


@dataclass
class RecordingProxy:
    """Start with `start()`, stop with `stop()`; it lives in a thread of its own."""

    upstream: str
    ca_file: str | None = None
    kill: Callable[[], None] = lambda: None
    plan: Callable[[str, str, bytes], str | None] = lambda verb, path, body: None
    """Asked for each write: "before", "after", or None to let it pass."""
    writes: list[tuple[str, str, int | None]] = field(default_factory=list)
    """(verb, path, status) of each write; status None where the operator was killed before it was passed on."""
    url: str = ""
    away: bool = False
    """Every request is answered as if the API server were gone."""

    def start(self) -> RecordingProxy:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(10), "the proxy did not start"
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(10)

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._done = asyncio.get_running_loop(), asyncio.Event()
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.ca_file is None:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connector = TCPConnector(ssl=context, limit=0)
        async with ClientSession(
            connector=connector, timeout=ClientTimeout(total=None), auto_decompress=True
        ) as session:
            self._session = session
            app = web.Application(client_max_size=64 << 20)
            app.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            assert site._server is not None
            port = site._server.sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{port}"
            ready.set()
            await self._done.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        path = request.path
        if self.away:
            return web.Response(status=503, text="away")
        counted = request.method in WRITES and not any(part in path for part in IGNORED)
        number, when = len(self.writes), None
        if counted:
            self.writes.append((request.method, path, None))
            when = self.plan(request.method, path, body)
            if when == "before":
                self.kill()
                return web.Response(status=502)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_HEADERS}
        url = self.upstream + request.raw_path
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            if counted:
                self.writes[number] = (request.method, path, answer.status)
                if when == "after":
                    await answer.read()
                    self.kill()
                    return web.Response(status=502)
            return await self._pass_back(request, answer)

    async def _pass_back(self, request: web.Request, answer) -> web.StreamResponse:  # type: ignore[no-untyped-def]
        headers = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_HEADERS}
        response = web.StreamResponse(status=answer.status, headers=headers)
        try:
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            answer.close()
        return response
