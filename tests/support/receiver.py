"""A real receiver of webhooks over HTTP: it keeps what it gets, and answers as it is told: well, badly, late, or not at all."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal


@dataclass(frozen=True)
class Answer:
    """One answer. hang: none, until the receiver stops; close: the connection ends without one; cut: in the middle of its body."""

    status: int = 200
    body: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    how: Literal["answer", "hang", "close", "cut"] = "answer"


OK = Answer()
HANGS, CLOSES = Answer(how="hang"), Answer(how="close")


@dataclass(frozen=True)
class Got:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


class Receiver:
    """`start`, then `url`. `answers` are given one after the other, then `always`."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.always = OK
        self.got: list[Got] = []
        self._stopped = threading.Event()
        self._lock = threading.Lock()

    def start(self, *, tls: ssl.SSLContext | None = None) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                with receiver._lock:
                    headers = {name.lower(): value for name, value in self.headers.items()}
                    receiver.got.append(Got(self.path, headers, body))
                    answer = receiver.answers.pop(0) if receiver.answers else receiver.always
                with suppress(OSError):  # who asked has gone: killed, or out of patience
                    receiver._give(self, answer)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = (
            f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_address[1]}/services/T0000/B0000/s3cr3tpart"
        )
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def told(self) -> list[dict[str, Any]]:
        """The bodies, in the order in which they came."""
        with self._lock:
            return [got.json for got in self.got]

    def _give(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        if answer.how == "hang":
            self._stopped.wait(60)
        if answer.how in {"hang", "close"}:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)
            return
        body = answer.body.encode()
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            handler.send_header(name, value)
        handler.send_header("content-length", str(len(body) + (100 if answer.how == "cut" else 0)))
        handler.end_headers()
        handler.wfile.write(body)
        if answer.how == "cut":
            handler.close_connection = True
