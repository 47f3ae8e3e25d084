"""The work queue in virtual time: a loop whose clock jumps to the next timer, and work that remembers when it ran."""

import asyncio
import selectors
from collections import defaultdict
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

from attune.errors import Conflict
from attune.workqueue import Backoff, Key, WorkQueue


class VirtualSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer, time jumps to it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock only moves when nothing else is to be done."""

    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


def virtually(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def key(name: str) -> Key:
    return Key("TrainingJob", "team", name)


class Worker:
    """Work that takes time, fails when told to, and remembers when it ran."""

    def __init__(self, takes: float = 1.0, fails: int = 0, requeue: float | None = None) -> None:
        self.takes, self.fails, self.requeue = takes, fails, requeue
        self.error: Exception = Conflict("changed")
        self.runs: dict[Key, list[float]] = defaultdict(list)
        self.running: set[Key] = set()
        self.most = 0

    async def __call__(self, key: Key) -> timedelta | None:
        assert key not in self.running, "one key was processed twice at the same time"
        self.running.add(key)
        self.most = max(self.most, len(self.running))
        self.runs[key].append(asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(self.takes)
            if self.fails > 0:
                self.fails -= 1
                raise self.error
        finally:
            self.running.discard(key)
        requeue, self.requeue = self.requeue, None
        return None if requeue is None else timedelta(seconds=requeue)


def queue_of(work: Any, workers: int = 4, spacing: float = 0.0) -> WorkQueue:
    backoff = Backoff(timedelta(seconds=1), timedelta(seconds=60))
    return WorkQueue(work, workers=workers, backoff=backoff, jitter=lambda: 1.0, spacing=spacing)


async def settled(queue: WorkQueue) -> None:
    while queue.depth or queue.in_progress or queue.waiting:  # noqa: ASYNC110  time is virtual
        await asyncio.sleep(0.5)
