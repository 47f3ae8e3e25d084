"""The dashboard over an API server in memory, in a thread of its own: Playwright's API is synchronous, and so are its tests.

To look at: `python tests/support/dashboard_world.py --port 8190`; the tokens are those of `rest_world.USERS`.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Self, TypeVar

from dashboard_objects import dashboard_objects
from kube_server import KubeServer, Thing
from rest_world import USERS, a_server, api_over, listening

T = TypeVar("T")
QUICK = {"ATTUNE_API_REVIEW_SECONDS": "0.2", "ATTUNE_API_REFUSAL_SECONDS": "0.1", "ATTUNE_API_STALE_SECONDS": "0.5"}


class DashboardWorld:
    """`url` of the page; `server` holds the objects, and is touched by `do` alone. The API can be stopped and started again."""

    def __init__(self, things: list[Thing] | None = None, port: int = 0, **settings: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._port, self._settings = port, {**QUICK, **settings}
        self._cluster, self._api = AsyncExitStack(), AsyncExitStack()
        self.server = a_server()
        for thing in dashboard_objects() if things is None else things:
            self.server.put(thing)
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self._cluster.enter_async_context(self.server.serving()))
        self.start_api()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_api()
        self._run(self._cluster.aclose())
        self._run(_quiet())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def start_api(self) -> None:
        """On the same port as before."""
        self.url = self._run(self._started())
        self._port = int(self.url.rpartition(":")[2])

    def stop_api(self) -> None:
        """As a Pod that is replaced: its streams end."""
        self._run(self._api.aclose())

    def do(self, act: Callable[[KubeServer], T]) -> T:
        """In the thread that the server lives in."""

        async def done() -> T:
            return act(self.server)

        return self._run(done())

    async def _started(self) -> str:
        api = await self._api.enter_async_context(api_over(self.server, **self._settings))
        return await self._api.enter_async_context(listening(api, self._port))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def trains(self, percent: float, name: str = "news-lr") -> None:
        """The run gets on: its loss falls as a loss does."""
        epoch = 3 * percent / 100
        wobble = 0.012 * math.sin(percent * 1.9)
        progress = {
            "stage": "train",
            "percent": round(percent, 1),
            "epoch": round(epoch, 3),
            "step": round(2120 * percent / 100),
            "loss": round(0.31 + 0.9 * math.exp(-epoch * 1.15) + wobble, 4),
            "examplesPerSecond": 146.0,
            "estimatedRemainingSeconds": round(7.9 * (100 - percent)),
        }
        self.do(lambda server: server.status("TrainingJob", name, progress=progress))


async def _quiet() -> None:
    """Nothing is left running: what watches for the end of a process would wait for ever."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def main(port: int) -> None:
    with DashboardWorld(port=port, ATTUNE_API_HEARTBEAT_SECONDS="15") as world:
        print(f"{world.url}  tokens: {', '.join(f'{t} ({u})' for t, u in USERS.items())}", flush=True)  # noqa: T201
        for second in range(100_000):
            world.trains(43 + 0.5 * (second % 110))
            time.sleep(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The dashboard over sample objects, without a cluster.")
    parser.add_argument("--port", type=int, default=8190)
    main(parser.parse_args().port)
