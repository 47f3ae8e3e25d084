"""One look at what serves: is it to be taken back? Called by `retriever` at every look. Pure."""

from datetime import datetime

from attune.api import Action, AlertAction, RetrieverStatus
from attune.contract import ModelType
from attune.decide.decision import Event
from attune.decide.rollback import alerts, triggers, watching, way_back
from attune.decide.rollback.triggers import Look
from attune.decide.rollback.watching import watch_of
from attune.observation import Count, Health, SeenRetriever

Step = tuple[RetrieverStatus, tuple[Event, ...]]


def step(seen: SeenRetriever, model_type: ModelType, now: datetime) -> Step:
    """Take the active version of this type back, if there is a reason; and note the alerts about it as dealt with."""
    status = seen.retriever.status
    pointer = status.of(model_type)
    if pointer is None or pointer.active is None:
        return status, ()
    look = look_at(seen, model_type, now)
    mine = [a for a in seen.alerts if a.version == look.version and not alerts.is_handled(a, status.handled_alerts)]
    cause = triggers.cause_of(look) if seen.retriever.spec.rollback.enabled else None
    if cause is None:
        return alerts.noted(status, mine, AlertAction.IGNORED), ()
    new, events = way_back.taken_back(seen, model_type, cause, now)
    moved = new.of(model_type) != pointer
    return alerts.noted(new, mine, AlertAction.ROLLED_BACK if moved else AlertAction.IGNORED), events


def before_promotion(seen: SeenRetriever, model_type: ModelType) -> Count | None:
    """How well the active version answered, over the time before a promotion; None where that could not be read."""
    found = seen.before.get(model_type)
    return found.counts[-1] if isinstance(found, Health) and found.counts else None


def look_at(seen: SeenRetriever, model_type: ModelType, now: datetime) -> Look:
    """Everything the triggers look at."""
    pointer = seen.retriever.status.of(model_type)
    assert pointer is not None
    assert pointer.active is not None
    watch = watch_of(seen.retriever, model_type, now)
    promoted_at = pointer.promoted_at if watching.is_promoted(seen.retriever.status, model_type) else None
    return Look(seen, model_type, pointer.active, promoted_at, watch)


def rollbacks(before: RetrieverStatus, after: RetrieverStatus) -> tuple[str, ...]:
    """What triggered the rollbacks between these two, for a metric."""
    known = set(before.changes or ())
    new = [c for c in after.changes or () if c not in known and c.action is Action.ROLLED_BACK]
    said_why = next((c.reason for c in after.conditions or () if c.type == way_back.CONDITION), "")
    return tuple(said_why for _ in new)
