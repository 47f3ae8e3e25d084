"""A small server that speaks OpenAI's API over real HTTP: files, fine-tuning, embeddings, chat, models. On a thread of its own.

Its vectors carry meaning (the words of a text, each in a direction of its own) and much that is beside the point (words that every
text has weigh most), so that an adapter has something real to learn. It can be told to fail in every way that matters.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from aiohttp import web

from tiny_bert import VERBS

EMBEDS, TUNABLE, CHATS = "text-embedding-3-small", "tunable-embedding", "gpt-4o-mini"
STOP = ("the", "a", "an", "and", "or", "is", "are", "of", "to", "in", "it")
NOISE = frozenset((*STOP, *VERBS))
"""Words that say nothing of what a text is about, and weigh most in its vector."""


@dataclass
class Fault:
    """What happens to the next `times` requests whose "METHOD path" matches. `how`: a status, hang, garbage (200), lost (done, but
    the connection is cut before the answer), or reset (cut before anything is done)."""

    match: str
    how: int | str
    times: int = 1
    words: str = "injected"
    retry_after: float | None = None
    code: str | None = None


Hook = Callable[[str, str, str], object]
"""(before or after, method, path) of each request; may kill the client. True before: it was never sent."""


@dataclass
class OpenAIServer:
    """`start`, then `url` (ends in /v1). What it remembers may be looked at, and changed, at any time."""

    key: str | None = None
    """The only one that is right; None: any, or none."""
    dimensions: int = 64
    page: int = 100
    looks: int = 2
    """How often a job is looked at before it is done; -1: it never is."""
    outcome: str = "succeeded"
    error: str = "the training file has 3 examples; at least 10 are needed"
    faults: list[Fault] = field(default_factory=list)
    hook: Hook = lambda when, method, path: None
    drift: float = 0.0
    """Length of the noise that is added to each vector, other noise each time."""
    rotated: bool = False
    """The API answers by another model under the same name."""
    requests: list[tuple[str, str]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    embedded: list[str] = field(default_factory=list)
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    prompts: list[str] = field(default_factory=list)
    url: str = ""

    def start(self) -> OpenAIServer:
        self._loop = asyncio.new_event_loop()
        self._count = 0
        self._rng = np.random.default_rng(0)
        ready = threading.Event()
        threading.Thread(target=lambda: self._loop.run_until_complete(self._serve(ready)), daemon=True).start()
        assert ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._done.set)

    def asked(self, match: str) -> int:
        """How many requests there were whose "METHOD path" matches."""
        return sum(1 for method, path in self.requests if re.search(match, f"{method} {path}"))

    def vectors(self, texts: list[str], model: str = EMBEDS, dimensions: int | None = None) -> Any:
        """What it answers, without drift. A fine-tuned model has learnt to look past the noise."""
        rows = np.stack([self._vector(text, tuned=model.startswith("ft:")) for text in texts])[:, :dimensions]
        if self.rotated:
            rows = rows[:, ::-1]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def _vector(self, text: str, *, tuned: bool) -> Any:
        made = np.zeros(self.dimensions)
        for word, count in Counter(re.findall(r"\w+", text.lower())).items():
            weight = (0.0 if tuned else 1.5) if word in NOISE else 1.0
            made = made + weight * count * _direction(word, self.dimensions)
        if not tuned:  # the last quarter says something of each text that no other text has
            made[-self.dimensions // 4 :] += 0.8 * _direction(text, self.dimensions // 4)
        return made if made.any() else _direction(text, self.dimensions)

    # ---- HTTP

    async def _serve(self, ready: threading.Event) -> None:
        self._done = asyncio.Event()
        app = web.Application(middlewares=[self._around], client_max_size=1 << 28)
        app.router.add_post("/v1/embeddings", self._embeddings)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/files", self._upload)
        app.router.add_get("/v1/files", self._list_files)
        app.router.add_post("/v1/fine_tuning/jobs", self._create)
        app.router.add_get("/v1/fine_tuning/jobs", self._list_jobs)
        app.router.add_get("/v1/fine_tuning/jobs/{job}", self._retrieve)
        app.router.add_post("/v1/fine_tuning/jobs/{job}/cancel", self._cancel)
        app.router.add_get("/v1/fine_tuning/jobs/{job}/events", self._events)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        assert site._server is not None
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"
        ready.set()
        await self._done.wait()
        await runner.cleanup()

    @web.middleware
    async def _around(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        self.keys.append(request.headers.get("authorization"))
        fault = self._due(f"{request.method} {request.path}")
        unsent = self.hook("before", request.method, request.path)
        if unsent is True or (fault is not None and fault.how == "reset"):
            return _cut(request)
        if fault is not None and fault.how == "hang":
            await self._done.wait()
        if fault is not None and fault.how == "garbage":
            return web.Response(text="<html>one moment please</html>", content_type="text/html")
        if fault is not None and isinstance(fault.how, int):
            return _refused(fault.how, fault.words, fault.code, fault.retry_after)
        if self.key is not None and request.headers.get("authorization") != f"Bearer {self.key}":
            return _refused(401, "Incorrect API key provided", "invalid_api_key")
        answer: web.StreamResponse = await handler(request)
        self.hook("after", request.method, request.path)
        return _cut(request) if fault is not None and fault.how == "lost" else answer

    def _due(self, what: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.match, what):
                fault.times -= 1
                return fault
        return None

    async def _embeddings(self, request: web.Request) -> web.Response:
        body = await request.json()
        texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
        model = body["model"]
        tuned = any(job["fine_tuned_model"] == model for job in self.jobs.values())
        if model not in {EMBEDS, TUNABLE} and not tuned:
            return _refused(
                404, f"The model `{model}` does not exist or you do not have access to it.", "model_not_found"
            )
        if not texts or "" in texts:
            return _refused(400, "input cannot be an empty string")
        if len(texts) > 2048:
            return _refused(400, "array too long: at most 2048 inputs")
        self.embedded += texts
        rows = self.vectors(texts, model, body.get("dimensions"))
        if self.drift:
            noise = self._rng.normal(size=rows.shape)
            rows = rows + self.drift * noise / np.linalg.norm(noise, axis=1, keepdims=True)
        tokens = sum(1 + len(text) // 4 for text in texts)
        data = [{"object": "embedding", "index": n, "embedding": row.tolist()} for n, row in enumerate(rows)]
        data.reverse()  # an order is not promised
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return web.json_response({"object": "list", "data": data, "model": model, "usage": usage})

    async def _chat(self, request: web.Request) -> web.Response:
        body = await request.json()
        said = str(body["messages"][-1]["content"])
        self.prompts.append(said)
        message = {"role": "assistant", "content": f"About: {said[:60]}"}
        usage = {"prompt_tokens": len(said) // 4, "completion_tokens": 10, "total_tokens": len(said) // 4 + 10}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 0,
                "model": body["model"],
                "choices": [choice],
                "usage": usage,
            }
        )

    async def _models(self, _: web.Request) -> web.Response:
        names = [EMBEDS, TUNABLE, CHATS, *(j["fine_tuned_model"] for j in self.jobs.values() if j["fine_tuned_model"])]
        return web.json_response({"object": "list", "data": [{"id": n, "object": "model"} for n in names]})

    # ---- files and jobs

    async def _upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        sent = form["file"]
        assert isinstance(sent, web.FileField)
        content = sent.file.read()
        for line in content.splitlines():
            json.loads(line)
        made = {
            "id": f"file-{self._next()}",
            "object": "file",
            "bytes": len(content),
            "created_at": int(_now()),
            "filename": sent.filename,
            "purpose": str(form["purpose"]),
            "status": "processed",
            "content": content,
        }
        self.files[made["id"]] = made
        return web.json_response(_public(made))

    async def _list_files(self, request: web.Request) -> web.Response:
        return self._page(request, list(self.files.values()))

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        if body["model"] != TUNABLE:
            return _refused(
                400, f"Model {body['model']} is not available for fine-tuning or does not exist.", "model_not_available"
            )
        if body["training_file"] not in self.files:
            return _refused(400, f"invalid training_file: {body['training_file']}")
        made = self.add_job(
            **{k: body.get(k) for k in ("model", "training_file", "validation_file", "metadata", "suffix")}
        )
        made["hyperparameters"] = body.get("hyperparameters") or {"n_epochs": "auto"}
        return web.json_response(_public(made))

    def add_job(self, **known: Any) -> dict[str, Any]:
        """A job as if somebody had created it."""
        made = {
            "id": f"ftjob-{self._next()}",
            "object": "fine_tuning.job",
            "created_at": int(_now()),
            "error": None,
            "fine_tuned_model": None,
            "finished_at": None,
            "hyperparameters": {"n_epochs": "auto"},
            "organization_id": "org",
            "result_files": [],
            "seed": 0,
            "status": "validating_files",
            "trained_tokens": None,
            "looks": 0,
            "suffix": None,
            "model": TUNABLE,
            "training_file": "file-of-somebody",
            "validation_file": None,
            "metadata": None,
        } | known
        self.jobs[made["id"]] = made
        return made

    async def _list_jobs(self, request: web.Request) -> web.Response:
        return self._page(request, list(reversed(self.jobs.values())))  # the newest first

    async def _retrieve(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["job"])
        if job is None:
            return _refused(404, "no such job")
        if job["status"] not in {"succeeded", "failed", "cancelled"}:
            job["looks"] += 1
            job["status"] = "running"
            if 0 <= self.looks <= job["looks"]:
                self._finish(job)
        return web.json_response(_public(job))

    def _finish(self, job: dict[str, Any]) -> None:
        job["status"] = self.outcome
        job["finished_at"] = int(_now())
        if self.outcome == "failed":
            job["error"] = {"code": "invalid_n_examples", "message": self.error, "param": "training_file"}
        if self.outcome == "succeeded":
            job["fine_tuned_model"] = f"ft:{job['model']}:attune:{job['suffix'] or ''}:{job['id'][-4:]}"
            job["trained_tokens"] = 4321

    async def _cancel(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["job"]]
        if job["status"] in {"succeeded", "failed", "cancelled"}:
            return _refused(400, f"Job has already {job['status']}")
        job["status"] = "cancelled"
        return web.json_response(_public(job))

    async def _events(self, request: web.Request) -> web.Response:
        job = self.jobs[request.match_info["job"]]
        step = max(1, job["looks"])
        data = {"step": step, "total_steps": max(4, self.looks), "train_loss": 1.0 / step, "valid_loss": 1.5 / step}
        event = {"id": "e1", "object": "fine_tuning.job.event", "created_at": int(_now()), "level": "info"}
        words = {"message": f"Step {step}", "type": "metrics", "data": data}
        return web.json_response({"object": "list", "data": [event | words], "has_more": False})

    def _page(self, request: web.Request, all_: list[dict[str, Any]]) -> web.Response:
        ids = [thing["id"] for thing in all_]
        after = request.query.get("after")
        start = ids.index(after) + 1 if after else 0
        size = min(self.page, int(request.query.get("limit", "20")) if "jobs" in request.path else self.page)
        part = all_[start : start + size]
        more = start + size < len(all_)
        return web.json_response({"object": "list", "data": [_public(thing) for thing in part], "has_more": more})

    def _next(self) -> str:
        self._count += 1
        return f"{self._count:04}"


def _direction(word: str, dimensions: int) -> Any:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    found = np.random.default_rng(seed).normal(size=dimensions)
    return found / np.linalg.norm(found)


def _now() -> float:
    return datetime.now(UTC).timestamp()


def _public(thing: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in thing.items() if name not in {"content", "looks", "suffix"}}


def _refused(status: int, words: str, code: str | None = None, retry_after: float | None = None) -> web.Response:
    headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
    error = {"message": words, "type": "invalid_request_error", "param": None, "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


def _cut(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()
