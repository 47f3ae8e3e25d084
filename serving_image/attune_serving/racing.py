"""Two ways to one answer: the second begins when the first is late or has failed. Only asyncio; who they are, `guarding` knows.

While the first answers in time, all this costs a timer: no task, no thread. The first is not given up because it is late, only
because the second has answered: where both are slow, nobody waits longer than without the second, and no answer becomes an error.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class LateError(Exception):
    """The second answered before the first, which was late."""


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """One way led to an answer, after `seconds`."""

    answer: T
    seconds: float


@dataclass(frozen=True, slots=True)
class Failed:
    """One way led to a problem, after `seconds`."""

    problem: Exception
    seconds: float


class _Second(Generic[T]):
    """The other way, begun at most once. `until` is the first one's time, which ends when the second has an answer."""

    def __init__(self, begin: Callable[[], Awaitable[T]], left: Callable[[float], float]) -> None:
        self._begin = begin
        self._left = left
        self._began = monotonic()
        self._loop = asyncio.get_running_loop()
        self._until: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[T] | None = None

    def watch(self, until: asyncio.Timeout) -> None:
        self._until = until
        self._timer = self._loop.call_later(self._left(0.0), self._look)

    def unwatch(self) -> None:
        self._until = None
        if self._timer is not None:
            self._timer.cancel()

    async def ended(self) -> Answered[T] | Failed:
        """Begin it unless that was done; its end."""
        self.unwatch()
        began = monotonic()
        try:
            answer = await (self._begin() if self._task is None else self._task)
        except Exception as error:
            return Failed(error, monotonic() - began)
        return Answered(answer, monotonic() - began)

    def leave(self) -> None:
        """Nobody needs it any more."""
        self.unwatch()
        if self._task is not None:
            self._task.cancel()

    def _look(self) -> None:
        left = self._left(monotonic() - self._began)
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
            return
        self._task = self._loop.create_task(self._run())
        self._task.add_done_callback(self._came)

    async def _run(self) -> T:
        return await self._begin()

    def _came(self, task: "asyncio.Task[T]") -> None:
        if not task.cancelled() and task.exception() is None and self._until is not None:
            self._until.reschedule(self._loop.time())


async def race(
    first: Callable[[], Awaitable[T]],
    second: Callable[[], Awaitable[T]],
    left: Callable[[float], float],
    helps: Callable[[Exception], bool],
) -> tuple[Answered[T] | Failed, Answered[T] | Failed | None]:
    """How the first ended, and the second where the first gave no answer and its problem is one that the second `helps` with.

    `left` tells, from the seconds that the first has taken, in how many to look again; 0: it is late, begin the second.
    """
    other = _Second(second, left)
    began = monotonic()
    try:
        async with asyncio.timeout(None) as until:
            other.watch(until)
            answer = await first()
        return Answered(answer, monotonic() - began), None
    except Exception as error:
        failed = Failed(LateError() if until.expired() else error, monotonic() - began)
        return failed, await other.ended() if helps(failed.problem) else None
    finally:
        other.leave()
