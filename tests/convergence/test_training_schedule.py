"""TrainingSchedules against the faulty fake cluster: whatever is killed, a scheduled time makes one preparation and one TrainingJob."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from attune.contract import ExitCode, StageSpec
from attune.settings import load_settings
from fake_cluster import Outcome, flaky
from kills import a_copy, killed_at_each_write
from promotions import condition
from worlds import World, counting, make_world, retriever, training_job, training_schedule

SUNDAY = datetime(2026, 3, 22, 2, 0, 1, tzinfo=UTC)
WEEK = timedelta(weeks=1)


async def scheduled(trainer: Any = counting, *, environ: dict[str, str] | None = None, **spec: Any) -> World:
    """Version 1 is active, the schedule was seen, and its first Sunday has come."""
    world = make_world(trainer, **(environ or {}))
    world.cluster.put(retriever())
    await world.settle()
    world.cluster.put(training_schedule(**spec))
    await world.settle()
    world.cluster.clock.now = SUNDAY
    return world


def status(world: World, name: str = "weekly") -> dict[str, Any]:
    found: dict[str, Any] = world.cluster.find("TrainingSchedule", name)["status"]
    return found


def said(world: World, kind: str, name: str = "weekly") -> tuple[str, str, str]:
    found = condition(world.cluster.find("TrainingSchedule", name), kind)
    return found["status"], found["reason"], found["message"]


def made(world: World) -> dict[str, list[str]]:
    """Scheduled times of what was ever made for schedules."""
    names = [(kind, name) for kind, _, name in world.cluster.created if name.startswith("weekly-")]
    return {
        "preparations": sorted(n.split("-")[2] for k, n in names if k == "Job" and n.startswith("weekly-prepare-")),
        "trainings": sorted(n.split("-")[1] for k, n in names if k == "TrainingJob"),
    }


def assert_made_once(world: World) -> None:
    twice = {address: n for address, n in Counter(world.cluster.created).items() if n > 1}
    assert twice == {}


def end_state(world: World) -> dict[str, Any]:
    """What users see in the end, without times that depend on how long it took."""
    (run,) = world.cluster.all("TrainingJob")
    found = copy.deepcopy(status(world))
    for timed in (found["preparation"], *found["preparation"]["attempts"]):
        for field in ("startedAt", "finishedAt"):
            timed.pop(field, None)
    found["preparation"].pop("asked", None)  # unknown where the write was lost; the next training prepares anew then
    found["conditions"] = {
        c["type"]: (c["status"], c["reason"], c["message"].partition(", ")[0]) for c in found["conditions"]
    }
    return {"status": found, "run": (run["metadata"]["name"], run["status"]["phase"]), **made(world)}


async def test_a_scheduled_time_makes_one_preparation_one_training_job_and_a_staged_version() -> None:
    world = await scheduled()
    await world.settle()
    assert made(world) == {"preparations": ["202603220200"], "trainings": ["202603220200"]}
    (run,) = world.cluster.all("TrainingJob")
    assert run["status"]["phase"] == "Succeeded"
    assert world.cluster.find("ModelVersion", run["status"]["modelVersion"])["status"]["stage"] == "staged"
    found = status(world)
    assert (found["lastPreparation"], found["lastTraining"]) == ("2026-03-22T02:00:00Z",) * 2
    assert found["lastTrainingJob"] == run["metadata"]["name"]
    assert (found["nextPreparation"], found["nextTraining"]) == ("2026-03-29T02:00:00Z",) * 2
    assert said(world, "TrainingStarted")[:2] == ("True", "Started")


async def test_between_its_times_nothing_is_written() -> None:
    world = await scheduled(trainer=counting)
    await world.settle()
    writes = [w for w in world.cluster.writes if "weekly" in w]
    for _ in range(30):
        world.cluster.clock.advance(timedelta(hours=5))
        await world.look()
    assert [w for w in world.cluster.writes if "weekly" in w] == writes


async def test_a_kill_at_every_write_makes_each_once_and_ends_the_same() -> None:
    ready = await scheduled()
    calm = a_copy(ready)
    await calm.settle()
    expected = end_state(calm)
    writes = calm.cluster.writes[len(ready.cluster.writes) :]
    assert sum("weekly-prepare" in w for w in writes) == 2, "a ConfigMap and a Job"
    assert any(w.startswith("create TrainingJob weekly-") for w in writes)
    seen = a_copy(ready)
    for _ in range(8):  # until the TrainingJob goes on by itself; test_training_job has the rest
        await seen.look()
        seen.cluster.run_jobs()
    assert seen.cluster.all("TrainingJob")
    for world, at in killed_at_each_write(ready, seen):
        await world.settle()
        assert world.restarts == 1, at
        assert end_state(world) == expected, (at, calm.cluster.writes[at[0]])
        assert_made_once(world)


async def test_an_operator_that_comes_back_a_week_after_a_kill_makes_what_it_had_begun_and_the_next_and_neither_twice() -> (
    None
):
    ready = await scheduled()
    calm = a_copy(ready)
    for _ in range(8):
        await calm.look()
        calm.cluster.run_jobs()
    for world, at in killed_at_each_write(ready, calm):
        while world.restarts == 0:
            await world.look()
            world.cluster.run_jobs()
        world.cluster.clock.now = SUNDAY + WEEK + timedelta(hours=5)
        await world.settle()
        assert_made_once(world)
        found = made(world)
        assert set(found["preparations"]) <= {"202603220200", "202603290200"}, at
        assert "202603290200" in found["preparations"], at
        assert set(found["trainings"]) in ({"202603290200"}, {"202603220200"}, {"202603220200", "202603290200"}), at
        runs = [r["status"]["phase"] for r in world.cluster.all("TrainingJob")]
        assert set(runs) == {"Succeeded"}, at


@pytest.mark.parametrize("every", [2, 3, 5])
async def test_lost_requests_and_lost_answers_change_nothing_in_the_end(every: int) -> None:
    calm = await scheduled()
    await calm.settle()
    world = await scheduled()
    world.cluster.fault = flaky(every)
    await world.settle()
    assert world.errors
    assert end_state(world) == end_state(calm)
    assert_made_once(world)


async def test_weeks_go_by_and_only_data_that_is_new_since_the_last_training_is_trained_on() -> None:
    """600 pairs come each week; 1,000 are asked for."""
    world = await scheduled(training={"schedule": "0 2 * * 0", "minNewPairs": 1000})
    told = []
    for week in range(2):
        world.cluster.clock.now = SUNDAY + week * WEEK
        await world.settle()
        told.append((said(world, "TrainingStarted")[1], status(world)["newPairs"]))
    assert told == [("Started", 3000), ("TooFewNewPairs", 600)]
    assert said(world, "TrainingStarted")[2] == (
        "training of Sun 2026-03-29 02:00 UTC skipped: 600 new pairs < 1000 (minNewPairs); 3600 pairs in all"
    )
    assert made(world)["trainings"] == ["202603220200"]


async def test_a_training_by_hand_counts_as_the_last_one() -> None:
    world = await scheduled(training={"schedule": "0 2 25 * *"})
    await world.settle()
    assert status(world)["newPairs"] == 3000

    def as_the_schedule(spec: StageSpec, attempt: int) -> Outcome:
        """Who trains by hand has the data of that week."""
        return counting(spec.model_copy(update={"run": spec.run or 202603220000}), attempt)

    world.cluster.trainer = as_the_schedule
    world.cluster.put(training_job("by-hand"))
    await world.settle()
    assert world.cluster.find("TrainingJob", "by-hand")["status"]["phase"] == "Succeeded"
    world.cluster.clock.now = datetime(2026, 3, 25, 2, 0, 1, tzinfo=UTC)
    await world.settle()
    assert made(world) == {"preparations": ["202603220200", "202603250200"], "trainings": []}
    assert said(world, "TrainingStarted")[2].endswith("skipped: 0 new pairs < 500 (minNewPairs); 3000 pairs in all")


async def test_a_preparation_that_fails_now_and_then_is_repeated() -> None:
    left = [2]

    def trainer(spec: StageSpec, attempt: int) -> Outcome:
        if spec.owner.kind != "TrainingSchedule" or left[0] == 0:
            return counting(spec, attempt)
        left[0] -= 1
        return Outcome(int(ExitCode.STORE_UNAVAILABLE))

    world = await scheduled(trainer)
    await world.settle()
    run = status(world)["preparation"]
    assert [a["exitCode"] for a in run["attempts"]] == [74, 74, 0]
    assert (run["failures"], made(world)["trainings"]) == (2, ["202603220200"])


async def test_while_a_training_runs_the_next_time_is_skipped_and_no_more_than_the_history_is_kept() -> None:
    world = await scheduled(historyLimit=1)
    for _ in range(6):  # prepared, the TrainingJob is there
        await world.look()
        world.cluster.run_jobs()
    world.cluster.hold = True
    world.cluster.clock.now = SUNDAY + WEEK
    await world.settle(rounds=6)
    assert said(world, "TrainingStarted")[1] == "TrainingRunning"
    world.cluster.hold = False
    await world.settle()
    for week in (2, 3):
        world.cluster.clock.now = SUNDAY + week * WEEK
        await world.settle()
    runs = [r["metadata"]["name"] for r in world.cluster.all("TrainingJob")]
    assert [name.split("-")[1] for name in runs] == ["202604120200"]
    assert made(world)["trainings"] == ["202603220200", "202604050200", "202604120200"]
    stages = {v["metadata"]["name"]: v["status"]["stage"] for v in world.cluster.all("ModelVersion")}
    assert "failed" not in stages.values(), "versions outlive the runs that made them"


async def test_times_that_pass_while_fine_tuning_is_off_are_counted_and_none_comes_later() -> None:
    world = await scheduled(environ={"FINETUNE_ENABLED": "false"})
    for week in range(3):
        world.cluster.clock.now = SUNDAY + week * WEEK
        await world.settle()
    assert said(world, "Ready")[1] == "FineTuningDisabled"
    metrics = world.context.metrics.render().decode()
    assert 'attune_schedule_times_total{activity="training",outcome="FineTuningDisabled"} 3.0' in metrics
    assert 'attune_schedule_times_total{activity="preparation",outcome="FineTuningDisabled"} 3.0' in metrics
    world.context = replace(world.context, settings=load_settings({"FINETUNE_ENABLED": "true"}))
    await world.settle()
    assert made(world) == {"preparations": [], "trainings": []}
    world.cluster.clock.now = SUNDAY + 3 * WEEK
    await world.settle()
    assert made(world)["trainings"] == ["202604120200"]
    metrics = world.context.metrics.render().decode()
    assert 'attune_schedule_times_total{activity="training",outcome="Started"} 1.0' in metrics


async def test_a_preparation_leaves_one_job_and_one_config_map_behind() -> None:
    world = await scheduled()
    for week in range(4):
        world.cluster.clock.now = SUNDAY + week * WEEK
        await world.settle()
    mine = [t for k in ("Job", "ConfigMap") for t in world.cluster.all(k) if "weekly-prepare" in t["metadata"]["name"]]
    assert [t["kind"] for t in mine] == ["Job", "ConfigMap"]
    assert all("202604120200" in t["metadata"]["name"] for t in mine)


async def test_a_schedule_that_is_deleted_takes_its_runs_along_and_leaves_the_versions() -> None:
    world = await scheduled()
    await world.settle()
    world.cluster.remove("TrainingSchedule", "weekly")
    await world.settle()
    assert world.cluster.all("TrainingJob") == []
    assert "staged" in {v["status"]["stage"] for v in world.cluster.all("ModelVersion")}


async def test_a_month_passes_as_it_is_written_and_its_next_time_comes_in_summer_time() -> None:
    world = await scheduled(
        timeZone="Europe/Berlin", dataPreparation={"schedule": "30 2 * * 0"}, training={"schedule": "30 2 29 * *"}
    )
    world.cluster.clock.now = datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC)
    await world.settle(rounds=8)
    assert said(world, "TrainingStarted")[1] == "Started"
    assert made(world)["trainings"] == ["202603290100"]
    assert "training of Sun 2026-03-29 03:00 CEST" in said(world, "TrainingStarted")[2]


async def test_a_snapshot_that_was_trained_on_stays_and_one_that_was_only_counted_goes() -> None:
    def told(at: str) -> str | None:
        config = next(c for c in world.cluster.history if c["metadata"]["name"].startswith(f"weekly-prepare-{at}"))
        old = StageSpec.from_json(config["data"]["stage.json"]).superseded
        return old.uri.rpartition("/")[2] if old is not None else None

    world = await scheduled(training={"schedule": "0 2 * * 0", "minNewPairs": 1000})
    for week in range(4):
        world.cluster.clock.now = SUNDAY + week * WEEK
        await world.settle()
    assert made(world)["trainings"] == ["202603220200", "202604050200"]
    assert [told(at) for at in made(world)["preparations"]] == [None, None, "3600", None]
