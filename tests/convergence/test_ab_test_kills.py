"""ABTests against the fake cluster: killed at any write, the verdict is the same."""

from __future__ import annotations

from datetime import timedelta

from kills import a_copy, killed_at_each_write
from promotions import V2, assert_invariants, pointer
from trials import BETTER, ab_test, trial_of, until, world_to_test
from worlds import World


async def decided(world: World) -> World:
    world.cluster.put(ab_test(maxDuration="20m"))
    await until(world, "Concluded")
    await world.settle(rounds=20)
    return world


async def test_killed_at_any_write_the_verdict_is_the_same() -> None:
    ready, _ = await world_to_test(BETTER)
    calm = await decided(a_copy(ready))
    wanted = trial_of(calm)
    for world, at in killed_at_each_write(ready, calm):
        await decided(world)
        assert world.restarts == 1, at
        found = trial_of(world)
        assert (found["winner"], found["promotion"]["result"]) == (wanted["winner"], "Promoted"), at
        assert pointer(world)["active"] == V2
        moves = [c["action"] for c in world.cluster.find("Retriever")["status"]["changes"]]
        assert moves == ["Imported", "Promoted"], at
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
