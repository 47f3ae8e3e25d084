"""The training of a schedule: which scheduled time makes a TrainingJob, and which is passed over, with the reason and the numbers.

A time that is due first becomes `trainingDue`; from then on it is in time, however long its data takes. Its data is prepared once that is
stored, so an operator that is killed meanwhile prepares for the same time, and not for the next. It ends as a TrainingJob, or by the first
of SKIPS that finds something. Adding a reason to skip = one function + one line. Called by `decide.training_schedule`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from attune.api import Phase
from attune.decide.gates import Problem
from attune.decide.schedule import preparing, ticks
from attune.decide.schedule.draft import TRAINING, Draft
from attune.decide.schedule.ticks import TRAIN
from attune.desired import training_schedule as desired
from attune.observation import SeenTrainingSchedule

ENDED = frozenset({Phase.SUCCEEDED, Phase.FAILED})


@dataclass(frozen=True, slots=True)
class Moment:
    """What the reasons to skip look at."""

    seen: SeenTrainingSchedule
    draft: Draft
    tick: datetime


def fine_tuning_disabled(moment: Moment) -> Problem | None:
    return None if moment.seen.defaults.finetune_enabled else ticks.DISABLED


def training_running(moment: Moment) -> Problem | None:
    """Of this schedule; others do not count, as concurrencyPolicy is of a schedule."""
    running = [job for job in moment.seen.jobs if job.status.phase not in ENDED]
    if moment.seen.schedule.spec.concurrency_policy != "Forbid" or not running:
        return None
    job = running[0]
    return Problem(
        "TrainingRunning",
        f"TrainingJob {job.metadata.name} of this schedule is {job.status.phase or Phase.PENDING} (concurrencyPolicy Forbid)",
    )


def preparation_failed(moment: Moment) -> Problem | None:
    run = preparing.failed_for(moment.draft, moment.tick) if _counts(moment.seen) else None
    return Problem("PreparationFailed", f"{run.reason}: {run.message}") if run is not None else None


def too_few_new_pairs(moment: Moment) -> Problem | None:
    """Unknown is not few: what the last training had is gone from the store, and only another training can put that right."""
    seen, status = moment.seen, moment.draft.status
    wanted, new = seen.schedule.spec.training.min_new_pairs, status.new_pairs
    if not _counts(seen) or new is None or new >= wanted or not preparing.is_fresh(seen, moment.draft, moment.tick):
        return None
    total = f"; {status.dataset.examples} pairs in all" if status.dataset is not None else ""
    return Problem("TooFewNewPairs", f"{new} new pairs < {wanted} (minNewPairs){total}")


AT_ONCE: tuple[Callable[[Moment], Problem | None], ...] = (fine_tuning_disabled, training_running)
"""Asked when the time comes, before any data is prepared for it."""
SKIPS = (*AT_ONCE, preparation_failed, too_few_new_pairs)


def adopted(seen: SeenTrainingSchedule, draft: Draft) -> Draft:
    """With the newest TrainingJob of the schedule, also when the write that first named it was lost."""
    made = [(at, job) for job in seen.jobs if (at := desired.scheduled_for(seen.schedule, job)) is not None]
    if not made:
        return draft
    at, job = max(made, key=lambda pair: pair[0])
    last = draft.status.last_training
    if last is not None and last >= at:
        return draft
    return _noted(seen, draft, at, job.metadata.name, "it was made before")


def on_time(seen: SeenTrainingSchedule, draft: Draft) -> Draft:
    """With the training that is due taken up, or passed over."""
    table, cursor = TRAIN.timetable(seen.schedule), draft.status.training_cursor
    if isinstance(table, Problem) or cursor is None or seen.schedule.spec.suspend:
        return draft
    tick = ticks.due(table, cursor.until, draft.now)
    if tick is None:
        return draft
    if (waiting := draft.status.training_due) is not None:
        told = f"{ticks.told(seen, TRAIN, tick)} skipped: that of {table.told(waiting)} still waits for its data"
        return ticks.moved(draft.told("TrainingSkipped", told), TRAIN, tick)
    if problem := first(AT_ONCE, Moment(seen, draft, tick)):
        return ticks.skipped(seen, draft, TRAIN, tick, problem)
    wait = preparing.problem_of(seen)
    if ticks.is_late(tick, seen.schedule.spec.starting_deadline_seconds, draft.now):
        return ticks.missed(seen, draft, TRAIN, tick, f"{wait.reason}: {wait.message}" if wait else "")
    if wait is not None:
        return draft.said(TRAINING, False, wait.reason, wait.message).waiting(preparing.LOOK_AT_OTHERS)
    return ticks.moved(draft.noted(training_due=tick), TRAIN, tick)


def resolved(seen: SeenTrainingSchedule, draft: Draft) -> Draft:
    """With the end of the training that is due: its TrainingJob, or the reason why there is none; or what it waits for."""
    tick = draft.status.training_due
    if tick is None or seen.schedule.spec.suspend:
        return draft
    if problem := first(SKIPS, Moment(seen, draft, tick)):
        return ticks.skipped(seen, draft.noted(training_due=None), TRAIN, tick, problem)
    if not _counts(seen) or preparing.is_fresh(seen, draft, tick):
        return _started(seen, draft, tick)
    if not preparing.is_running(draft):
        if wait := preparing.problem_of(seen):
            return draft.said(TRAINING, False, wait.reason, wait.message).waiting(preparing.LOOK_AT_OTHERS)
        stored = seen.schedule.status.training_due == tick
        draft = preparing.begun(seen, draft, tick) if stored else draft.waiting(timedelta())
    waits = f"{ticks.told(seen, TRAIN, tick)} waits for its data to be prepared, to count what is new"
    return draft.said(TRAINING, False, "WaitingForData", waits)


def first(checks: tuple[Callable[[Moment], Problem | None], ...], moment: Moment) -> Problem | None:
    """The first reason to skip."""
    return next((problem for check in checks if (problem := check(moment))), None)


def _counts(seen: SeenTrainingSchedule) -> bool:
    """Whether it matters how many pairs are new; where it does not, a TrainingJob prepares its data by itself."""
    return seen.schedule.spec.training.min_new_pairs > 0


def _started(seen: SeenTrainingSchedule, draft: Draft, tick: datetime) -> Draft:
    manifest = desired.training_job(seen.schedule, tick)
    draft = replace(draft, ensure=(*draft.ensure, manifest))
    new, wanted = draft.status.new_pairs, seen.schedule.spec.training.min_new_pairs
    why = f"{new} new pairs ≥ {wanted} (minNewPairs)" if new is not None else "how many pairs are new is unknown"
    return _noted(seen, draft, tick, manifest["metadata"]["name"], why if _counts(seen) else "minNewPairs is 0")


def _noted(seen: SeenTrainingSchedule, draft: Draft, tick: datetime, job: str, why: str) -> Draft:
    """The TrainingJob of this time is there."""
    due = draft.status.training_due
    still = due if due is not None and due > tick else None
    message = f"{ticks.told(seen, TRAIN, tick)}: TrainingJob {job}, {why}"
    draft = draft.noted(last_training=tick, last_training_job=job, training_due=still)
    return ticks.moved(draft.said(TRAINING, True, "Started", message).told("TrainingStarted", message), TRAIN, tick)
