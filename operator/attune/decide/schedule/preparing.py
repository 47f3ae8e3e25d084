"""The data preparation of a schedule: one run of the prepare stage for a scheduled time, on the ladder of `stages`.

Its Job is named by schedule, scheduled time and attempt, so one whose status write was lost is found again. Called by
`decide.training_schedule`, and by `starting`, for a training whose data is not there.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from attune.api import Preparation, names
from attune.contract import Stage
from attune.decide import refusals, upkeep
from attune.decide.gates import Problem
from attune.decide.schedule import ticks
from attune.decide.schedule.draft import DATA, Draft
from attune.decide.schedule.ticks import PREPARATION
from attune.decide.schedule.timetable import Timetable
from attune.desired import training_schedule as desired
from attune.observation import JobState, SeenTrainingSchedule

LOOK_AT_OTHERS = timedelta(seconds=30)
NEEDS = tuple(check for check in refusals.WAITS if check is not refusals.fine_tuning_disabled)
"""What a preparation waits for. FINETUNE_ENABLED is no matter of waiting here: its times are passed over."""


def problem_of(seen: SeenTrainingSchedule) -> Problem | None:
    """Why a TrainingJob made now would wait or fail at once; neither data is prepared then, nor one made."""
    run = desired.as_run(seen)
    return refusals.first(NEEDS, run) or refusals.first(refusals.REFUSALS, run)


def may_begin(seen: SeenTrainingSchedule) -> bool:
    """Whether this look may make a Job: none is under way, and nothing is in its way."""
    live = any(
        j.stage is Stage.PREPARE and j.state not in {JobState.SUCCEEDED, JobState.FAILED} for j in seen.stage_jobs
    )
    return not live and problem_of(seen) is None


def adopted(seen: SeenTrainingSchedule, draft: Draft) -> Draft:
    """With the newest preparation that there is a Job of, also when the write that first named it was lost."""
    known = draft.status.preparation
    made = [
        (job.run, at)
        for job in seen.stage_jobs
        if job.stage is Stage.PREPARE and (at := names.scheduled_time(job.run)) is not None
    ]
    if not made or (known is not None and max(made)[0] <= known.run):
        return draft
    run, at = max(made)
    draft = draft.noted(preparation=Preparation(run=run, scheduled_for=at))
    return ticks.moved(draft, PREPARATION, at)


def advanced(seen: SeenTrainingSchedule, draft: Draft) -> Draft:
    """With the next step of the run that is under way; suspension does not stop it."""
    run = draft.status.preparation
    if run is None or run.finished_at is not None:
        return draft
    retriever = seen.retriever
    if retriever is None:
        problem = refusals.retriever_missing(desired.as_run(seen))
        assert problem is not None
        return draft.said(DATA, False, problem.reason, problem.message).waiting(LOOK_AT_OTHERS)
    work = upkeep.Work(
        Stage.PREPARE,
        run,
        lambda attempt: desired.preparation(seen, retriever, run.run, attempt),
        seen.schedule.spec.template.backoff_limit,
    )
    return _looked(seen, draft, upkeep.look(work, seen.stage_jobs, seen.defaults, draft.now))


def on_time(seen: SeenTrainingSchedule, draft: Draft) -> Draft:
    """With the preparation that is due. One that cannot begin yet stays due, as long as startingDeadlineSeconds allows."""
    table, cursor = PREPARATION.timetable(seen.schedule), draft.status.preparation_cursor
    if isinstance(table, Problem) or cursor is None or seen.schedule.spec.suspend:
        return draft
    tick = ticks.due(table, cursor.until, draft.now)
    if tick is None:
        return draft
    if not seen.defaults.finetune_enabled:
        return ticks.skipped(seen, draft, PREPARATION, tick, ticks.DISABLED)
    running, problem = is_running(draft), problem_of(seen)
    if ticks.is_late(tick, seen.schedule.spec.starting_deadline_seconds, draft.now):
        why = (
            "the preparation before still ran" if running else f"{problem.reason}: {problem.message}" if problem else ""
        )
        return ticks.missed(seen, draft, PREPARATION, tick, why)
    if running:
        return draft
    if problem is not None:
        return draft.said(DATA, False, problem.reason, problem.message).waiting(LOOK_AT_OTHERS)
    return begun(seen, draft, tick)


def begun(seen: SeenTrainingSchedule, draft: Draft, tick: datetime) -> Draft:
    """With the preparation of this scheduled time, and its first Job. Only where nothing runs and `problem_of` finds nothing."""
    assert seen.retriever is not None
    asked = desired.preparation_spec(seen, seen.retriever).digest()
    run = Preparation(run=names.scheduled_run(tick), scheduled_for=tick, asked=asked)
    return advanced(seen, ticks.moved(draft.noted(preparation=run), PREPARATION, tick))


def is_running(draft: Draft) -> bool:
    """A preparation is under way."""
    return draft.status.preparation is not None and draft.status.preparation.finished_at is None


def failed_for(draft: Draft, tick: datetime) -> Preparation | None:
    """The preparation for this time or a later one, where it failed for good."""
    run = draft.status.preparation
    ended = run is not None and run.finished_at is not None and run.reason is not None
    return run if run is not None and ended and run.scheduled_for >= tick else None


def is_fresh(seen: SeenTrainingSchedule, draft: Draft, tick: datetime) -> bool:
    """What the last preparation counted is good for a training of this time.

    It is if it was made for this time or a later one; or if no preparation was due since, and the same would be asked for today: the same
    template, the same sources, and above all the same last training, which somebody may have done by hand meanwhile.
    """
    run = draft.status.preparation
    if run is None or run.finished_at is None or run.reason is not None or seen.retriever is None:
        return False
    if run.scheduled_for >= tick:
        return True
    table = PREPARATION.timetable(seen.schedule)
    newest = table.latest(tick, after=run.scheduled_for) if isinstance(table, Timetable) else None
    return newest is None and run.asked == desired.preparation_spec(seen, seen.retriever).digest()


def _looked(seen: SeenTrainingSchedule, draft: Draft, look: upkeep.Look[Preparation]) -> Draft:
    run, what = look.run, ticks.told(seen, PREPARATION, look.run.scheduled_for)
    draft = replace(
        draft.noted(preparation=run),
        apply=(*draft.apply, *look.apply),
        create=(*draft.create, *look.create),
        delete=(*draft.delete, *look.delete),
    )
    if look.result is not None:
        dataset, message = look.result.dataset, look.result.message
        new = dataset.new_pairs if dataset is not None else None
        draft = draft.noted(dataset=dataset, new_pairs=new, last_preparation=run.scheduled_for)
        return draft.said(DATA, True, "Completed", f"{what}: {message}").told("DataPrepared", message)
    if look.failed:
        reason, message = run.reason or "PreparationFailed", run.message or look.told
        draft = draft.said(DATA, False, reason, f"{what}: {message}")
        return draft.told("PreparationFailed", look.told, warning=True)
    attempts = f"{what}: attempt {run.failures + 1} of {seen.schedule.spec.template.backoff_limit + 1}"
    draft = draft.said(DATA, False, "Preparing", f"{attempts}; {run.message}" if run.message else attempts)
    if look.create:
        draft = draft.told("StageStarted", f"{what}: Job {look.create[0]['metadata']['name']} created")
    elif look.told:
        draft = draft.told("StageFailed", look.told, warning=True)
    return draft.waiting(look.requeue_after)
