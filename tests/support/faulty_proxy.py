"""An HTTP proxy that can answer as a broken server would: with 500, nothing for a while, half an answer, or no samples."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import httpx

Mode = Literal["pass", "500", "slow", "empty", "cut", "page"]
EMPTY = b'{"status":"success","data":{"resultType":"vector","result":[]}}'


class FaultyProxy:
    """`start`, then `url`; `mode` may be changed at any time."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.mode: Mode = "pass"
        self.asked = 0

    def start(self) -> FaultyProxy:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                proxy.asked += 1
                proxy.answer(self, self.rfile.read(int(self.headers.get("content-length") or 0)))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def stop(self) -> None:
        self._server.shutdown()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        mode = self.mode
        if mode == "slow":
            time.sleep(15)
        if mode == "500":
            return send(handler, 500, b"out of memory")
        if mode == "empty":
            return send(handler, 200, EMPTY)
        if mode == "page":
            return send(handler, 200, b"<html>sign in</html>")
        kind = {"content-type": handler.headers.get("content-type", "")}
        try:
            found = httpx.post(self.upstream + handler.path, content=body, headers=kind, trust_env=False, timeout=30)
        except httpx.HTTPError:
            return send(handler, 502, b"bad gateway")
        return send(
            handler, found.status_code, found.content[: len(found.content) // 2] if mode == "cut" else found.content
        )


def send(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
    with suppress(ConnectionError):  # who asked has gone: killed, or out of patience
        handler.send_response(status)
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
