"""Which scheduled time is due: at most one of each schedule, however many were missed, and none that was dealt with before.

A cursor in status says up to when a schedule was followed. It moves forward only, in the same write as what was done for a time, or
after it; so a time is lost by no kill, and comes twice by none. Called by the steps, and by `cluster.observe_training_schedule`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from attune.api import Cursor, TrainingSchedule, TrainingScheduleSpec, TrainingScheduleStatus
from attune.decide.gates import Problem
from attune.decide.schedule import timetable
from attune.decide.schedule.draft import DATA, TRAINING, Draft
from attune.decide.schedule.timetable import Timetable
from attune.observation import SeenTrainingSchedule


@dataclass(frozen=True, slots=True)
class Activity:
    """One of the two things that a schedule does."""

    name: str
    """As messages call it."""
    field: str
    """Where its cron expression stands in the spec."""
    cursor: str
    """Where its cursor is in status."""
    next: str
    condition: str
    cron: Callable[[TrainingScheduleSpec], str]

    def cursor_of(self, status: TrainingScheduleStatus) -> Cursor | None:
        found: Cursor | None = getattr(status, self.cursor)
        return found

    def timetable(self, schedule: TrainingSchedule) -> Timetable | Problem:
        """Its scheduled times, or why there are none."""
        return timetable.read(self.cron(schedule.spec), schedule.spec.time_zone, self.field)


PREPARATION = Activity(
    "preparation",
    "spec.dataPreparation.schedule",
    "preparation_cursor",
    "next_preparation",
    DATA,
    lambda spec: spec.data_preparation.schedule,
)
TRAIN = Activity(
    "training",
    "spec.training.schedule",
    "training_cursor",
    "next_training",
    TRAINING,
    lambda spec: spec.training.schedule,
)
ACTIVITIES = (PREPARATION, TRAIN)


def spelled(schedule: TrainingSchedule, activity: Activity) -> str:
    """What a cursor is about: `0 2 * * 0 Europe/Berlin`."""
    return f"{activity.cron(schedule.spec)} {schedule.spec.time_zone}"[:256]


def due(table: Timetable, until: datetime, now: datetime) -> datetime | None:
    """The newest scheduled time after the cursor that has come; what was missed before it is made up for by it."""
    return table.latest(now, after=until)


def is_late(tick: datetime, deadline: int | None, now: datetime) -> bool:
    """Later than startingDeadlineSeconds allows."""
    return deadline is not None and now - tick > timedelta(seconds=deadline)


def due_of(schedule: TrainingSchedule, activity: Activity, now: datetime) -> datetime | None:
    """What is due by the cursor in status; None also where the schedule names no time."""
    table, cursor = activity.timetable(schedule), activity.cursor_of(schedule.status)
    if isinstance(table, Problem) or cursor is None:
        return None
    return due(table, cursor.until, now)


def is_idle(schedule: TrainingSchedule, now: datetime) -> bool:
    """Nothing is due, and nothing of it is under way: a look needs to know little."""
    status = schedule.status
    running = status.preparation is not None and status.preparation.finished_at is None
    known = all(
        (cursor := a.cursor_of(status)) is not None and cursor.schedule == spelled(schedule, a) for a in ACTIVITIES
    )
    return (
        known
        and not running
        and status.training_due is None
        and all(due_of(schedule, activity, now) is None for activity in ACTIVITIES)
    )


def followed(seen: SeenTrainingSchedule, draft: Draft) -> Draft:
    """The cursors: from the creation on; a schedule that was changed counts from now on."""
    for activity in ACTIVITIES:
        cursor, what = activity.cursor_of(draft.status), spelled(seen.schedule, activity)
        if cursor is None:
            created = seen.schedule.metadata.creation_timestamp or draft.now
            draft = draft.noted(**{activity.cursor: Cursor(schedule=what, until=min(created, draft.now))})
        elif cursor.schedule != what:
            draft = draft.noted(**{activity.cursor: Cursor(schedule=what, until=max(cursor.until, draft.now))})
            draft = draft.told("ScheduleChanged", f"{activity.name}: {cursor.schedule} → {what}, from now on")
    return draft


def moved(draft: Draft, activity: Activity, tick: datetime) -> Draft:
    """The cursor at this time, if that is forward."""
    cursor = activity.cursor_of(draft.status)
    if cursor is None or cursor.until >= tick:
        return draft
    return draft.noted(**{activity.cursor: cursor.model_copy(update={"until": tick})})


def told(seen: SeenTrainingSchedule, activity: Activity, tick: datetime) -> str:
    """`training of Wed 2026-04-01 02:00 CEST`."""
    table = activity.timetable(seen.schedule)
    at = table.told(tick) if isinstance(table, Timetable) else f"{tick.astimezone(UTC):%a %Y-%m-%d %H:%M} UTC"
    return f"{activity.name} of {at}"


def skipped(seen: SeenTrainingSchedule, draft: Draft, activity: Activity, tick: datetime, why: Problem) -> Draft:
    """A time at which nothing is started: the condition says why as long as it is the newest, and an event."""
    message = f"{told(seen, activity, tick)} skipped: {why.message}"
    draft = draft.said(activity.condition, False, why.reason, message)
    warning = why.reason == "PreparationFailed"
    return moved(draft.told(f"{activity.name.capitalize()}Skipped", message, warning=warning), activity, tick)


def missed(seen: SeenTrainingSchedule, draft: Draft, activity: Activity, tick: datetime, why: str) -> Draft:
    """A time that came too late to be made up for."""
    late, deadline = draft.now - tick, seen.schedule.spec.starting_deadline_seconds
    reason = why or "the operator was away, or spec.suspend was true"
    message = f"{told(seen, activity, tick)} missed: {late.total_seconds():.0f} s late > {deadline} (startingDeadlineSeconds); {reason}"
    draft = draft.said(activity.condition, False, "Missed", message)
    return moved(draft.told(f"{activity.name.capitalize()}Missed", message, warning=True), activity, tick)


DISABLED = Problem(
    "FineTuningDisabled", "the operator runs with FINETUNE_ENABLED=false; set it to true for the times to come"
)
"""Such times are passed over: setting it makes up for none of them, so there is no burst then."""
