"""Requests at a steady rate against serving Pods, each answer kept: the other half of every promise about no lost request."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx


@dataclass(frozen=True)
class Answer:
    """One answered request; `status` 0: the connection failed."""

    number: int
    at: float
    path: str
    status: int
    seconds: float
    version: str = ""
    collection: str = ""
    body: Any = None
    text: str = ""
    fallback: str = ""
    """The version in whose place another one answered."""


@dataclass
class Load:
    """`rate` requests a second, round robin over the addresses that `where` gives, until `stop`.

    Open loop: a request is due at its time whether or not earlier ones were answered, so a stall is seen as what it is.
    """

    where: Callable[[], Sequence[str]]
    make: Callable[[int], tuple[str, dict[str, Any]]]
    rate: float = 200.0
    workers: int = 64
    answers: list[Answer] = field(default_factory=list)
    keep_bodies: bool = True

    def start(self) -> Load:
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(self.workers)
        limits = httpx.Limits(max_connections=self.workers * 2, max_keepalive_connections=self.workers * 2)
        self._client = httpx.Client(timeout=30, limits=limits, trust_env=False)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> list[Answer]:
        """No further request; returns when all that were sent are answered."""
        self._stopped.set()
        self._thread.join(60)
        self._pool.shutdown(wait=True)
        self._client.close()
        return sorted(self.answers, key=lambda answer: answer.at)

    def _run(self) -> None:
        start = time.monotonic()
        for number in itertools.count():
            due = start + number / self.rate
            if self._stopped.wait(max(0.0, due - time.monotonic())):
                return
            addresses = self.where()
            if addresses:
                self._pool.submit(self._send, number, addresses[number % len(addresses)])

    def _send(self, number: int, address: str) -> None:
        path, body = self.make(number)
        began = time.monotonic()
        try:
            answer = self._client.post(f"http://{address}{path}", json=body)
            kept = answer.json() if self.keep_bodies and answer.status_code == 200 else None
            done = Answer(
                number,
                began,
                path,
                answer.status_code,
                time.monotonic() - began,
                answer.headers.get("x-attune-version", ""),
                answer.headers.get("x-attune-index", ""),
                kept,
                "" if answer.status_code == 200 else answer.text[:300],
                answer.headers.get("x-attune-fallback", ""),
            )
        except httpx.HTTPError as error:
            done = Answer(number, began, path, 0, time.monotonic() - began, text=repr(error))
        with self._lock:
            self.answers.append(done)


def failures(answers: Sequence[Answer]) -> dict[tuple[int, str], int]:
    """(status, words) → how often, of all that were not answered well."""
    return dict(Counter((a.status, a.text[:120]) for a in answers if a.status != 200))


def p99(answers: Sequence[Answer]) -> float:
    """99th percentile of the seconds that answers took."""
    ordered = sorted(a.seconds for a in answers)
    return ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
