"""A /metrics page on a free port whose lines a test writes."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class MetricsPage:
    """`address` is host:port; `lines` and `status` may be changed at any time. What is posted is kept, as a webhook's receiver would."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.status = 200
        self.received: list[tuple[str, str | None, Any]] = []
        """(path, Authorization, body) of each POST, a JSON document."""
        target = self

        class Page(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("".join(f"{line}\n" for line in target.lines).encode())

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                target.received.append((self.path, self.headers["authorization"], body))
                self._answer(b"{}")

            def _answer(self, body: bytes) -> None:
                self.send_response(target.status)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
