"""What a TrainingSchedule does when its times come: prepares, trains, tries again, makes up for what was missed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from attune.api import ModelVersion
from attune.contract import ExitCode
from schedules import (
    WEEKLY,
    Simulation,
    an_active_retriever,
    at_first_time,
    prepared,
    reasons,
    trained,
)
from versions import a_version

# ---- what happens when


def test_the_first_times_are_those_after_it_was_made() -> None:
    world = Simulation()
    decision = world.look()
    assert (decision.create, decision.ensure) == ((), ())
    status = world.schedule.status
    assert f"{status.next_preparation:%a %d %H:%M}" == "Sun 22 02:00"
    assert f"{status.next_training:%a %d %B %H:%M}" == "Wed 01 April 02:00"
    assert status.last_preparation is status.last_training is None
    assert world.condition("Ready") == (
        "True",
        "Scheduled",
        "next: preparation Sun 2026-03-22 02:00 UTC, training Wed 2026-04-01 02:00 UTC",
    )


def test_a_look_before_anything_is_due_changes_nothing_and_comes_again_within_the_hour() -> None:
    world = Simulation()
    world.look()
    before = world.schedule
    world.now += timedelta(hours=5)
    assert world.look().requeue_after == timedelta(hours=1)
    assert world.schedule == before
    world.goto("2026-03-22T01:59:30Z")
    assert world.look().requeue_after == timedelta(seconds=30)


def test_data_is_prepared_on_time_and_counted() -> None:
    world = at_first_time(spec={})
    world.settle()
    status = world.schedule.status
    assert world.preparations == ["202603220200"]
    assert world.made == ["monthly-prepare-202603220200-1-" + world.made[0].rpartition("-")[2]]
    assert (status.new_pairs, status.last_preparation) == (800, world.schedule.status.preparation.scheduled_for)  # type: ignore[union-attr]
    assert status.dataset is not None
    assert status.dataset.examples == 1200
    assert world.condition("DataPrepared") == (
        "True",
        "Completed",
        "preparation of Sun 2026-03-22 02:00 UTC: 1200 training pairs",
    )
    assert world.trainings == []


def test_enough_that_is_new_makes_a_training_job_with_the_template() -> None:
    spec = {**WEEKLY, "template": {"type": "embedding", "evalThreshold": 0.6, "compute": {"image": "mine:1"}}}
    world = at_first_time(spec=spec)
    world.settle()
    (job,) = world.jobs.values()
    assert world.trainings == ["202603220200"]
    assert (job.spec.retriever, job.spec.eval_threshold, job.spec.compute.image) == ("news", 0.6, "mine:1")
    assert (job.metadata.labels or {})["attune.dev/training-schedule"] == "monthly"
    (owner,) = job.metadata.owner_references or ()
    assert (owner.kind, owner.name, owner.controller) == ("TrainingSchedule", "monthly", True)
    assert world.condition("TrainingStarted") == (
        "True",
        "Started",
        f"training of Sun 2026-03-22 02:00 UTC: TrainingJob {job.metadata.name}, 800 new pairs ≥ 500 (minNewPairs)",
    )
    assert world.schedule.status.last_training_job == job.metadata.name
    stage = world.specs[world.made[0]]
    assert (stage.owner.kind, stage.run) == ("TrainingSchedule", 202603220200)


def test_too_little_that_is_new_is_a_skip_with_the_numbers() -> None:
    world = at_first_time(result=lambda: prepared(120))
    world.settle()
    assert world.trainings == []
    message = "training of Sun 2026-03-22 02:00 UTC skipped: 120 new pairs < 500 (minNewPairs); 1200 pairs in all"
    assert world.condition("TrainingStarted") == ("False", "TooFewNewPairs", message)
    assert ("TrainingSkipped", message) in world.events
    assert world.schedule.status.last_training is None


def test_what_is_new_but_cannot_be_counted_is_trained_on() -> None:
    world = at_first_time(result=lambda: prepared(None))
    world.settle()
    assert world.trainings == ["202603220200"]
    assert "how many pairs are new is unknown" in world.condition("TrainingStarted")[2]


def test_without_a_minimum_nothing_has_to_be_counted_first() -> None:
    world = at_first_time(spec={"training": {"schedule": "0 3 20 * *", "minNewPairs": 0}}, text="2026-03-20T03:00:01Z")
    world.settle()
    assert (world.preparations, world.trainings) == ([], ["202603200300"])
    assert world.condition("TrainingStarted")[2].endswith("minNewPairs is 0")


def test_a_training_before_the_first_preparation_prepares_first() -> None:
    world = at_first_time(spec={"training": {"schedule": "0 3 20 * *"}}, text="2026-03-20T03:00:01Z")
    world.look()
    assert world.condition("TrainingStarted")[1] == "WaitingForData"
    assert world.schedule.status.training_due is not None
    world.settle()
    assert (world.preparations, world.trainings) == (["202603200300"], ["202603200300"])
    assert world.schedule.status.training_due is None


def test_a_preparation_that_is_recent_is_enough_for_a_training() -> None:
    world = at_first_time(spec={"training": {"schedule": "0 2 25 * *"}})
    world.settle()
    world.goto("2026-03-25T02:00:01Z")
    world.settle()
    assert (world.preparations, world.trainings) == (["202603220200"], ["202603250200"])


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("somebody trained by hand", lambda w: setattr(w, "versions", (trained(2),))),
        ("a candidate was trained and failed its gates", lambda w: setattr(w, "versions", (trained(2, "failed"),))),
        ("the template asks for other data", lambda w: w.change(template={"type": "embedding", "dataSource": {"leads": False}})),
        (
            "the Retriever has another archive",
            lambda w: setattr(w, "retriever", an_active_retriever(data={"archive": {"uri": "pvc://data/new.jsonl"}})),
        ),
    ],
)  # fmt: skip
def test_a_count_that_is_out_of_date_is_made_anew_before_a_training(what: str, change: Any) -> None:
    world = at_first_time(spec={"training": {"schedule": "0 2 25 * *"}})
    world.settle()
    world.goto("2026-03-25T02:00:01Z")
    change(world)
    world.result = lambda: prepared(3)
    world.settle()
    assert world.preparations == ["202603220200", "202603250200"], what
    assert world.condition("TrainingStarted")[1] == "TooFewNewPairs"


@pytest.mark.parametrize(
    ("what", "version"),
    [
        ("an import", a_version(2)),
        ("a run that failed before its weights", trained(2, "failed", artifact=None)),
        ("a run under way", trained(2, "training", artifact=None)),
        ("a version of another type", trained(2)),
    ],
)
def test_what_was_not_a_training_of_this_type_leaves_the_count_as_it_is(what: str, version: ModelVersion) -> None:
    world = at_first_time(spec={"training": {"schedule": "0 2 25 * *"}})
    world.settle()
    if what.endswith("type"):
        version = version.model_copy(update={"spec": version.spec.model_copy(update={"type": "reranker"})})
    world.versions = (version,)
    world.goto("2026-03-25T02:00:01Z")
    world.settle()
    assert (world.preparations, world.trainings) == (["202603220200"], ["202603250200"]), what


# ---- retries and failures


def test_a_preparation_is_tried_again_up_to_the_backoff_limit_and_its_failure_is_said_everywhere() -> None:
    world = at_first_time(exit_code=int(ExitCode.STORE_UNAVAILABLE))
    world.settle(60)
    run = world.schedule.status.preparation
    assert run is not None
    assert (run.failures, run.reason) == (3, "BackoffLimitExceeded")
    assert [a.exit_code for a in run.attempts or ()] == [74, 74, 74]
    assert world.condition("DataPrepared")[1] == "BackoffLimitExceeded"
    status, reason, message = world.condition("TrainingStarted")
    assert (status, reason) == ("False", "PreparationFailed")
    assert "the artifact store did not answer" in message
    assert reasons(world).count("StageFailed") == 2
    assert {"PreparationFailed", "TrainingSkipped"} <= set(reasons(world))
    world.exit_code = 0
    world.goto("2026-03-29T02:00:01Z")
    world.settle()
    assert world.preparations == ["202603220200", "202603290200"]
    assert world.trainings == ["202603290200"]


def test_bad_data_is_not_tried_again() -> None:
    world = at_first_time(exit_code=int(ExitCode.BAD_DATA))
    world.settle()
    assert len(world.made) == 1
    assert world.condition("TrainingStarted")[1] == "PreparationFailed"


def test_a_training_after_a_preparation_that_failed_prepares_once_more() -> None:
    world = at_first_time(spec={"training": {"schedule": "0 2 25 * *"}}, exit_code=int(ExitCode.BAD_DATA))
    world.settle()
    world.goto("2026-03-25T02:00:01Z")
    world.exit_code = 0
    world.settle()
    assert (world.preparations, world.trainings) == (["202603220200", "202603250200"], ["202603250200"])


def test_jobs_of_earlier_preparations_go_with_the_next() -> None:
    world = at_first_time(spec={})
    world.settle()
    world.goto("2026-03-29T02:00:01Z")
    world.settle()
    assert [name.split("-")[2] for name in world.stage_jobs] == ["202603290200"]


# ---- missed times


def test_many_missed_times_are_made_up_for_by_one() -> None:
    world = at_first_time("2026-05-20T10:00:00Z")
    world.settle()
    assert (world.preparations, world.trainings) == (["202605170200"], ["202605170200"])
    world.settle()
    assert len(world.made) == 2


def test_what_is_later_than_allowed_is_missed_and_says_how_late_it_was() -> None:
    world = at_first_time("2026-03-22T05:00:00Z", spec={**WEEKLY, "startingDeadlineSeconds": 7200})
    world.settle()
    assert world.made == []
    message = (
        "training of Sun 2026-03-22 02:00 UTC missed: 10800 s late > 7200 (startingDeadlineSeconds); "
        "the operator was away, or spec.suspend was true"
    )
    assert world.condition("TrainingStarted") == ("False", "Missed", message)
    assert reasons(world) == ["PreparationMissed", "TrainingMissed"]
    world.goto("2026-03-29T02:00:00Z")
    world.settle()
    assert world.trainings == ["202603290200"]


def test_a_training_that_was_taken_up_in_time_may_wait_for_its_data_as_long_as_that_takes() -> None:
    world = at_first_time(spec={**WEEKLY, "startingDeadlineSeconds": 60}, hold=True)
    world.settle(5)
    world.goto("2026-03-22T09:00:00Z")
    world.hold = False
    world.settle()
    assert world.trainings == ["202603220200"]


def test_a_time_that_comes_while_the_training_before_waits_for_data_is_that_one() -> None:
    minutely = {"dataPreparation": {"schedule": "* * * * *"}, "training": {"schedule": "* * * * *"}}
    world = at_first_time("2026-03-15T12:01:00Z", spec=minutely, hold=True)
    world.look()
    world.goto("2026-03-15T12:03:10Z")
    world.look()
    assert any("that of Sun 2026-03-15 12:01 UTC still waits" in message for _, message in world.events)
    world.hold = False
    world.work()
    world.look()
    assert world.trainings == ["202603151201"]


def test_a_clock_that_goes_back_makes_nothing_twice() -> None:
    world = at_first_time()
    world.settle()
    made = list(world.made)
    world.goto("2026-03-20T00:00:00Z")
    world.settle()
    world.goto("2026-03-22T02:00:30Z")
    world.settle()
    assert world.made == made


# ---- kills


@pytest.mark.parametrize("at", range(4))
def test_a_status_write_that_is_lost_makes_nothing_twice(at: int) -> None:
    world = at_first_time()
    for number in range(12):
        world.lost = number == at
        world.look()
        world.work()
        world.now += timedelta(seconds=10)
    assert (world.preparations, world.trainings) == (["202603220200"], ["202603220200"])
    assert len(world.made) == len(set(world.made)) == 2
    assert world.schedule.status.last_training_job == world.made[1]


def test_a_job_whose_write_was_lost_for_days_is_found_again_and_the_next_time_is_its_own() -> None:
    world = at_first_time(spec={})
    world.lost = True
    world.look()
    world.work()
    world.goto("2026-03-29T05:00:00Z")
    world.settle()
    assert world.preparations == ["202603220200", "202603290200"]
    assert world.schedule.status.preparation is not None
    assert world.schedule.status.preparation.run == 202603290200


def test_a_job_whose_write_was_lost_is_let_end_and_nobody_claims_to_know_what_it_was_asked() -> None:
    world = at_first_time(spec={"training": {"schedule": "0 2 25 * *"}}, hold=True)
    world.lost = True
    world.look()
    world.goto("2026-03-29T02:00:01Z")
    world.look()
    run = world.schedule.status.preparation
    assert run is not None
    assert (run.run, run.asked) == (202603220200, None)
    assert [name.split("-")[2] for name in world.stage_jobs] == ["202603220200"], "it still runs"
    world.hold = False
    world.settle()
    assert world.preparations == ["202603220200", "202603250200", "202603290200"], "the training prepares anew"
    assert world.trainings == ["202603250200"]
