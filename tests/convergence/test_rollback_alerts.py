"""Alerts in every order, and a rollback that is interrupted anywhere: it ends right, once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from attune.observation import Health, HealthQuery, MetricsProblem
from failing_versions import Rates, alert, an_alert, collapse, errors, guard, look, promoted, send
from kills import a_copy, killed_at_each_write
from promotions import V1, V2, V3, ask, assert_invariants, condition, pointer
from worlds import World


def handled(world: World) -> list[tuple[str, str]]:
    found = world.cluster.find("Retriever")["status"].get("handledAlerts") or []
    return [(h["fingerprint"], h["action"]) for h in found]


def moves(world: World) -> list[str]:
    return [c["action"] for c in world.cluster.find("Retriever")["status"]["changes"]]


async def test_whoever_sent_the_alert_is_answered_after_it_was_stored() -> None:
    world = await promoted()
    answers = send(world, an_alert(at=world.cluster.clock()))
    assert not answers[0].done()
    await look(world)
    assert [a.result() for a in answers] == ["rolled_back"]
    assert handled(world) == [("f1", "RolledBack")]
    assert world.context.inbox.waiting == 0


async def test_the_same_alert_a_hundred_times_takes_back_once() -> None:
    world = await promoted()
    one = an_alert(at=world.cluster.clock())
    first = send(world, *[one] * 50)
    await look(world, 2)
    later = []
    for _ in range(50):
        later += send(world, one)
        await look(world)
    assert {a.result() for a in first} == {"rolled_back"}
    assert {a.result() for a in later} == {"duplicate"}
    assert moves(world) == ["Imported", "Promoted", "RolledBack"]
    assert pointer(world)["active"] == V1


async def test_resolved_first_and_firing_after_is_over_but_when_it_fires_anew_it_acts() -> None:
    world = await promoted()
    at = world.cluster.clock()
    send(world, an_alert(at=at, firing=False))
    await look(world, 2)
    late = send(world, an_alert(at=at))
    await look(world, 2)
    assert late[0].result() == "duplicate"
    assert pointer(world)["active"] == V2
    anew = send(world, an_alert(at=world.cluster.clock()))
    await look(world, 2)
    assert anew[0].result() == "rolled_back"
    assert pointer(world)["active"] == V1


@pytest.mark.parametrize(("seconds", "acts"), [(-30, True), (30, True), (3600, True), (-300, False)])
async def test_clocks_may_differ_but_an_alert_from_before_the_promotion_is_not_about_it(
    seconds: int, acts: bool
) -> None:
    world = await promoted()
    at = world.cluster.clock() + timedelta(seconds=seconds)
    send(world, an_alert(at=at))
    await look(world, 3)
    assert (pointer(world)["active"] == V1) is acts


async def test_an_alert_that_took_a_version_back_does_not_do_so_again_after_somebody_promoted_it_anew() -> None:
    world = await promoted()
    one = an_alert(at=world.cluster.clock())
    send(world, one)
    await look(world, 3)
    ask(world, V2, "r2")
    await look(world, 20, seconds=1)
    assert pointer(world)["active"] == V2
    send(world, one)
    await look(world, 3)
    assert pointer(world)["active"] == V2


@pytest.mark.parametrize("version", [V1, "emb-v9", ""])
async def test_an_alert_about_another_version_is_answered_and_changes_nothing(version: str) -> None:
    world = await promoted()
    before = len(world.cluster.writes)
    answers = send(world, an_alert(version, at=world.cluster.clock()))
    await look(world, 3)
    assert answers[0].result() == "ignored"
    assert pointer(world)["active"] == V2
    assert len(world.cluster.writes) == before


async def test_what_a_rollback_led_to_does_not_fall_further_by_itself() -> None:
    world = await promoted(versions=3)
    ask(world, V3, "r3")
    await look(world, 30, seconds=1)
    assert pointer(world)["active"] == V3
    send(world, an_alert(V3, at=world.cluster.clock()))
    await look(world, 3)
    assert pointer(world)["active"] == V2
    answers = send(world, an_alert(V2, at=world.cluster.clock(), fingerprint="f2"))
    guard(world)
    await look(world, 5)
    assert answers[0].result() == "ignored"
    assert pointer(world)["active"] == V2
    assert moves(world) == ["Imported", "Promoted", "Promoted", "RolledBack"]


async def test_a_retriever_that_is_gone_leaves_no_alert_behind() -> None:
    world = await promoted()
    answers = send(world, an_alert(at=world.cluster.clock()))
    world.cluster.remove("Retriever", "news")
    from attune.reconcile import reconcile
    from attune.workqueue import Key

    assert await reconcile(world.context, Key("Retriever", "news", "news")) is None
    assert answers[0].result() == "unknown"
    assert world.context.inbox.waiting == 0


async def test_a_flood_of_alerts_is_bounded_in_status_and_in_memory() -> None:
    world = await promoted()
    world.cluster.remove("ModelVersion", V1)
    for n in range(300):
        send(world, an_alert(at=world.cluster.clock(), fingerprint=f"f{n}"))
        if n % 30 == 0:
            await look(world)
    await look(world)
    assert len(world.cluster.find("Retriever")["status"]["handledAlerts"]) == 5
    assert pointer(world)["active"] == V2
    assert_invariants(world.cluster)


class Hangs:
    """A Prometheus that never answers."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def health(self, query: HealthQuery) -> Health | MetricsProblem:
        self.asked.set()
        await asyncio.sleep(3600)
        raise AssertionError("nobody waits for so long")


