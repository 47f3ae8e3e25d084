"""text-embeddings-inference's /embed over real HTTP, by an exported model, until it is told to break. On a thread and loop of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from attune_retrieval.encoding import OnnxEncoder

Broken = tuple[int, str] | str
"""A status and the words that are answered in place of vectors; or nan, zeros, short (one dimension less), hang."""


@dataclass
class Inference:
    """`start`, then `url`. `broken` may be changed at any time."""

    encoder: OnnxEncoder
    url: str = ""
    broken: Broken | None = None
    keys: list[str | None] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """All that it was asked for, well or not."""

    def start(self) -> Inference:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(ready)), daemon=True).start()
        assert ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)

    async def _serve(self, ready: threading.Event) -> None:
        self._done = asyncio.Event()
        app = web.Application()
        app.router.add_post("/embed", self._embed)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._done.wait()
        await runner.cleanup()

    async def _embed(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("authorization"))
        texts: list[str] = (await request.json())["inputs"]
        self.texts += texts
        broken = self.broken
        if isinstance(broken, tuple):
            return web.Response(status=broken[0], text=broken[1])
        if broken == "hang":
            await self._done.wait()
        if len(texts) > 32:
            return web.Response(status=422, text="batch size > maximum allowed batch size 32")
        return web.Response(text=json.dumps(_spoilt(self.encoder.encode(texts, "document").tolist(), broken)))


def _spoilt(rows: list[list[float]], how: Any) -> list[list[float]]:
    if how == "short":
        return [row[1:] for row in rows]
    value = {"nan": float("nan"), "zeros": 0.0}.get(how)
    return rows if value is None else [[value] * len(row) for row in rows]
