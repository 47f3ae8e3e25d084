"""A language model over HTTP that judges: OpenAI's chat API with JSON answers in the forms that ragas asks for.

It answers every question with the first passage, splits an answer into its sentences, and finds a statement supported if the context
has it. `fail` holds statuses of the next answers; `rubbish` is said instead of every answer to a form that is named there.
"""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKENS = 100


class JudgeServer:
    """Listens on localhost from the moment it is made."""

    def __init__(self, key: str | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.fail: list[int] = []
        self.rubbish: dict[str, str] = {}
        """Form (answer, statements, verdicts, question) → what is said."""
        self.unanswered = False
        """The passages never answer the question."""
        self.unsupported = False
        """No statement is supported."""
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                server.asked.append(body)
                status = server.fail.pop(0) if server.fail else 200
                if key is not None and self.headers.get("authorization") != f"Bearer {key}":
                    status = 401
                answer = server.completion(body) if status == 200 else {"error": {"message": f"said {status}"}}
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        told = "\n".join(message["content"] for message in body["messages"])
        form = form_of(told)
        said = self.rubbish.get(form) or json.dumps(self._answer(form, told))
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}],
            "usage": {"prompt_tokens": TOKENS - 10, "completion_tokens": 10, "total_tokens": TOKENS},
        }

    def _answer(self, form: str, told: str) -> dict[str, Any]:
        if form == "answer":
            first = re.findall(r"^\[1\] (.*)$", told, re.MULTILINE)
            return {"answered": not self.unanswered, "answer": "" if self.unanswered else first[-1]}
        given = last_input(told)
        if form == "statements":
            return {"statements": [part for part in re.split(r"(?<=[.])\s+| and ", given["answer"]) if part]}
        if form == "verdicts":
            checked = [
                {"statement": s, "reason": "-", "verdict": int(not self.unsupported and s in given["context"])}
                for s in given["statements"]
            ]
            return {"statements": checked}
        return {"question": given["response"], "noncommittal": 0}


def form_of(told: str) -> str:
    """Which of ragas' answers, or ours, the JSON schema in the prompt asks for."""
    if '"answered"' in told:
        return "answer"
    if '"noncommittal"' in told:
        return "question"
    return "verdicts" if '"verdict"' in told else "statements"


def last_input(told: str) -> dict[str, Any]:
    """The input of ragas' prompt: the last JSON object after `input:`."""
    decoder = json.JSONDecoder()
    at = [found.end() for found in re.finditer(r"input: ", told, re.IGNORECASE)][-1]
    value: dict[str, Any] = decoder.raw_decode(told[at:].lstrip())[0]
    return value
