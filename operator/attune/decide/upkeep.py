"""What a settled version still needs: its collection built and kept up to date, and at its end its files deleted.

Both are stages that run again and again, each run on the ladder of `stages`. Called by `model_version`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from attune.api import Compute, StageRun, kinds
from attune.contract import Stage, StageResult, StageSpec
from attune.decide.stages import Next, Run, Step, climb, started
from attune.desired import hosted
from attune.desired.stage_job import StageJob, job, spec_config_map
from attune.objects import Manifest, Ref
from attune.observation import SeenModelVersion

BACKOFF_LIMIT = 4
"""Failed attempts of one run that are followed by another; the next run comes after RETRY_AFTER."""
RETRY_AFTER = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Work:
    """One look at a stage that is due: what is stored of it, and how its Job is made."""

    stage: Stage
    last: StageRun | None
    spec: Callable[[], StageSpec]


@dataclass(frozen=True, slots=True)
class Look:
    """What came of it. `result` only when the run ended well just now, `failed` only when it ended badly just now."""

    run: StageRun
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


def look(seen: SeenModelVersion, work: Work, now: datetime) -> Look:
    """One step of the run; the caller has found that it is due."""
    current = open_run(work.last)
    jobs = tuple(j for j in seen.stage_jobs if j.stage is work.stage and j.run == current.run)
    run = Run(work.stage, jobs, tuple(current.attempts or ()), current.failures, BACKOFF_LIMIT)
    step = climb(run, seen.defaults, now)
    if step.next is Next.CREATE:
        return _create(seen, work, current, run, now)
    update = {"attempts": step.attempts or None, "failures": step.failures, "progress": None}
    if step.next is Next.DONE and step.result is not None:
        done = current.model_copy(update={**update, "finished_at": now, "reason": None, "message": None})
        return Look(done, result=step.result, requeue_after=timedelta())
    if step.next is Next.FAILED:
        failed = current.model_copy(
            update={**update, "finished_at": now, "reason": step.reason, "message": step.message[:512]}
        )
        return Look(failed, failed=True, told=f"{step.reason}: {step.message}", requeue_after=RETRY_AFTER)
    return _waiting(seen, current.model_copy(update=update), step, run)


def _waiting(seen: SeenModelVersion, current: StageRun, step: Step, run: Run) -> Look:
    """The Job runs, or the next attempt has to wait."""
    if step.next is Next.BACK_OFF:
        again = step.failures > run.failures
        told = f"{run.stage} failed, {step.reason}: {step.message}; attempt {step.failures + 1} of {BACKOFF_LIMIT + 1} follows"
        return Look(current, told=told if again else "", requeue_after=step.wait)
    progress = step.job.progress if step.job else None
    waiting = current.model_copy(update={"progress": progress, "message": step.message[:512] or None})
    return Look(waiting, requeue_after=seen.defaults.progress_interval)


def _create(seen: SeenModelVersion, work: Work, current: StageRun, run: Run, now: datetime) -> Look:
    assert seen.retriever is not None
    stage = StageJob(
        spec=work.spec(),
        attempt=run.number,
        api_version=kinds.API_VERSION,
        compute=Compute(),
        image=seen.defaults.trainer_image,
        secrets=(seen.retriever.spec.storage.secret_ref, seen.retriever.spec.index.secret_ref),
        env=tuple(hosted.env(hosted.keys_of_import(seen, work.stage))),
        run=current.run,
    )
    namespace = seen.version.metadata.namespace
    old = [j for j in seen.stage_jobs if j.stage is work.stage and j.run < current.run]
    return Look(
        current.model_copy(update={"attempts": started(run, stage.name, now), "message": None, "reason": None}),
        apply=(spec_config_map(stage),),
        create=(job(stage),),
        delete=tuple(Ref("batch/v1", "Job", namespace, j.name, j.uid) for j in old),
        requeue_after=seen.defaults.progress_interval,
    )


def due_again(last: StageRun | None, finished: datetime | None, every: timedelta, now: datetime) -> timedelta:
    """Time until the next run: `every` after the last success, or RETRY_AFTER (if that is sooner) after a failure."""
    if last is None or last.finished_at is None:
        return timedelta()
    failed = last.reason is not None
    pause = min(every, RETRY_AFTER) if failed else every
    since = last.finished_at if failed else (finished or last.finished_at)
    return max(timedelta(), since + pause - now)
