"""A keyed work queue as controllers use it: one worker per key, de-duplication, back-off, bounded concurrency.

`handlers` adds keys for events; `runtime` starts the workers when this replica leads and drains them when it stops.
The guarantees, which the tests check in random orders:

- an `add` is never lost: a key that is added while it is processed is processed again afterwards;
- one key is never processed twice at the same time; different keys are, up to `workers`;
- a failed key comes back after an exponential delay with jitter; success forgets its failures;
- `requeue_after` keeps only the earliest of the wake-ups that are pending for a key;
- a key that is asked for again right after it ran waits until `spacing` is over, unless it is to be first: echoes of a look are one look.

Everything happens on one event loop, so no locks are needed. Times are the loop's own clock (monotonic).
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple, Protocol

import structlog

from attune.errors import ClusterError, Unavailable

log = structlog.get_logger(__name__)


class Key(NamedTuple):
    """The address of one object of ours."""

    kind: str
    namespace: str
    name: str


Work = Callable[[Key], Awaitable[timedelta | None]]
"""Process one key; answer when it wants to be looked at again, None for never (until an event)."""


class Observer(Protocol):
    """What the queue tells the metrics."""

    def queue_changed(self, depth: int, processing: int) -> None:
        """The number of keys that are ready to run, and that run."""
        ...

    def processed(self, key: Key, seconds: float, error: Exception | None) -> None:
        """One run of one key is over."""
        ...


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay after the n-th failure in a row: base * 2**(n-1), at most `cap`; 50 to 100% of it, to spread the keys."""

    base: timedelta = timedelta(milliseconds=200)
    cap: timedelta = timedelta(minutes=5)

    def delay(self, failures: int, jitter: float) -> float:
        """Seconds to wait; `jitter` is in 0..1."""
        full = min(self.base.total_seconds() * 2.0 ** min(failures - 1, 32), self.cap.total_seconds())
        return full * (0.5 + 0.5 * jitter)


@dataclass(slots=True)
class _State:
    """What is known of a key that is not idle."""

    queued: bool = False
    processing: bool = False
    again: bool = False
    first: bool = False
    """Before all others, when it runs again."""
    failures: int = 0
    timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        return not (self.queued or self.processing or self.failures or self.timer)


