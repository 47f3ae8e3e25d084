"""What a TrainingSchedule waits for and skips, with the numbers; what a change of its spec does; what it keeps, counts and stores."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from attune.api import ModelVersion, Phase, Retriever, TrainingJob
from attune.contract import ExitCode
from attune.decide.schedule import history, telling
from attune.desired.training_schedule import scheduled_for, superseded
from attune.observation import SeenTrainingSchedule
from schedules import (
    DEFAULTS,
    MADE,
    WEEKLY,
    Simulation,
    a_schedule,
    an_active_retriever,
    at,
    at_first_time,
    failing,
    prepared,
    trained,
    with_phase,
)
from versions import a_version

# ---- waits and skips


def test_suspended_it_starts_nothing_and_resumed_it_makes_up_once() -> None:
    world = at_first_time()
    world.change(suspend=True)
    world.settle()
    assert world.made == []
    assert world.condition("Ready")[1] == "Suspended"
    assert world.schedule.status.next_training is None
    world.goto("2026-04-20T00:00:00Z")
    world.settle()
    world.change(suspend=False)
    world.settle()
    assert (world.preparations, world.trainings) == (["202604190200"], ["202604190200"])


def test_resumed_too_late_it_waits_for_the_next_time() -> None:
    world = at_first_time(spec={**WEEKLY, "suspend": True, "startingDeadlineSeconds": 3600})
    world.settle()
    world.goto("2026-04-20T00:00:00Z")
    world.change(suspend=False)
    world.settle()
    assert world.made == []
    assert world.condition("TrainingStarted")[1] == "Missed"


def test_suspension_lets_what_runs_go_on() -> None:
    world = at_first_time(spec={}, hold=True)
    world.settle(3)
    world.change(suspend=True)
    world.hold = False
    world.settle()
    assert world.condition("DataPrepared")[1] == "Completed"


def test_while_fine_tuning_is_disabled_times_are_skipped_and_there_is_no_burst_later() -> None:
    world = at_first_time(defaults=replace(DEFAULTS, finetune_enabled=False))
    for week in range(4):
        world.now += timedelta(weeks=week)
        world.settle()
    assert world.made == []
    assert world.condition("Ready")[1] == "FineTuningDisabled"
    status, reason, message = world.condition("TrainingStarted")
    assert (status, reason) == ("False", "FineTuningDisabled")
    assert "set it to true" in message
    world.defaults = DEFAULTS
    world.settle()
    assert world.made == []
    assert world.condition("Ready")[1] == "Scheduled"


def test_forbid_skips_a_training_while_one_runs_and_allow_starts_it() -> None:
    for policy, expected in (("Forbid", ["202603220200"]), ("Allow", ["202603220200", "202603290200"])):
        world = at_first_time(spec={**WEEKLY, "concurrencyPolicy": policy}, trains=True)
        world.settle()
        world.goto("2026-03-29T02:00:01Z")
        world.settle()
        assert world.trainings == expected
        skipped = [m for r, m in world.events if r == "TrainingSkipped"]
        assert [("TrainingJob monthly-202603220200-" in m, "concurrencyPolicy Forbid" in m) for m in skipped] == (
            [(True, True)] if policy == "Forbid" else []
        )


def test_a_training_by_hand_is_none_of_this_schedule() -> None:
    world = at_first_time(trains=True)
    world.settle()
    (job,) = world.jobs.values()
    by_hand = job.model_copy(update={"metadata": job.metadata.model_copy(update={"name": "by-hand"})})
    world.jobs = {"by-hand": with_phase(by_hand, Phase.SUCCEEDED, MADE)}
    world.goto("2026-03-29T02:00:01Z")
    world.settle()
    assert world.trainings[-1] == "202603290200"


@pytest.mark.parametrize(
    ("retriever", "active", "reason"),
    [
        (None, None, "RetrieverNotFound"),
        (an_active_retriever(data={}), a_version(1, "active"), "NoDataSource"),
        (an_active_retriever(), None, "WaitingForImport"),
    ],
)
def test_what_cannot_be_done_yet_waits_and_is_done_as_soon_as_it_can(
    retriever: Retriever | None, active: ModelVersion | None, reason: str
) -> None:
    world = at_first_time(retriever=retriever, active=active)
    assert world.look().requeue_after == timedelta(seconds=30)
    assert world.made == []
    assert {world.condition("DataPrepared")[1], world.condition("TrainingStarted")[1]} == {reason}
    if reason != "WaitingForImport":
        assert world.condition("Ready")[:2] == ("False", reason)
    world.goto("2026-03-24T09:00:00Z")
    world.retriever, world.active = an_active_retriever(), a_version(1, "active")
    world.settle()
    assert (world.preparations, world.trainings) == (["202603220200"], ["202603220200"])


def test_what_waits_for_too_long_is_missed_and_says_what_it_waited_for() -> None:
    world = at_first_time(spec={**WEEKLY, "startingDeadlineSeconds": 600}, retriever=None)
    world.look()
    world.goto("2026-03-22T02:30:00Z")
    world.look()
    assert "RetrieverNotFound: spec.retriever: no Retriever 'news'" in world.condition("TrainingStarted")[2]
    assert world.condition("TrainingStarted")[1] == "Missed"


@pytest.mark.parametrize("looks", range(4))
def test_a_training_prepares_once_though_its_next_time_comes_while_a_write_was_lost(looks: int) -> None:
    """An operator that is killed before it wrote which time it prepares for comes back when another one is due."""
    spec = {"dataPreparation": {"schedule": "0 0 1 1 *"}, "training": {"schedule": "0 * * * *"}}
    world = at_first_time("2026-03-20T03:59:58Z", spec=spec, hold=True)
    for _ in range(looks):
        world.look()
    world.lost = True
    world.look()
    world.goto("2026-03-20T04:00:02Z")
    world.settle()
    world.hold = False
    while not world.trainings:
        world.settle(1)
    assert len(world.preparations) == len(world.trainings) == 1
    assert world.preparations == world.trainings


def test_a_preparation_for_a_later_time_is_good_for_the_training_that_waited_whatever_changed_meanwhile() -> None:
    """Or it would prepare for ever where somebody trains by hand all the time."""
    world = at_first_time("2026-04-06T00:00:00Z", spec={}, hold=True)
    world.look()
    assert (world.preparations, world.schedule.status.training_due) == (["202604050200"], at("2026-04-01T02:00:00Z"))
    world.versions = (trained(2),)
    world.hold = False
    world.settle()
    assert (world.preparations, world.trainings) == (["202604050200"], ["202604010200"])


# ---- changes of the spec


def test_a_preparation_for_a_training_that_waited_does_not_bring_back_times_before_a_change() -> None:
    world = at_first_time(spec={"training": {"schedule": "0 2 25 * *"}}, hold=True)
    world.settle(3)
    world.goto("2026-03-25T02:00:01Z")
    world.look()
    world.goto("2026-03-26T12:00:00Z")
    world.change(dataPreparation={"schedule": "0 3 * * *"})
    world.look()
    world.hold = False
    world.settle()
    assert (world.preparations, world.trainings) == (["202603220200", "202603250200"], ["202603250200"])


def test_a_changed_schedule_counts_from_its_change_on() -> None:
    world = at_first_time("2026-03-20T00:00:00Z")
    world.change(training={"schedule": "0 2 18 * *"}, timeZone="Europe/Berlin")
    world.settle()
    assert world.made == []
    assert f"{world.schedule.status.next_training:%d %B %H:%M}" == "18 April 00:00"
    assert [m for r, m in world.events if r == "ScheduleChanged"] == [
        "preparation: 0 2 * * 0 UTC → 0 2 * * 0 Europe/Berlin, from now on",
        "training: 0 2 * * 0 UTC → 0 2 18 * * Europe/Berlin, from now on",
    ]


def test_a_change_of_anything_else_loses_no_time_that_was_missed() -> None:
    world = at_first_time("2026-03-22T09:00:00Z")
    world.change(historyLimit=7)
    world.settle()
    assert world.trainings == ["202603220200"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"training": {"schedule": "0 2 31 2 *"}}, "InvalidSchedule"),
        ({"training": {"schedule": "0 5-2 * * *"}}, "InvalidSchedule"),
        ({"timeZone": "Europe/Atlantis"}, "UnknownTimeZone"),
    ],
)
def test_what_the_api_server_could_not_see_is_a_condition_with_the_way_out(spec: dict[str, Any], reason: str) -> None:
    world = Simulation(a_schedule(**spec))
    world.look()
    status, told, message = world.condition("Ready")
    assert (status, told) == ("False", reason)
    assert "such as" in message
    assert world.schedule.status.next_training is None
    world.goto("2026-09-01T00:00:00Z")
    world.settle()
    assert world.trainings == []
    world.change(training={"schedule": "0 2 1 * *"}, timeZone="UTC")
    world.settle()
    assert world.trainings == [], "it counts from the correction on"
    world.goto("2026-10-01T02:00:00Z")
    world.settle()
    assert world.trainings == ["202610010200"]


def test_a_schedule_of_training_that_is_wrong_does_not_stop_the_preparation() -> None:
    world = at_first_time(spec={"training": {"schedule": "0 2 31 2 *"}})
    world.settle()
    assert (world.preparations, world.trainings) == (["202603220200"], [])


# ---- history


def test_the_oldest_ended_runs_go_and_none_that_is_not_over() -> None:
    world = at_first_time(spec={**WEEKLY, "historyLimit": 2, "concurrencyPolicy": "Allow"})
    world.trains = True
    for _ in range(5):
        world.settle()
        world.now = world.now.replace(second=0, hour=2) + timedelta(days=7)
    runs = sorted(world.jobs)
    assert len(runs) == 5
    for number, name in enumerate(runs[:4]):
        world.jobs[name] = with_phase(
            world.jobs[name], Phase.SUCCEEDED, MADE + timedelta(days=number), f"emb-v{number + 2}"
        )
    world.versions = (trained(2, "evaluating"), trained(3), trained(4), trained(5))
    decision = world.look()
    assert sorted(world.jobs) == [runs[0], *runs[2:]], "the version of the oldest has not taken over its numbers yet"
    assert decision.requeue_after == DEFAULTS.progress_interval
    world.versions = (trained(2), *world.versions[1:])
    world.look()
    assert sorted(world.jobs) == runs[2:]


def test_an_ended_run_stays_until_its_end_was_told() -> None:
    run = TrainingJob.model_validate(
        {
            "metadata": {"name": "tune", "namespace": "news", "uid": "u"},
            "spec": {"retriever": "news", "type": "embedding"},
            "status": {"phase": "Succeeded", "pendingNotifications": ["chat/0123456789ab"]},
        }
    )
    seen = SeenTrainingSchedule(at_first_time().schedule, DEFAULTS)
    assert not history.is_over(seen, run)
    told = run.model_copy(update={"status": run.status.model_copy(update={"pending_notifications": None})})
    assert history.is_over(seen, told)


def test_a_history_of_none_deletes_a_run_as_soon_as_it_is_over() -> None:
    world = at_first_time(spec={**WEEKLY, "historyLimit": 0})
    world.settle()
    assert world.jobs == {}
    assert world.schedule.status.last_training_job == world.made[-1]


# ---- snapshots


def test_the_snapshot_before_goes_unless_something_refers_to_it() -> None:
    world = at_first_time(spec={})
    world.settle()
    world.goto("2026-03-29T02:00:01Z")
    world.result = lambda: prepared(900, 1300)
    world.settle()
    newest = world.specs[world.made[-1]]
    assert newest.superseded is not None
    assert newest.superseded.uri == "pvc://store/d1200"
    seen = SeenTrainingSchedule(world.schedule, DEFAULTS, snapshots=frozenset({"pvc://store/d1300"}))
    assert superseded(seen) is superseded(replace(seen, snapshots=None)) is None
    assert superseded(replace(seen, snapshots=frozenset())) is not None


def test_a_schedule_that_is_being_deleted_does_nothing() -> None:
    world = at_first_time()
    metadata = world.schedule.metadata.model_copy(update={"deletion_timestamp": MADE})
    world.schedule = world.schedule.model_copy(update={"metadata": metadata})
    assert world.look().status is None
    assert world.made == []


# ---- what is counted, what is stored


@pytest.mark.parametrize(
    ("given", "spec", "expected"),
    [
        ({}, WEEKLY, [("preparation", "Started"), ("training", "Started")]),
        ({"result": lambda: prepared(1)}, WEEKLY, [("preparation", "Started"), ("training", "TooFewNewPairs")]),
        (failing(ExitCode.BAD_DATA), WEEKLY, [("preparation", "Started"), ("training", "PreparationFailed")]),
        (
            {"text": "2026-03-22T05:00:00Z"},
            {**WEEKLY, "startingDeadlineSeconds": 60},
            [("preparation", "Missed"), ("training", "Missed")],
        ),
        (
            {"defaults": replace(DEFAULTS, finetune_enabled=False)},
            WEEKLY,
            [("preparation", "FineTuningDisabled"), ("training", "FineTuningDisabled")],
        ),
    ],
)
def test_metrics_count_what_became_of_each_scheduled_time_once(
    given: dict[str, Any], spec: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    world = at_first_time(spec=spec, **given)
    counted = []
    for _ in range(12):
        before = world.schedule.status
        world.look()
        counted += list(telling.outcomes(before, world.schedule.status))
        world.work()
        world.now += timedelta(seconds=10)
    assert sorted(counted) == expected


def test_a_copy_of_a_scheduled_training_job_is_not_taken_for_one() -> None:
    world = at_first_time()
    world.settle()
    (job,) = world.jobs.values()
    assert scheduled_for(world.schedule, job) == world.schedule.status.last_training
    copied = job.model_copy(update={"metadata": job.metadata.model_copy(update={"name": "copied"})})
    assert scheduled_for(world.schedule, copied) is None
    for text in ("2026-03-22", "yesterday", None):
        annotations = {"attune.dev/scheduled-for": text} if text else None
        odd = job.metadata.model_copy(update={"annotations": annotations})
        assert scheduled_for(world.schedule, job.model_copy(update={"metadata": odd})) is None
