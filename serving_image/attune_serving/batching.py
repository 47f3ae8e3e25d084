"""Requests that arrive one by one, computed together: one Batcher for each loaded model, on the event loop.

Texts wait in classes of similar length, so that a batch has hardly any padding. The next batch begins with the text whose
deadline is earliest: its arrival plus an allowance for each token. A short query overtakes a long request of documents,
and nothing waits for ever. While a batch is computed the next one gathers; at idle a lone query goes at once.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from time import monotonic

import numpy as np

from attune_retrieval.graph import Floats, Tokens

CLASS_TOKENS = 16
ALLOWANCE_SECONDS = 0.001
"""Of each token: a text of 256 tokens lets those of 16 tokens pass that arrive up to a quarter of a second later."""


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Bounds of a batch and of the queue, in tokens after padding, and in texts."""

    max_tokens: int = 2048
    max_texts: int = 64
    max_queue_tokens: int = 131_072
    max_wait_seconds: float = 0.002
    """How long a batch waits for more, where the batch before it had several requests."""


class QueueFull(Exception):
    """More would wait than is sensible. `retry_after` is the time, in seconds, in which the queue is likely to be empty."""

    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(slots=True)
class _Request:
    """One call of `submit`."""

    answer: asyncio.Future[Floats]
    rows: list[Floats | None]
    missing: int


@dataclass(frozen=True, slots=True)
class _Row:
    """One text of a request."""

    tokens: Tokens
    request: _Request
    position: int
    deadline: float


@dataclass
class _Speed:
    """Tokens a second, smoothed; for Retry-After."""

    tokens_per_second: float = 5000.0

    def saw(self, tokens: int, seconds: float) -> None:
        if seconds > 0:
            self.tokens_per_second += 0.2 * (tokens / seconds - self.tokens_per_second)


@dataclass
class Batcher:
    """`run` computes a batch of texts in a thread of `executor`: rows in the order given."""

    run: Callable[[Sequence[Tokens]], Floats]
    executor: Executor
    limits: BatchLimits = field(default_factory=BatchLimits)
    on_batch: Callable[[int, int, float], None] = lambda *_: None

    def __post_init__(self) -> None:
        self._classes: dict[int, deque[_Row]] = {}
        self._depth = 0
        self._waiting = 0
        self._last_requests = 1
        self._arrived = asyncio.Event()
        self._closed = False
        self._speed = _Speed()
        self._worker: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """Tokens that wait."""
        return self._depth

    async def submit(self, tokens: Sequence[Tokens]) -> Floats:
        """Rows in the order of `tokens`. Raises QueueFull, or what `run` raised for a batch with one of these texts."""
        if self._closed:
            raise RuntimeError("this model is not served any more")
        wanted = sum(max(1, len(t)) for t in tokens)
        if self._depth and self._depth + wanted > self.limits.max_queue_tokens:
            seconds = math.ceil(self._depth / max(1.0, self._speed.tokens_per_second))
            raise QueueFull(
                f"{self._depth} tokens wait, {wanted} more are above the limit of {self.limits.max_queue_tokens}",
                seconds,
            )
        request = _Request(asyncio.get_running_loop().create_future(), [None] * len(tokens), len(tokens))
        if not tokens:
            return np.zeros((0,), dtype=np.float32)
        now = monotonic()
        for position, one in enumerate(tokens):
            row = _Row(one, request, position, now + ALLOWANCE_SECONDS * len(one))
            self._classes.setdefault(_class_of(one), deque()).append(row)
        self._depth += wanted
        self._waiting += 1
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        self._arrived.set()
        try:
            return await request.answer
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Finish what was accepted; refuse what comes."""
        self._closed = True
        self._arrived.set()
        if self._worker is not None:
            await self._worker
            self._worker = None

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._classes:
                if self._closed:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            await self._gather()
            batch = self._take()
            if not batch:
                continue
            self._last_requests = len({id(row.request) for row in batch})
            began = monotonic()
            try:
                found = await loop.run_in_executor(self.executor, self.run, [row.tokens for row in batch])
            except Exception as error:
                _fail(batch, error)
                continue
            seconds, tokens = monotonic() - began, sum(len(row.tokens) for row in batch)
            self._speed.saw(tokens, seconds)
            self.on_batch(len(batch), tokens, seconds)
            _answer(batch, found)

    async def _gather(self) -> None:
        """Under load requests come back together: wait a moment for as many as there were in the last batch."""
        if self._last_requests < 2 or self._waiting >= self._last_requests or self._closed:
            return
        until = monotonic() + self.limits.max_wait_seconds
        while self._waiting < self._last_requests and (left := until - monotonic()) > 0:
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                return

    def _take(self) -> list[_Row]:
        """The next batch: the most urgent text, then others of its class, then of the shorter ones next to it."""
        for length in [n for n, rows in self._classes.items() if not rows]:
            del self._classes[length]
        if not self._classes:
            return []
        first = min(self._classes, key=lambda n: self._classes[n][0].deadline)
        batch: list[_Row] = []
        longest = 0
        for length in [n for n in sorted(self._classes, reverse=True) if first >= n >= first - max(1, first // 4)]:
            rows = self._classes[length]
            while rows and len(batch) < self.limits.max_texts:
                width = max(longest, len(rows[0].tokens))
                if batch and width * (len(batch) + 1) > self.limits.max_tokens:
                    return batch
                row = rows.popleft()
                self._depth -= max(1, len(row.tokens))
                if not row.request.answer.done():  # else: its client is gone, or another text of it failed
                    batch.append(row)
                    longest = width
            if not rows:
                del self._classes[length]
        return batch


def _class_of(tokens: Tokens) -> int:
    return -(-len(tokens) // CLASS_TOKENS)


def _answer(batch: Sequence[_Row], found: Floats) -> None:
    for row, value in zip(batch, found, strict=True):
        request = row.request
        request.rows[row.position] = value
        request.missing -= 1
        if request.missing == 0 and not request.answer.done():
            request.answer.set_result(np.stack([r for r in request.rows if r is not None]))


def _fail(batch: Sequence[_Row], error: Exception) -> None:
    for row in batch:
        if not row.request.answer.done():
            row.request.answer.set_exception(error)
