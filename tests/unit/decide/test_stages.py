"""The ladder of stages: create, wait, retry, end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from attune.api import Attempt
from attune.contract import DatasetSummary, ExitCode, Stage, StageResult
from attune.decide.stages import KEPT_ATTEMPTS, Next, Run, climb, started
from attune.observation import Defaults, JobState, SeenJob

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
DEFAULTS = Defaults(trainer_image="attune-trainer:test")


def seen(state: JobState, attempt: int = 1, **more: Any) -> SeenJob:
    return SeenJob(
        f"tune-a{attempt}-prepare", "u", Stage.PREPARE, attempt, state, False, NOW - timedelta(minutes=1), **more
    )


def run(*jobs: SeenJob, attempts: tuple[Attempt, ...] = (), failures: int = 0, limit: int = 2) -> Run:
    return Run(Stage.PREPARE, jobs, attempts, failures, limit)


def attempt(number: int, **more: Any) -> Attempt:
    return Attempt(number=number, stage=Stage.PREPARE, job=f"tune-a{number}-prepare", started_at=NOW, **more)


def good() -> StageResult:
    data = DatasetSummary(uri="file:///d", digest="sha256:d", examples=1)
    return StageResult(
        stage=Stage.PREPARE, spec_digest="x", succeeded=True, reason="Completed", message="", dataset=data
    )


def bad(reason: str) -> StageResult:
    return StageResult(stage=Stage.PREPARE, spec_digest="x", succeeded=False, reason=reason, message="because")


def test_nothing_there_asks_for_the_first_job() -> None:
    assert climb(run(), DEFAULTS, NOW).next is Next.CREATE


def test_a_job_that_runs_is_waited_for_and_entered_once() -> None:
    step = climb(run(seen(JobState.RUNNING)), DEFAULTS, NOW)
    assert step.next is Next.WAIT
    assert [(a.number, a.job) for a in step.attempts] == [(1, "tune-a1-prepare")]
    again = climb(run(seen(JobState.RUNNING), attempts=step.attempts), DEFAULTS, NOW)
    assert again.attempts == step.attempts


def test_a_job_that_succeeded_gives_its_result() -> None:
    step = climb(run(seen(JobState.SUCCEEDED, exit_code=0, result=good())), DEFAULTS, NOW)
    assert (step.next, step.result) == (Next.DONE, good())
    assert step.attempts[-1].exit_code == 0


@pytest.mark.parametrize("code", [ExitCode.BAD_DATA, ExitCode.BAD_CONFIG, ExitCode.TRAINING_DIVERGED, ExitCode.USAGE])
def test_final_exit_codes_end_it_at_the_first_failure(code: ExitCode) -> None:
    step = climb(run(seen(JobState.FAILED, exit_code=int(code), result=bad("InsufficientData"))), DEFAULTS, NOW)
    assert (step.next, step.reason, step.message) == (Next.FAILED, "InsufficientData", "because")


@pytest.mark.parametrize("code", [1, 137, 143, int(ExitCode.INTERRUPTED), int(ExitCode.STORE_UNAVAILABLE), None])
def test_other_failures_are_retried_with_the_next_number(code: int | None) -> None:
    step = climb(run(seen(JobState.FAILED, exit_code=code)), DEFAULTS, NOW)
    assert (step.next, step.failures) == (Next.BACK_OFF, 1)
    assert f"exit code {'unknown' if code is None else code}" in step.message


def test_the_pause_doubles_and_ends_in_a_new_job() -> None:
    failed = (
        attempt(1, finished_at=NOW, exit_code=1, reason="Error"),
        attempt(2, finished_at=NOW, exit_code=1, reason="Error"),
    )
    waiting = climb(run(attempts=failed, failures=2), DEFAULTS, NOW + timedelta(seconds=19))
    assert (waiting.next, waiting.wait) == (Next.BACK_OFF, timedelta(seconds=1))
    assert climb(run(attempts=failed, failures=2), DEFAULTS, NOW + timedelta(seconds=20)).next is Next.CREATE


def test_one_failure_more_than_the_limit_ends_it() -> None:
    step = climb(run(seen(JobState.FAILED, attempt=3, exit_code=137), failures=2), DEFAULTS, NOW)
    assert (step.next, step.reason) == (Next.FAILED, "BackoffLimitExceeded")
    assert "3 attempts failed (backoffLimit 2)" in step.message
    assert "out of memory" in step.message


def test_a_job_that_vanished_is_a_failed_attempt() -> None:
    step = climb(run(attempts=(attempt(1),)), DEFAULTS, NOW)
    assert (step.next, step.reason) == (Next.BACK_OFF, "JobDeleted")
    assert step.attempts[-1].finished_at == NOW


def test_the_history_is_bounded_and_keeps_the_newest() -> None:
    old = tuple(attempt(n, finished_at=NOW, exit_code=1) for n in range(1, 8))
    kept = started(run(attempts=old, failures=7, limit=9), "tune-a8-prepare", NOW)
    assert len(kept) == KEPT_ATTEMPTS
    assert kept[-1].number == 8
