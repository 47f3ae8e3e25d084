"""Notifications on their way: a task for each, in memory, bounded. What was not delivered is in the status of its object, and offered anew.

Filled by `reconcile` after a status was written; what became of a notification is observed at the next look, which the outbox asks for.
No reconcile ever waits for a receiver. One target gets one request at a time, so that what happened first is told first.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple
from weakref import WeakValueDictionary

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential_jitter

from attune.decide.notifications.announce import LONGEST_WAIT
from attune.errors import NotLeader
from attune.notify.courier import Refused, TryAgain
from attune.observation import Delivery, Fate, Notification
from attune.telemetry.metrics import Metrics
from attune.workqueue import Key

log = structlog.get_logger(__name__)

MOST_OF_ONE, MOST, AT_ONCE = 32, 1024, 16
"""Notifications under way of one Retriever, and in all; requests at the same time. What finds no room waits in its status."""


class Pauses(NamedTuple):
    """Seconds between two tries: they double from the first to the longest."""

    first: float = 1.0
    longest: float = 300.0


PAUSES = Pauses()

Carry = Callable[[Notification], Awaitable[None]]
"""Delivers one notification; raises TryAgain, Refused or NotLeader. `courier.Courier.carry` does."""


@dataclass(slots=True, eq=False)
class _Parcel:
    """One notification with its task."""

    key: Key
    told: Notification
    task: asyncio.Task[None] | None = None
    delivery: Delivery | None = None

    @property
    def owner(self) -> tuple[str, str]:
        return self.key.namespace, self.told.retriever

    @property
    def is_over(self) -> bool:
        return self.delivery is not None and self.delivery.fate is not Fate.RETRYING


class Outbox:
    """Used on one event loop. Without `carry` it takes nothing: whoever only reads a cluster sends nothing."""

    def __init__(
        self,
        carry: Carry | None = None,
        *,
        metrics: Metrics | None = None,
        wake: Callable[[Key], None] = lambda _: None,
        now: Callable[[], datetime] | None = None,
        pauses: Pauses = PAUSES,
    ) -> None:
        self._carry, self._metrics, self._wake, self._now = carry, metrics, wake, now
        self._pauses = pauses
        self._parcels: dict[Key, dict[str, _Parcel]] = {}
        self._turned_away: dict[Key, tuple[str, str]] = {}
        self._turns: WeakValueDictionary[tuple[str, str, str], asyncio.Lock] = WeakValueDictionary()
        self._at_once = asyncio.Semaphore(AT_ONCE)

    def offer(self, key: Key, due: Iterable[Notification]) -> None:
        """These are due of this object, and no others. What is under way already goes on, unless its target was changed."""
        if self._carry is None:
            return
        wanted = {told.key: told for told in due}
        mine = self._parcels.get(key, {})
        for name, parcel in list(mine.items()):
            same = name in wanted and wanted[name].target == parcel.told.target
            if not same and not parcel.is_over:
                self._take_out(parcel)
        self._turned_away.pop(key, None)
        for name, told in wanted.items():
            if name not in self._parcels.get(key, {}):
                self._put(key, told)

    def deliveries(self, key: Key) -> tuple[Delivery, ...]:
        """What became of this object's notifications, as far as anything did."""
        return tuple(p.delivery for p in self._parcels.get(key, {}).values() if p.delivery is not None)

    def settle(self, key: Key, deliveries: Iterable[Delivery]) -> None:
        """These were recorded: those that are over are forgotten."""
        for delivery in deliveries:
            parcel = self._parcels.get(key, {}).get(delivery.key)
            if parcel is not None and parcel.delivery == delivery and parcel.is_over:
                self._take_out(parcel)

    def forget(self, key: Key) -> None:
        """The object is gone."""
        for parcel in list(self._parcels.get(key, {}).values()):
            self._take_out(parcel)
        self._turned_away.pop(key, None)

    def clear(self) -> None:
        """This process does not lead any more: whoever does finds what is pending in the statuses."""
        self._turned_away.clear()
        for key in list(self._parcels):
            self.forget(key)

    @property
    def waiting(self) -> int:
        """How many notifications are under way, or over and not recorded."""
        return sum(map(len, self._parcels.values()))

    def _put(self, key: Key, told: Notification) -> None:
        parcel = _Parcel(key, told)
        of_one = sum(p.owner == parcel.owner for box in self._parcels.values() for p in box.values())
        if of_one >= MOST_OF_ONE or self.waiting >= MOST:
            self._turned_away[key] = parcel.owner
            log.warning(
                "no room for a notification; it waits in the status", notification=told.key, waiting=self.waiting
            )
            return
        self._parcels.setdefault(key, {})[told.key] = parcel
        parcel.task = asyncio.create_task(self._deliver(parcel), name=f"notify-{told.key}")

    def _take_out(self, parcel: _Parcel) -> None:
        """Out of the box, and room for another one: of the same Retriever, and of any."""
        if parcel.task is not None:
            parcel.task.cancel()
        box = self._parcels.get(parcel.key, {})
        box.pop(parcel.told.key, None)
        if not box:
            self._parcels.pop(parcel.key, None)
        same = [key for key, owner in self._turned_away.items() if owner == parcel.owner]
        for key in {*same[:1], *list(self._turned_away)[:1]}:
            self._turned_away.pop(key)
            self._wake(key)

    async def _deliver(self, parcel: _Parcel) -> None:
        """Until it is delivered, refused, too old, or nobody leads here."""
        told = parcel.told
        tries = AsyncRetrying(
            retry=retry_if_exception_type(TryAgain),
            wait=self._pause,
            stop=partial(self._is_late, told),
            before_sleep=partial(self._tries_again, parcel),
            reraise=True,
        )
        try:
            await tries(self._once, told)
            self._ends(parcel, Fate.DELIVERED, "")
        except NotLeader:
            self._take_out(parcel)
        except TryAgain as problem:
            hours = LONGEST_WAIT.total_seconds() / 3600
            self._ends(parcel, Fate.FAILED, f"not delivered within {hours:g} h; at last {problem}")
        except Refused as problem:
            self._ends(parcel, Fate.FAILED, str(problem))
        except Exception as error:  # a mistake of ours is no reason to try for ever
            log.exception("a notification that cannot be sent", notification=told.key)
            self._ends(parcel, Fate.FAILED, f"{type(error).__name__}: see the operator's log")

    async def _once(self, told: Notification) -> None:
        assert self._carry is not None
        place = told.about.metadata.namespace, told.retriever, told.target.name
        turn = self._turns.setdefault(place, asyncio.Lock())
        async with turn, self._at_once:
            await self._carry(told)

    def _ends(self, parcel: _Parcel, fate: Fate, words: str) -> None:
        told = parcel.told
        parcel.delivery = Delivery(told.key, told.event, fate, words)
        about = {"notification": told.key, "told": told.event.value, "kind": parcel.key.kind, "type": told.target.type}
        line = log.bind(**about, namespace=parcel.key.namespace, name=parcel.key.name)
        if fate is Fate.DELIVERED:
            line.info("notification delivered")
        else:
            line.warning("notification not delivered", problem=words)
        self._count(told, fate)
        self._wake(parcel.key)

    def _tries_again(self, parcel: _Parcel, state: RetryCallState) -> None:
        """The first failure is noted in the status; of the others, fewer and fewer are logged."""
        problem = state.outcome.exception() if state.outcome is not None else None
        told, first = parcel.told, parcel.delivery is None
        parcel.delivery = Delivery(told.key, told.event, Fate.RETRYING, str(problem))
        self._count(told, Fate.RETRYING)
        tried = state.attempt_number
        if tried & (tried - 1) == 0:
            log.warning("notification: trying again", notification=told.key, problem=str(problem), tried=tried)
        if first:
            self._wake(parcel.key)

    def _pause(self, state: RetryCallState) -> float:
        """Longer and longer, and never shorter than the receiver asked for."""
        grows = wait_exponential_jitter(initial=self._pauses.first, max=self._pauses.longest, jitter=self._pauses.first)
        problem = state.outcome.exception() if state.outcome is not None else None
        return max(grows(state), problem.retry_after if isinstance(problem, TryAgain) else 0.0)

    def _is_late(self, told: Notification, _state: RetryCallState) -> bool:
        return self._now is not None and self._now() - told.at > LONGEST_WAIT

    def _count(self, told: Notification, fate: Fate) -> None:
        if self._metrics is not None:
            self._metrics.notification(told.target.type, fate.value)
