"""Simulated users with real queries: they search, look at who answered, and say whether they liked it. And a log of all that."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from attune_serving.assign import normalize


@dataclass
class Users:
    """`rate` searches a second over the addresses of `where`. Every third query was asked before.

    `likes` version → probability of a click. `asked` is the log: run of the test → normalized query → arm of its first answer.
    """

    where: Callable[[], Sequence[str]]
    queries: Sequence[str]
    likes: dict[str, float]
    rate: float = 40.0
    asked: dict[str, dict[str, str]] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)

    def start(self) -> Users:
        self._rng = random.Random(7)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._client = httpx.Client(timeout=10, trust_env=False)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(60)
        self._client.close()

    def distinct(self, test: str) -> dict[str, int]:
        """Distinct queries of each arm that took part in a test, whatever became of their answers."""
        with self._lock:
            arms = list(self.asked.get(test, {}).values())
        return {arm: arms.count(arm) for arm in ("A", "B")}

    def _run(self) -> None:
        begin, number = time.monotonic(), 0
        with ThreadPoolExecutor(16) as pool:
            while not self._stopped.wait(max(0.0, begin + number / self.rate - time.monotonic())):
                addresses = self.where()
                back = number % 3 == 2
                query = self.queries[(number - self._rng.randrange(1, 30) if back else number) % len(self.queries)]
                if addresses:
                    pool.submit(self._ask, addresses[number % len(addresses)], query.upper() if back else query)
                number += 1

    def _ask(self, address: str, query: str) -> None:
        try:
            answer = self._client.post(f"http://{address}/v1/search", json={"query": query, "top_k": 3})
        except httpx.HTTPError:
            self._count(0)
            return
        self._count(answer.status_code)
        version, test = answer.headers.get("x-attune-version", ""), answer.headers.get("x-attune-test")
        if test is not None:
            with self._lock:
                self.asked.setdefault(test, {}).setdefault(normalize(query), answer.headers["x-attune-arm"])
        if answer.status_code == 200:
            with self._lock:
                clicked = self._rng.random() < self.likes.get(version, 0.3)
            body = {"query": query, "metric": "clicks", "value": float(clicked), "version": version}
            try:
                self._client.post(f"http://{address}/v1/feedback", json=body)
            except httpx.HTTPError:
                self._count(0)

    def _count(self, status: int) -> None:
        with self._lock:
            self.statuses[status] = self.statuses.get(status, 0) + 1
