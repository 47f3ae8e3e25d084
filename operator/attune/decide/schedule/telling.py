"""What a schedule says of itself: what is next, whether it is ready, and for metrics, what became of its times."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from attune.api import TrainingScheduleStatus, conditions
from attune.decide import refusals
from attune.decide.gates import Problem
from attune.decide.schedule import ticks
from attune.decide.schedule.draft import READY, Draft
from attune.decide.schedule.ticks import ACTIVITIES, PREPARATION, TRAIN, Activity
from attune.decide.schedule.timetable import Timetable
from attune.desired import training_schedule as desired
from attune.observation import SeenTrainingSchedule

LOOK_AGAIN = timedelta(hours=1)
"""At the latest: a timer runs by another clock than the one that schedules are about, which may be set meanwhile."""
PASSED_OVER = frozenset({"FineTuningDisabled", "Missed", "PreparationFailed", "TooFewNewPairs", "TrainingRunning"})
STARTED = "Started"


def next_times(seen: SeenTrainingSchedule, draft: Draft) -> Draft:
    """With what is next; nothing is while it is suspended."""
    for activity in ACTIVITIES:
        table, cursor = activity.timetable(seen.schedule), activity.cursor_of(draft.status)
        coming: datetime | None = None
        if isinstance(table, Timetable) and cursor is not None and not seen.schedule.spec.suspend:
            coming = table.next_after(max(draft.now, cursor.until))
        draft = draft.noted(**{activity.next: coming})
        if coming is not None:
            draft = draft.waiting(min(coming - draft.now, LOOK_AGAIN))
    return draft


def readiness(seen: SeenTrainingSchedule, draft: Draft) -> Draft:
    """With the condition Ready: whether something will be started when the next time comes, as far as that is known."""
    problem = _wrong(seen)
    if problem is not None:
        return draft.said(READY, False, problem.reason, problem.message)
    if seen.schedule.spec.suspend:
        return draft.said(READY, False, "Suspended", "spec.suspend is true: nothing new is started, what runs goes on")
    if not seen.defaults.finetune_enabled:
        return draft.said(READY, False, ticks.DISABLED.reason, ticks.DISABLED.message)
    coming = ", ".join(
        f"{activity.name} {table.told(at)}"
        for activity in ACTIVITIES
        if isinstance(table := activity.timetable(seen.schedule), Timetable)
        and (at := getattr(draft.status, activity.next)) is not None
    )
    return draft.said(READY, True, "Scheduled", f"next: {coming}")


def _wrong(seen: SeenTrainingSchedule) -> Problem | None:
    """What somebody has to put right: the schedule itself, then what it is about."""
    tables = (activity.timetable(seen.schedule) for activity in ACTIVITIES)
    unreadable = next((table for table in tables if isinstance(table, Problem)), None)
    if unreadable is not None:
        return unreadable
    run = desired.as_run(seen)
    return refusals.retriever_missing(run) or refusals.first(refusals.REFUSALS, run)


def outcomes(before: TrainingScheduleStatus, after: TrainingScheduleStatus) -> Iterator[tuple[str, str]]:
    """(preparation or training, Started or the reason why not) for each scheduled time that a look dealt with."""
    begun = after.preparation is not None and (
        before.preparation is None or before.preparation.run != after.preparation.run
    )
    for activity, started in ((PREPARATION, begun), (TRAIN, before.last_training != after.last_training)):
        if started:
            yield activity.name, STARTED
        elif (reason := _passed_over(before, after, activity)) is not None:
            yield activity.name, reason


def _passed_over(before: TrainingScheduleStatus, after: TrainingScheduleStatus, activity: Activity) -> str | None:
    """A condition that names another time than before is about a time that was passed over just now."""
    was, now = (conditions.get(status.conditions, activity.condition) for status in (before, after))
    if now is None or now.reason not in PASSED_OVER or (was is not None and was.message == now.message):
        return None
    return now.reason
