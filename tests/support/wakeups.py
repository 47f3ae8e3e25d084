"""Which objects the operator looks at next in the fake cluster: those that its index of neighbours wakes, as on a real one.

What changed since the last look is an event, whoever changed it; several changes of one object are one event, as after a
watch that lagged. Used by `worlds`.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from attune.api import labels
from attune.neighbours import Neighbours
from attune.workqueue import Key
from fake_cluster import FakeCluster

CHILDREN = frozenset({"Job", "Pod", "ConfigMap"})
RESYNC = timedelta(hours=1)


@dataclass
class Wakeups:
    """The watch streams, the queue and its timers of one operator process."""

    cluster: FakeCluster
    kinds: tuple[str, ...]
    neighbours: Neighbours = field(default_factory=Neighbours)
    seen: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    due: set[Key] = field(default_factory=set)
    timers: dict[Key, timedelta] = field(default_factory=dict)
    looks: int = 0
    read: datetime | None = None
    running: timedelta = timedelta()
    """How long the process runs: timers go by that, whatever becomes of the wall clock."""
    synced: timedelta = timedelta()

    def take(self) -> list[Key]:
        """All that is due now, and not any more: in the order of the kinds, or the other way round, by turns."""
        now = self._age()
        self._watch()
        if now - self.synced >= RESYNC:
            self.synced = now
            self.due |= set(self.neighbours.known())
        self.due |= {key for key, at in self.timers.items() if at <= now}
        self.timers = {key: at for key, at in self.timers.items() if at > now}
        order = self.kinds if self.looks % 2 else self.kinds[::-1]
        taken = sorted(self.due, key=lambda key: (order.index(key.kind), key.namespace, key.name))
        self.looks += 1
        self.due.clear()
        return taken

    def again(self, key: Key, wait: timedelta | None) -> None:
        """What a look answered: the earliest of the wake-ups stays."""
        if wait is not None:
            at = self._age() + wait
            self.timers[key] = min(at, self.timers.get(key, at))

    def soon(self) -> bool:
        """Whether something is due within the minute, as far as timers tell."""
        return bool(self.due) or any(at <= self._age() + timedelta(minutes=1) for at in self.timers.values())

    def _age(self) -> timedelta:
        now = self.cluster.clock()
        self.running += max(timedelta(), now - (self.read or now))
        self.read = now
        return self.running

    def _watch(self) -> None:
        now = self.cluster.objects
        for address in [a for a in self.seen if a not in now]:
            self._event(self.seen.pop(address), deleted=True)
        for address, thing in list(now.items()):
            known = self.seen.get(address)
            if known == thing:
                continue
            if known is not None and known["metadata"]["uid"] != thing["metadata"]["uid"]:
                self._event(known, deleted=True)
            self.seen[address] = copy.deepcopy(thing)
            self._event(self.seen[address], deleted=False)

    def _event(self, thing: dict[str, Any], *, deleted: bool) -> None:
        if thing["kind"] in self.kinds:
            self.due |= self.neighbours.own(thing["kind"], thing, deleted=deleted)
        elif thing["kind"] in CHILDREN and labels.RETRIEVER in (thing["metadata"].get("labels") or {}):
            self.due |= self.neighbours.child(thing)