async def test_an_alert_does_not_wait_for_a_prometheus_that_hangs() -> None:
    world = await promoted()
    hanging = Hangs()
    world.cluster.health = hanging.health  # type: ignore[method-assign]
    looking = asyncio.create_task(world.look())
    await asyncio.wait_for(hanging.asked.wait(), 5)
    answers = send(world, an_alert(at=world.cluster.clock()))
    assert await asyncio.wait_for(answers[0], 5) == "rolled_back"
    assert pointer(world)["active"] == V1
    await asyncio.wait_for(looking, 5)


async def test_a_leader_that_is_deposed_refuses_what_waits() -> None:
    world = await promoted()
    answers = send(world, an_alert(at=world.cluster.clock()))
    world.context.inbox.clear()
    assert answers[0].result() == "deposed"
    await look(world)
    assert pointer(world)["active"] == V2


TROUBLES: dict[str, Any] = {
    "alert": (alert,),
    "errors": (errors,),
    "guard": (guard,),
    "all at once": (alert, errors, guard, collapse),
}


@pytest.mark.parametrize("troubles", TROUBLES.values(), ids=TROUBLES)
async def test_killed_at_any_write_a_rollback_ends_the_same_and_happens_once(troubles: tuple[Any, ...]) -> None:
    ready = await promoted()

    async def through(world: World) -> World:
        for trouble in troubles:
            trouble(world)
        for _ in range(8):
            await look(world)
            if world.restarts and alert in troubles and pointer(world)["active"] == V2:
                alert(world)  # nobody answered, so Alertmanager sends it again
        return world

    calm = await through(a_copy(ready))
    assert moves(calm) == ["Imported", "Promoted", "RolledBack"]
    for world, at in killed_at_each_write(ready, calm):
        await through(world)
        assert world.restarts == 1, at
        assert pointer(world)["active"] == V1, at
        assert moves(world) == ["Imported", "Promoted", "RolledBack"], at
        said = condition(world.cluster.find("Retriever"), "RolledBack")
        assert said["status"] == "True", at
        assert world.cluster.find("ModelVersion", V2)["status"]["stage"] == "failed", at
        assert_invariants(world.cluster)


async def test_rates_are_read_by_windows_that_do_not_reach_beyond_the_promotion() -> None:
    world = await promoted()
    rates = world.cluster.health_of
    assert isinstance(rates, Rates)
    await look(world, 30)
    mine = [q.windows for q in rates.queries if q.version == V2]
    assert mine[-1][:2] == (15, 60)
    assert 100 < mine[-1][2] < 300
    assert mine[0] == (mine[0][0],)
    assert mine[0][0] <= 15
