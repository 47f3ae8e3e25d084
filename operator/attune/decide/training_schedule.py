"""The next step of a TrainingSchedule: data is prepared when that is due, and a TrainingJob made when enough of it is new.

Reads like its steps. Each takes the decision as far as it is made and gives it back; a time that is due is dealt with in one of them,
and its cursor moves in the same write. Called by `reconcile`.
"""

from collections.abc import Callable
from datetime import datetime

from attune.decide.decision import NOTHING, Decision
from attune.decide.schedule import default, history, preparing, starting, telling, ticks
from attune.decide.schedule.draft import Draft
from attune.observation import SeenTrainingSchedule

STEPS: tuple[Callable[[SeenTrainingSchedule, Draft], Draft], ...] = (
    ticks.followed,
    starting.adopted,
    preparing.adopted,
    preparing.advanced,
    starting.resolved,  # what waits for its data comes before a preparation that is due again, or it would wait for ever
    preparing.on_time,
    starting.on_time,
    starting.resolved,
    history.trimmed,
    telling.next_times,
    telling.readiness,
)


def decide_training_schedule(seen: SeenTrainingSchedule, now: datetime) -> Decision:
    """Next step of a TrainingSchedule. Pure: no I/O, no clock."""
    meta = seen.schedule.metadata
    if meta.deletion_timestamp is not None:
        return NOTHING
    draft = Draft(seen.schedule.status, meta.generation, now)
    if why := default.unwanted(seen):
        return default.left(seen, draft, why)
    for step in STEPS:
        draft = step(seen, draft)
    return draft.decision()
