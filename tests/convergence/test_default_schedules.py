"""FINETUNE_SCHEDULE: Retrievers without a schedule of their own get one, which is an object, goes by itself, and fights nobody."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from attune.settings import load_settings
from kills import a_copy, killed_at_each_write
from promotions import condition
from worlds import World, counting, make_world, retriever, training_schedule

WEEKLY = "news-default-weekly"


async def world_with(every: str = "weekly", *things: dict[str, Any], **spec: Any) -> World:
    world = make_world(counting, FINETUNE_SCHEDULE=every)
    world.cluster.put(retriever(**spec))
    for thing in things:
        world.cluster.put(thing)
    await world.settle()
    return world


def schedules(world: World) -> list[str]:
    return [s["metadata"]["name"] for s in world.cluster.all("TrainingSchedule")]


def restart_with(world: World, every: str) -> None:
    """The operator comes back with another setting."""
    settings = load_settings({"FINETUNE_ENABLED": "true", "FINETUNE_SCHEDULE": every})
    world.context = replace(world.context, settings=settings)


async def test_manual_makes_none() -> None:
    assert schedules(await world_with("manual")) == []


async def test_weekly_makes_one_that_trains_on_sundays_and_belongs_to_its_retriever() -> None:
    world = await world_with("weekly")
    (made,) = world.cluster.all("TrainingSchedule")
    assert made["metadata"]["name"] == WEEKLY
    assert made["metadata"]["labels"]["attune.dev/default-schedule"] == "weekly"
    assert made["spec"] == {
        "retriever": "news", "training": {"schedule": "0 2 * * 0"}, "template": {"type": "embedding"},
    }  # fmt: skip
    assert made["metadata"]["ownerReferences"][0]["kind"] == "Retriever"
    told = [e["message"] for e in world.cluster.events if e["reason"] == "DefaultSchedule"]
    assert told == [f"TrainingSchedule {WEEKLY} made, by FINETUNE_SCHEDULE; one of your own takes its place"]
    world.cluster.clock.now = datetime(2026, 3, 22, 2, 0, 1, tzinfo=UTC)
    await world.settle()
    (run,) = world.cluster.all("TrainingJob")
    assert run["status"]["phase"] == "Succeeded"
    world.cluster.remove("Retriever", "news")
    assert schedules(world) == []


async def test_monthly_trains_on_the_first_and_a_reranker_has_one_of_its_own() -> None:
    world = await world_with("monthly", reranker={"baseModel": "pvc://models/cross"})
    found = {s["metadata"]["name"]: s["spec"] for s in world.cluster.all("TrainingSchedule")}
    assert {name: spec["template"]["type"] for name, spec in found.items()} == {
        "news-default-monthly": "embedding",
        "news-default-monthly-reranker": "reranker",
    }
    assert {spec["training"]["schedule"] for spec in found.values()} == {"0 2 1 * *"}


async def test_a_retriever_without_data_gets_none_until_it_has_some() -> None:
    world = await world_with("weekly", data={})
    assert schedules(world) == []
    found = world.cluster.find("Retriever")
    world.cluster.put({**found, "spec": {**found["spec"], "data": {"archive": {"uri": "pvc://data/archive.jsonl"}}}})
    await world.settle()
    assert schedules(world) == [WEEKLY]


async def test_a_schedule_of_the_user_takes_its_place_and_gives_it_back() -> None:
    world = await world_with("weekly")
    world.cluster.put(training_schedule("mine", suspend=True))
    await world.settle()
    assert schedules(world) == ["mine"], "a suspended one is how to have none"
    world.cluster.remove("TrainingSchedule", "mine")
    await world.settle()
    assert schedules(world) == [WEEKLY]


async def test_where_the_user_has_one_from_the_start_none_is_made() -> None:
    world = await world_with("weekly", training_schedule("mine"))
    assert [address for address in world.cluster.created if address[0] == "TrainingSchedule"] == []


async def test_another_setting_takes_the_old_ones_away_and_manual_all_of_them() -> None:
    world = await world_with("weekly")
    restart_with(world, "monthly")
    await world.settle()
    assert schedules(world) == ["news-default-monthly"]
    restart_with(world, "manual")
    await world.settle()
    assert schedules(world) == []


async def test_one_that_is_not_wanted_any_more_lets_its_training_end() -> None:
    world = await world_with("weekly")
    world.cluster.clock.now = datetime(2026, 3, 22, 2, 0, 1, tzinfo=UTC)
    while not world.cluster.all("TrainingJob"):
        await world.look()
        world.cluster.run_jobs()
    world.cluster.hold = True
    world.cluster.put(training_schedule("mine"))
    await world.settle(rounds=6)
    assert schedules(world) == ["mine", WEEKLY]
    ready = condition(world.cluster.find("TrainingSchedule", WEEKLY), "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Superseded")
    assert "Retriever news has TrainingSchedule mine of its own" in ready["message"]
    world.cluster.hold = False
    await world.settle()
    assert schedules(world) == ["mine"]
    assert "staged" in {v["status"]["stage"] for v in world.cluster.all("ModelVersion")}


async def test_what_a_user_changes_in_it_stays() -> None:
    world = await world_with("weekly")
    found = world.cluster.find("TrainingSchedule", WEEKLY)
    world.cluster.put({**found, "spec": {**found["spec"], "timeZone": "Asia/Tokyo"}})
    await world.settle()
    world.cluster.clock.advance(timedelta(hours=2))
    await world.settle()
    assert world.cluster.find("TrainingSchedule", WEEKLY)["spec"]["timeZone"] == "Asia/Tokyo"


async def test_a_copy_under_another_name_is_the_users_own() -> None:
    world = await world_with("weekly")
    found = world.cluster.find("TrainingSchedule", WEEKLY)
    meta = {k: found["metadata"][k] for k in ("namespace", "labels", "ownerReferences")}
    world.cluster.put({**found, "metadata": {**meta, "name": "copied"}})
    await world.settle()
    assert schedules(world) == ["copied"]


async def test_a_kill_at_every_write_ends_with_the_same_schedules() -> None:
    ready = await world_with("weekly")
    restart_with(ready, "monthly")
    calm = a_copy(ready)
    restart_with(calm, "monthly")
    await calm.settle()
    assert len(calm.cluster.writes) - len(ready.cluster.writes) >= 3
    for world, at in killed_at_each_write(ready, calm):
        restart_with(world, "monthly")
        await world.settle()
        assert world.restarts == 1, at
        assert schedules(world) == ["news-default-monthly"], at


async def test_a_name_that_somebody_else_has_is_left_to_them() -> None:
    other = training_schedule(WEEKLY, retriever="docs")
    world = await world_with("weekly", other)
    assert world.cluster.find("TrainingSchedule", WEEKLY)["spec"]["retriever"] == "docs"
    writes = len(world.cluster.writes)
    await world.look()
    assert [w for w in world.cluster.writes[writes:] if "TrainingSchedule" in w] == []
