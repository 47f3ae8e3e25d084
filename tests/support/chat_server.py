"""A server that speaks OpenAI's chat completions over HTTP, as far as questions about articles need it. Counts what it is asked."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Body = dict[str, Any]
Answer = Callable[["Asked"], "tuple[int, Any]"]


@dataclass(frozen=True)
class Asked:
    """One request: its body, and what the prompt says about the article."""

    body: Body
    headers: dict[str, str]
    number: int

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][-1]["content"])

    @property
    def title(self) -> str:
        found = re.search(r"^Title: (.*)$", self.prompt, re.MULTILINE)
        return found[1] if found else ""

    @property
    def article(self) -> str:
        return self.prompt.partition("Article:\n")[2]


def completion(text: str, *, read: int = 100, written: int = 50) -> Body:
    """What the API answers when all is well."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "test",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }


def refusal(message: str, code: str | None = None) -> Body:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def three_questions(asked: Asked) -> tuple[int, Body]:
    """Three questions of words of the article: no two articles get the same."""
    words = list(dict.fromkeys(re.findall(r"\w{4,}", f"{asked.article} {asked.title}")))
    made = [f"what is said of {words[-1 - n]} and {words[n]} with {words[(n + 3) % len(words)]}?" for n in range(3)]
    return 200, completion(json.dumps({"questions": made}))


@dataclass
class ChatServer:
    """`answer` may be replaced at any time; `asked` holds every request that came."""

    answer: Answer = three_questions
    delay: float = 0.0
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    url: str = ""
    _under_way: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def by_title(self) -> Counter[str]:
        return Counter(asked.title for asked in self.asked)

    def reply(self, body: Body, headers: dict[str, str]) -> tuple[int, Any]:
        with self._lock:
            asked = Asked(body, headers, len(self.asked) + 1)
            self.asked.append(asked)
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        try:
            time.sleep(self.delay)
            return self.answer(asked)
        finally:
            with self._lock:
                self._under_way -= 1


@contextmanager
def chat_server(answer: Answer = three_questions, *, delay: float = 0.0, port: int = 0) -> Iterator[ChatServer]:
    """A server on a free port of this machine; its `url` ends in /v1."""
    server = ChatServer(answer, delay)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, said = (
                server.reply(body, {k.lower(): v for k, v in self.headers.items()})
                if self.path == "/v1/chat/completions"
                else (404, refusal(f"unknown path {self.path}"))
            )
            text = said.encode() if isinstance(said, str) else json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if isinstance(said, str) else "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
