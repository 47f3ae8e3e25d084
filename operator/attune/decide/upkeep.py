"""Stages that run again and again, each run on the ladder of `stages`: one step of a run, as a value.

Called by what needs them: `indexing` and `retirement` of a version, `schedule.preparing` of a TrainingSchedule.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from attune.api import Compute, StageRun, kinds
from attune.contract import Stage, StageResult, StageSpec
from attune.decide.stages import Next, Run, Step, climb, started
from attune.desired import hosted
from attune.desired.stage_job import StageJob, job, spec_config_map
from attune.objects import Manifest, Ref
from attune.observation import Defaults, SeenJob, SeenModelVersion

R = TypeVar("R", bound=StageRun)
BACKOFF_LIMIT = 4
"""Failed attempts of one run that are followed by another; the next run comes after RETRY_AFTER."""
RETRY_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Work(Generic[R]):
    """A run that is under way, as it is stored, and how the Job of an attempt is made."""

    stage: Stage
    run: R
    job: Callable[[int], StageJob]
    backoff_limit: int = BACKOFF_LIMIT


@dataclass(frozen=True, slots=True)
class Look(Generic[R]):
    """What came of a look. `result` only when the run ended well just now, `failed` only when it ended badly just now."""

    run: R
    result: StageResult | None = None
    failed: bool = False
    apply: tuple[Manifest, ...] = ()
    create: tuple[Manifest, ...] = ()
    delete: tuple[Ref, ...] = ()
    told: str = ""
    requeue_after: timedelta | None = None


def open_run(last: StageRun | None) -> StageRun:
    """The run that is under way, or the next one."""
    if last is None:
        return StageRun(run=1)
    return last if last.finished_at is None else StageRun(run=last.run + 1)


def of_version(
    seen: SeenModelVersion, stage: Stage, last: StageRun | None, spec: Callable[[], StageSpec]
) -> Work[StageRun]:
    """A stage of a version that is due: the run that is under way, or the next one."""
    current = open_run(last)

    def job(attempt: int) -> StageJob:
        assert seen.retriever is not None
        return StageJob(
            spec=spec(),
            attempt=attempt,
            api_version=kinds.API_VERSION,
            compute=Compute(),
            image=seen.defaults.trainer_image,
            secrets=(seen.retriever.spec.storage.secret_ref, seen.retriever.spec.index.secret_ref),
            env=tuple(hosted.env(hosted.keys_of_import(seen, stage))),
            run=current.run,
        )

    return Work(stage, current, job)


def look(work: Work[R], stage_jobs: Sequence[SeenJob], defaults: Defaults, now: datetime) -> Look[R]:
    """One step of the run; the caller has found that it is due. `stage_jobs`: all of its owner."""
    current = work.run
    jobs = tuple(j for j in stage_jobs if j.stage is work.stage and j.run == current.run)
    run = Run(work.stage, jobs, tuple(current.attempts or ()), current.failures, work.backoff_limit)
    step = climb(run, defaults, now)
    if step.next is Next.CREATE:
        old = tuple(j for j in stage_jobs if j.stage is work.stage and j.run < current.run)
        return _create(work, run, old, defaults, now)
    update = {"attempts": step.attempts or None, "failures": step.failures, "progress": None}
    if step.next is Next.DONE and step.result is not None:
        done = current.model_copy(update={**update, "finished_at": now, "reason": None, "message": None})
        return Look(done, result=step.result, requeue_after=timedelta())
    if step.next is Next.FAILED:
        failed = current.model_copy(
            update={**update, "finished_at": now, "reason": step.reason, "message": step.message[:512]}
        )
        return Look(failed, failed=True, told=f"{step.reason}: {step.message}", requeue_after=RETRY_AFTER)
    return _waiting(current.model_copy(update=update), step, run, defaults)


def _waiting(current: R, step: Step, run: Run, defaults: Defaults) -> Look[R]:
    """The Job runs, or the next attempt has to wait."""
    if step.next is Next.BACK_OFF:
        again = step.failures > run.failures
        told = f"{run.stage} failed, {step.reason}: {step.message}; attempt {step.failures + 1} of {run.backoff_limit + 1} follows"
        return Look(current, told=told if again else "", requeue_after=step.wait)
    progress = step.job.progress if step.job else None
    waiting = current.model_copy(update={"progress": progress, "message": step.message[:512] or None})
    return Look(waiting, requeue_after=defaults.progress_interval)


def _create(work: Work[R], run: Run, old: Sequence[SeenJob], defaults: Defaults, now: datetime) -> Look[R]:
    """The Job of the next attempt; those of earlier runs go, and the ConfigMaps they read."""
    stage = work.job(run.number)
    namespace = stage.spec.owner.namespace
    return Look(
        work.run.model_copy(update={"attempts": started(run, stage.name, now), "message": None, "reason": None}),
        apply=(spec_config_map(stage),),
        create=(job(stage),),
        delete=(
            *(Ref("batch/v1", "Job", namespace, j.name, j.uid) for j in old),
            *(Ref("v1", "ConfigMap", namespace, j.name) for j in old),
        ),
        requeue_after=defaults.progress_interval,
    )


def due_again(last: StageRun | None, finished: datetime | None, every: timedelta, now: datetime) -> timedelta:
    """Time until the next run: `every` after the last success, or RETRY_AFTER (if that is sooner) after a failure."""
    if last is None or last.finished_at is None:
        return timedelta()
    failed = last.reason is not None
    pause = min(every, RETRY_AFTER) if failed else every
    since = last.finished_at if failed else (finished or last.finished_at)
    return max(timedelta(), since + pause - now)
