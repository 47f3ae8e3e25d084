"""One look at what serves: is it to be taken back, and what is said of the watch. Called by `retriever` at every look. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from attune.api import Action, AlertAction, HandledAlert, RetrieverStatus
from attune.api.display import percent
from attune.contract import ModelType
from attune.decide.conditions import Said, said
from attune.decide.decision import Event
from attune.decide.rollback import triggers, watching, way_back
from attune.decide.rollback.triggers import Look
from attune.decide.rollback.watching import Watch, watch_of
from attune.observation import Alert, Count, Health, MetricsProblem, SeenRetriever

Step = tuple[RetrieverStatus, tuple[Event, ...]]
MOST_ALERTS = 5
PATIENCE = timedelta(seconds=30)
"""So long after a promotion nobody is called blind: the first scrapes have yet to come."""


def step(seen: SeenRetriever, model_type: ModelType, now: datetime) -> Step:
    """Take the active version of this type back, if there is a reason; and note the alerts about it as dealt with."""
    status = seen.retriever.status
    pointer = status.of(model_type)
    if pointer is None or pointer.active is None:
        return status, ()
    look = look_at(seen, model_type, now)
    mine = [a for a in seen.alerts if a.version == look.version and not triggers.is_handled(a, status.handled_alerts)]
    cause = triggers.cause_of(look) if seen.retriever.spec.rollback.enabled else None
    if cause is None:
        return noted(status, mine, AlertAction.IGNORED), ()
    new, events = way_back.taken_back(seen, model_type, cause, now)
    moved = new.of(model_type) != pointer
    return noted(new, mine, AlertAction.ROLLED_BACK if moved else AlertAction.IGNORED), events


def before_promotion(seen: SeenRetriever, model_type: ModelType) -> Count | None:
    """How well the active version answered, over the time before a promotion; None where that could not be read."""
    found = seen.before.get(model_type)
    return found.counts[-1] if isinstance(found, Health) and found.counts else None


def look_at(seen: SeenRetriever, model_type: ModelType, now: datetime) -> Look:
    """Everything the triggers look at."""
    pointer = seen.retriever.status.of(model_type)
    assert pointer is not None
    assert pointer.active is not None
    active = next((v for v in seen.versions if v.metadata.name == pointer.active), None)
    watch = watch_of(seen.retriever, model_type, now)
    promoted_at = pointer.promoted_at if watching.is_promoted(seen.retriever.status, model_type) else None
    return Look(seen, model_type, active, pointer.active, promoted_at, watch)


def rollbacks(before: RetrieverStatus, after: RetrieverStatus) -> tuple[str, ...]:
    """What triggered the rollbacks between these two, for a metric."""
    known = set(before.changes or ())
    new = [c for c in after.changes or () if c not in known and c.action is Action.ROLLED_BACK]
    said_why = next((c.reason for c in after.conditions or () if c.type == way_back.CONDITION), "")
    return tuple(said_why for _ in new)


def outcome_of(alert: Alert, before: RetrieverStatus, after: RetrieverStatus) -> str:
    """What came of an alert, in one word, for whoever sent it and for a metric."""
    if triggers.is_handled(alert, before.handled_alerts):
        return "duplicate"
    key = (alert.fingerprint, alert.starts_at)
    known = next((h for h in after.handled_alerts or () if (h.fingerprint, h.starts_at) == key), None)
    return "rolled_back" if known is not None and known.action is AlertAction.ROLLED_BACK else "ignored"


def noted(status: RetrieverStatus, alerts: Iterable[Alert], action: AlertAction) -> RetrieverStatus:
    """With these alerts dealt with; only one that fires can have caused something. The oldest make room."""
    new = tuple(
        HandledAlert(
            fingerprint=a.fingerprint,
            starts_at=a.starts_at,
            action=action if a.firing else AlertAction.IGNORED,
            version=a.version,
        )
        for a in alerts
    )
    if not new:
        return status
    return status.model_copy(update={"handled_alerts": (*(status.handled_alerts or ()), *new)[-MOST_ALERTS:]})


def report(seen: SeenRetriever, now: datetime) -> Step:
    """The condition Watching, over both types; nothing is said before the first promotion. Its words change with its state only."""
    status = seen.retriever.status
    watches = [w for t in ModelType if (w := watch_of(seen.retriever, t, now)) is not None]
    known = next((c for c in status.conditions or () if c.type == watching.CONDITION), None)
    running = [w for w in watches if now < w.until]
    if running:
        what = _running(seen, running, now)
    elif watches:
        what = Said(watching.CONDITION, False, "Over", "; ".join(_ended(seen, w) for w in watches))
    elif known is not None and known.reason in watching.OPEN:
        what = _closed(seen)
    else:
        return status, ()
    new = said(status, what, seen.retriever.metadata.generation, now)
    return new, _told(known.reason if known else None, what)


def _running(seen: SeenRetriever, watches: list[Watch], now: datetime) -> Said:
    words = [f"{w.version} until {w.until:%H:%M:%S}Z, {triggers.baseline_words(w)}" for w in watches]
    problems = [
        p for w in watches if isinstance(p := seen.health.get(w.type), MetricsProblem) and not _is_early(p, w, now)
    ]
    problem = next(iter(problems), None)
    others = "alerts, the inline guard and labelled queries still act"
    if problem is not None and problem.reason == "NoPrometheus":
        return Said(
            watching.CONDITION, True, watching.WITHOUT_METRICS, f"{'; '.join(words)}. {problem.message}; {others}"
        )
    if problem is not None:
        text = f"the error rate of {watches[0].version} cannot be read, {others}: {problem.reason}: {problem.message}"
        return Said(watching.CONDITION, False, watching.BLIND, text)
    return Said(watching.CONDITION, True, watching.FOLLOWED, "; ".join(words))


def _is_early(problem: MetricsProblem, watch: Watch, now: datetime) -> bool:
    return problem.reason in {"NoSamples", "StaleSamples"} and now < watch.since + PATIENCE


def _ended(seen: SeenRetriever, watch: Watch) -> str:
    health = seen.health.get(watch.type)
    count = health.counts[-1] if isinstance(health, Health) and health.counts else None
    numbers = (
        f": {percent(100 * count.rate)} of {count.requests:,} requests failed, {triggers.baseline_words(watch)}"
        if count
        else ""
    )
    return f"{watch.version} was watched until {watch.until:%H:%M:%S}Z and stays{numbers}"


def _closed(seen: SeenRetriever) -> Said:
    if not seen.retriever.spec.rollback.enabled:
        return Said(
            watching.CONDITION, False, "Disabled", "spec.rollback.enabled is false: nothing is taken back by itself"
        )
    return Said(watching.CONDITION, False, "NothingToWatch", "what serves was not promoted lately")


def _told(before: str | None, what: Said) -> tuple[Event, ...]:
    """An event where the watch goes blind, or sees again."""
    if what.reason == watching.BLIND and before != watching.BLIND:
        return (Event("WatchBlind", what.message, warning=True),)
    if before == watching.BLIND and what.reason == watching.FOLLOWED:
        return (Event("WatchSees", what.message),)
    return ()
