"""The part of an API server that a serving Pod uses, over real HTTP: one ConfigMap to get and to watch, and ways to break it."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class FakeApiServer:
    """`put`, `delete` as a user would; `status` other than 200 breaks every request; `end_watches` closes the streams."""

    text: str | None = None
    status: int = 200
    url: str = ""
    watches: int = 0
    gone: bool = False
    """The next watch is told that its resourceVersion is too old."""
    junk: bytes | None = None
    """Answers everything with 200 and this, as a proxy in between might."""
    hasty: bool = False
    """Ends every watch at once."""
    _version: int = 1
    _queues: list[asyncio.Queue[dict[str, Any] | None]] = field(default_factory=list)

    def start(self) -> FakeApiServer:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def stop(self) -> None:
        self.end_watches()
        self._call(self._done.set)
        self._thread.join(10)

    def put(self, text: str) -> None:
        self._change("MODIFIED" if self.text is not None else "ADDED", text)

    def delete(self) -> None:
        self._change("DELETED", None)

    def end_watches(self) -> None:
        self._call(lambda: [q.put_nowait(None) for q in self._queues])

    def _change(self, kind: str, text: str | None) -> None:
        def change() -> None:
            before = self._thing()
            self.text = text
            self._version += 1
            event = {"type": kind, "object": before if text is None else self._thing()}
            for queue in self._queues:
                queue.put_nowait(event)

        self._call(change)

    def _call(self, work: Any) -> None:
        done = threading.Event()
        self._loop.call_soon_threadsafe(lambda: (work(), done.set()))
        assert done.wait(10)

    def _thing(self) -> dict[str, Any]:
        metadata = {"name": "news-serving", "resourceVersion": str(self._version)}
        return {"kind": "ConfigMap", "metadata": metadata, "data": {"serving.json": self.text}}

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._done = asyncio.Event()
        app = web.Application()
        root = "/api/v1/namespaces/news/configmaps"
        app.router.add_get(root, self._watch)
        app.router.add_get(root + "/news-serving", self._get)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._done.wait()
        await runner.cleanup()

    async def _get(self, _: web.Request) -> web.Response:
        if self.status != 200:
            return web.json_response({"message": "broken"}, status=self.status)
        if self.junk is not None:
            return web.Response(body=self.junk)
        if self.text is None:
            return web.json_response({"message": "not found"}, status=404)
        return web.json_response(self._thing())

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        if self.status != 200:
            return web.json_response({"message": "broken"}, status=self.status)
        assert request.query["fieldSelector"] == "metadata.name=news-serving"
        self.watches += 1
        if self.junk is not None:
            return web.Response(body=self.junk)
        response = web.StreamResponse()
        await response.prepare(request)
        if self.hasty:
            return response
        if self.gone:
            self.gone = False
            await self._send(
                response, {"type": "ERROR", "object": {"code": 410, "message": "too old resource version"}}
            )
            return response
        queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._queues.append(queue)
        try:
            if self.text is not None and int(request.query["resourceVersion"]) < self._version:
                await self._send(response, {"type": "MODIFIED", "object": self._thing()})
            while (event := await queue.get()) is not None:
                await self._send(response, event)
        finally:
            self._queues.remove(queue)
        return response

    async def _send(self, response: web.StreamResponse, event: dict[str, Any]) -> None:
        await response.write(json.dumps(event).encode() + b"\n")
