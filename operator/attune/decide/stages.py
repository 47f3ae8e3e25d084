"""The ladder that every run of stages climbs: a TrainingJob's prepare → train → evaluate, an import's prepare → import → evaluate.

One stage Job per attempt, named by (owner, attempt, stage). A Job is retried by a new attempt of ours and not by its own
backoffLimit, so that the history of exit codes stays in status. Pure; called by `training_job` and `model_version`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from attune.api import Attempt
from attune.contract import ExitCode, Stage, StageResult
from attune.observation import Defaults, JobState, SeenJob

KEPT_ATTEMPTS = 5

MEANING: Mapping[int, str] = {
    137: "killed (SIGKILL: out of memory, or the node was lost)",
    143: "stopped (SIGTERM)",
    ExitCode.INTERRUPTED: "interrupted, a checkpoint was written",
    ExitCode.STORE_UNAVAILABLE: "the artifact store did not answer",
}


class Next(StrEnum):
    """What the ladder asks for."""

    CREATE = "Create"
    WAIT = "Wait"
    BACK_OFF = "BackOff"
    DONE = "Done"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class Run:
    """A run of stages as its owner's status remembers it, with the Jobs that exist now."""

    stage: Stage
    """The first stage without a recorded result."""
    jobs: tuple[SeenJob, ...]
    attempts: tuple[Attempt, ...]
    failures: int
    backoff_limit: int

    @property
    def number(self) -> int:
        """Number of the attempt that is due; grows by one with each failure, over all stages."""
        return self.failures + 1

    @property
    def job(self) -> SeenJob | None:
        return next((job for job in self.jobs if (job.stage, job.attempt) == (self.stage, self.number)), None)

    @property
    def entry(self) -> Attempt | None:
        return next((a for a in self.attempts if (a.stage, a.number) == (self.stage, self.number)), None)


@dataclass(frozen=True, slots=True)
class Step:
    """The next step of a run, and its attempts as they are after it."""

    next: Next
    attempts: tuple[Attempt, ...]
    failures: int
    job: SeenJob | None = None
    result: StageResult | None = None
    reason: str = ""
    message: str = ""
    wait: timedelta | None = None


def climb(run: Run, defaults: Defaults, now: datetime) -> Step:
    """The next step for the stage that is due."""
    job = run.job
    if job is None and run.entry is not None:
        return _fail(run, now, None, "JobDeleted", f"Job {run.entry.job} was deleted while it ran")
    if job is None:
        return _create_or_back_off(run, defaults, now)
    if job.state is JobState.SUCCEEDED:
        return _succeeded(run, job, now)
    if job.state is JobState.FAILED:
        return _failed_job(run, job, now)
    return Step(Next.WAIT, _opened(run, job, now), run.failures, job, message=job.waiting)


def _create_or_back_off(run: Run, defaults: Defaults, now: datetime) -> Step:
    last = run.attempts[-1] if run.attempts else None
    if run.failures and last is not None and last.finished_at is not None and last.exit_code != 0:
        pause = min(defaults.retry_base * 2 ** min(run.failures - 1, 16), defaults.retry_cap)
        left = last.finished_at + pause - now
        if left > timedelta():
            return Step(
                Next.BACK_OFF,
                run.attempts,
                run.failures,
                reason="BackOff",
                message=f"attempt {run.number} of {run.backoff_limit + 1} starts {pause.total_seconds():.0f} s "
                f"after the failure: {last.message}",
                wait=left,
            )
    return Step(Next.CREATE, run.attempts, run.failures)


def _succeeded(run: Run, job: SeenJob, now: datetime) -> Step:
    if job.result is None or not job.result.succeeded:
        return _fail(
            run, now, job, "ResultLost", f"Job {job.name} completed, but its Pod and with it the result is gone"
        )
    return Step(Next.DONE, _closed(run, job, now, "Completed", ""), run.failures, job, job.result)


def _failed_job(run: Run, job: SeenJob, now: datetime) -> Step:
    if job.result is not None and not job.result.succeeded:
        reason, message = job.result.reason, job.result.message
    else:
        meaning = MEANING.get(
            job.exit_code or 0, "see its log" if job.exit_code else "its Pod is gone (deleted, or the node was lost)"
        )
        reason = job.failure or "PodFailed"
        message = f"{run.stage} ended with exit code {'unknown' if job.exit_code is None else job.exit_code}: {meaning}"
    return _fail(run, now, job, reason, message)


def _fail(run: Run, now: datetime, job: SeenJob | None, reason: str, message: str) -> Step:
    attempts = _closed(run, job, now, reason, message)
    failures = run.failures + 1
    if job is not None and job.state is JobState.FAILED and ExitCode.is_final(job.exit_code):
        return Step(Next.FAILED, attempts, failures, job, reason=reason, message=message)
    if failures > run.backoff_limit:
        told = f"{failures} attempts failed (backoffLimit {run.backoff_limit}); the last in {run.stage}, {reason}: {message}"
        return Step(Next.FAILED, attempts, failures, job, reason="BackoffLimitExceeded", message=told)
    return Step(Next.BACK_OFF, attempts, failures, job, reason=reason, message=message, wait=timedelta())


def _opened(run: Run, job: SeenJob, now: datetime) -> tuple[Attempt, ...]:
    if run.entry is not None:
        return run.attempts
    entry = Attempt(number=run.number, stage=run.stage, job=job.name, started_at=min(job.created_at, now))
    return bounded((*run.attempts, entry))


def _closed(run: Run, job: SeenJob | None, now: datetime, reason: str, message: str) -> tuple[Attempt, ...]:
    opened = _opened(run, job, now) if job is not None else run.attempts
    finished = (job.finished_at if job else None) or now
    exit_code = job.exit_code if job else None
    return tuple(
        a.model_copy(
            update={"finished_at": finished, "exit_code": exit_code, "reason": reason, "message": message[:512]}
        )
        if (a.stage, a.number) == (run.stage, run.number)
        else a
        for a in opened
    )


def started(run: Run, job_name: str, now: datetime) -> tuple[Attempt, ...]:
    """The attempts after the Job that `climb` asked for was put into the decision."""
    return bounded((*run.attempts, Attempt(number=run.number, stage=run.stage, job=job_name, started_at=now)))


def bounded(attempts: Sequence[Attempt]) -> tuple[Attempt, ...]:
    """The last five: status must not grow without bound."""
    return tuple(attempts[-KEPT_ATTEMPTS:])