@dataclass
class WorkQueue:
    """Construct it on the event loop; `add` keys at any time; `start` begins to process, `drain` ends it."""

    work: Work
    workers: int = 8
    backoff: Backoff = field(default_factory=Backoff)
    observer: Observer | None = None
    jitter: Callable[[], float] = random.random
    spacing: float = 0.0
    """Seconds, at least, from the start of a run of a key to the start of its next one."""

    def __post_init__(self) -> None:
        self._states: dict[Key, _State] = {}
        self._started: dict[Key, float] = {}
        """When each key ran last that did so within `spacing`, oldest first."""
        self._ready: deque[Key] = deque()
        self._processing = 0
        self._wakeup = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._draining = False

    def add(self, key: Key, *, first: bool = False) -> None:
        """Process the key soon, or before all others. Adding twice before it starts is one run; adding while it runs is one more run."""
        if self._draining:
            return
        if not first and not self._states.setdefault(key, _State()).processing and self._rest(key) > 0:
            self.add_after(key, 0)
        else:
            self._enqueue(key, first=first)

    def add_after(self, key: Key, delay: float) -> None:
        """Process the key in `delay` seconds, not before its rest is over, or earlier if something else asks for it."""
        if self._draining:
            return
        state = self._states.setdefault(key, _State())
        if state.queued or state.again:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + max(delay, self._rest(key))
        if state.timer is not None and state.timer.when() <= due:
            return
        self._disarm(state)
        state.timer = loop.call_at(due, self._enqueue, key)

    @property
    def depth(self) -> int:
        """Keys that are ready and wait for a worker."""
        return len(self._ready)

    @property
    def in_progress(self) -> int:
        """Keys that are being processed now."""
        return self._processing

    @property
    def waiting(self) -> int:
        """Keys with a wake-up in the future."""
        return sum(1 for state in self._states.values() if state.timer is not None)

    def start(self) -> None:
        """Start the workers. Keys added before are kept and run now, in the order of their arrival."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._run(), name=f"worker-{n}") for n in range(self.workers)]

    async def drain(self, grace: float = 10.0) -> bool:
        """Take no more keys; those in progress have `grace` seconds, then they are cancelled. True if none was."""
        self._draining = True
        for state in self._states.values():
            self._disarm(state)
        self._ready.clear()
        self._wakeup.set()
        if not self._tasks:
            return True
        _, pending = await asyncio.wait(self._tasks, timeout=grace)
        for task in pending:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        self._report()
        return not pending

    async def _run(self) -> None:
        while not self._draining:
            if not self._ready:
                self._wakeup.clear()
                await self._wakeup.wait()
                continue
            await self._process(self._ready.popleft())

    def _enqueue(self, key: Key, *, first: bool = False) -> None:
        state = self._states.setdefault(key, _State())
        self._disarm(state)
        if state.processing:
            state.again, state.first = True, state.first or first
        elif not state.queued:
            state.queued = True
            self._ready.appendleft(key) if first else self._ready.append(key)
            self._wakeup.set()
        elif first:
            self._ready.remove(key)
            self._ready.appendleft(key)
        self._report()

    def _rest(self, key: Key) -> float:
        """Seconds until the key may run again."""
        started = self._started.get(key)
        return 0.0 if started is None else max(0.0, started + self.spacing - asyncio.get_running_loop().time())

    def _note_start(self, key: Key, now: float) -> None:
        self._started.pop(key, None)
        self._started[key] = now
        while (oldest := next(iter(self._started))) != key and self._started[oldest] + self.spacing <= now:
            del self._started[oldest]

    async def _process(self, key: Key) -> None:
        state = self._states[key]
        state.queued, state.processing, state.again, state.first = False, True, False, False
        self._processing += 1
        self._report()
        started = asyncio.get_running_loop().time()
        self._note_start(key, started)
        requeue: timedelta | None = None
        error: Exception | None = None
        try:
            requeue = await self.work(key)
        except Exception as e:  # whatever a reconcile raises is retried; only a bug gets a stack trace
            error = e
        finally:
            state.processing = False
            self._processing -= 1
        if self.observer is not None:
            self.observer.processed(key, asyncio.get_running_loop().time() - started, error)
        self._settle(key, state, requeue, error)
        self._report()

    def _settle(self, key: Key, state: _State, requeue: timedelta | None, error: Exception | None) -> None:
        """Decide when the key comes back."""
        again, first, state.again, state.first = state.again, state.first, False, False
        if error is not None:
            state.failures += 1
            delay = self._delay(state.failures, error)
            _tell(key, error, state.failures, delay)
            self.add_after(key, delay)
        else:
            state.failures = 0
            if again:
                self.add(key, first=first)
            elif requeue is not None:
                self.add_after(key, requeue.total_seconds())
        if state.idle:
            self._states.pop(key, None)

    def _delay(self, failures: int, error: Exception) -> float:
        """Back-off, but never sooner than the server asked for."""
        asked = error.retry_after if isinstance(error, Unavailable) and error.retry_after is not None else 0.0
        return max(self.backoff.delay(failures, self.jitter()), asked)

    @staticmethod
    def _disarm(state: _State) -> None:
        if state.timer is not None:
            state.timer.cancel()
            state.timer = None

    def _report(self) -> None:
        if self.observer is not None:
            self.observer.queue_changed(len(self._ready), self._processing)


def _tell(key: Key, error: Exception, failures: int, delay: float) -> None:
    """One line for what the cluster said, a stack trace for what must be our own mistake."""
    line = log.bind(kind=key.kind, namespace=key.namespace, name=key.name, reason=type(error).__name__)
    line = line.bind(failures=failures, retry_in_seconds=round(delay, 2))
    if isinstance(error, ClusterError):
        line.warning("reconcile failed, tries again", error=str(error))
    else:
        line.error("reconcile failed, tries again", exc_info=error)
