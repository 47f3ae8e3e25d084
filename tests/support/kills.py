"""Killing the operator of a fake cluster at one of its writes, and trying again from the same state."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

from attune.cluster.inbox import Inbox
from attune.notify.outbox import Outbox
from attune.telemetry.metrics import Metrics
from fake_cluster import FakeCluster, Killed
from worlds import World


class KillAt:
    """Kills once: before or after the n-th write."""

    def __init__(self, number: int, when: str) -> None:
        self._at = (number, when)

    def __call__(self, number: int, when: str, what: str) -> None:
        if (number, when) == self._at:
            raise Killed


def a_copy(world: World) -> World:
    """The same cluster at the same time, and a new operator."""
    cluster: FakeCluster = copy.deepcopy(world.cluster)
    fresh = {"metrics": Metrics(), "inbox": Inbox(), "outbox": Outbox()}
    return World(cluster, replace(world.context, cluster=cluster, now=cluster.clock, **fresh))


def killed_at_each_write(ready: World, calm: World) -> Iterator[tuple[World, tuple[int, str]]]:
    """For each write that led from `ready` to `calm`, two worlds that are `ready` and in which it kills: before it, and after it."""
    for number in range(len(ready.cluster.writes), len(calm.cluster.writes)):
        for when in ("before", "after"):
            world = a_copy(ready)
            world.cluster.fault = KillAt(number, when)
            yield world, (number, when)
