"""ABTests against the fake cluster: killed at any write, the verdict is the same."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import timedelta

from attune.telemetry.metrics import Metrics
from fake_cluster import FakeCluster, Killed
from promotions import V2, assert_invariants, pointer
from trials import BETTER, ab_test, trial_of, until, world_to_test
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
    return World(cluster, replace(world.context, cluster=cluster, metrics=Metrics(), now=cluster.clock))


async def decided(world: World) -> World:
    world.cluster.put(ab_test(maxDuration="20m"))
    await until(world, "Concluded")
    await world.settle(rounds=20)
    return world


async def test_killed_at_any_write_the_verdict_is_the_same() -> None:
    ready, _ = await world_to_test(BETTER)
    begin = len(ready.cluster.writes)
    calm = await decided(a_copy(ready))
    wanted = trial_of(calm)
    for number in range(begin, len(calm.cluster.writes)):
        for when in ("before", "after"):
            world = a_copy(ready)
            world.cluster.fault = KillAt(number, when)
            await decided(world)
            assert world.restarts == 1, (number, when)
            found = trial_of(world)
            assert (found["winner"], found["promotion"]["result"]) == (wanted["winner"], "Promoted"), (number, when)
            assert pointer(world)["active"] == V2
            moves = [c["action"] for c in world.cluster.find("Retriever")["status"]["changes"]]
            assert moves == ["Imported", "Promoted"], (number, when)
            assert_invariants(world.cluster)


async def test_after_the_end_nothing_is_written_any_more() -> None:
    world, _ = await world_to_test(BETTER)
    await decided(world)
    await world.settle()  # the watch over the promotion ends, too
    before = len(world.cluster.writes)
    for _ in range(6):
        await world.look()
        world.cluster.clock.advance(timedelta(minutes=10))
    assert [w for w in world.cluster.writes[before:] if "ABTest" in w or "Retriever" in w] == []
