"""What is said while a version is watched: the conditions Watching and Guarded, and their events. Pure; called by `retriever`."""

from datetime import datetime, timedelta

from attune.api import RetrieverStatus, conditions
from attune.api.display import percent
from attune.contract import GuardReport, ModelType
from attune.decide.conditions import Said, said
from attune.decide.decision import Event
from attune.decide.rollback import triggers, watching
from attune.decide.rollback.watching import Watch, watch_of
from attune.observation import Health, MetricsProblem, SeenRetriever

Step = tuple[RetrieverStatus, tuple[Event, ...]]
GUARDED = "Guarded"
PATIENCE = timedelta(seconds=30)
"""So long after a promotion nobody is called blind: the first scrapes have yet to come."""


def report(seen: SeenRetriever, now: datetime) -> Step:
    """Both conditions."""
    status, events = _watching(seen, now)
    status, more = _guarded(seen.with_status(status), now)
    return status, (*events, *more)


def guards_are_open(seen: SeenRetriever) -> bool:
    """Whether somebody is to look again soon."""
    return any(g.open for r in seen.replicas if r.report for g in r.report.guards)


# ---- Watching


def _watching(seen: SeenRetriever, now: datetime) -> Step:
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


# ---- Guarded


def _guarded(seen: SeenRetriever, now: datetime) -> Step:
    """That replicas answer by the previous version. Nothing is said before that was ever so; words change with the number of replicas."""
    status = seen.retriever.status
    was = conditions.is_true(status.conditions, GUARDED)
    found = [(r.name, g) for r in seen.replicas if r.report for g in r.report.guards if g.open and _is_active(seen, g)]
    if not found:
        if not was:
            return status, ()
        calm = Said(GUARDED, False, "Closed", "every replica asks the active versions")
        return said(status, calm, seen.retriever.metadata.generation, now), (Event("GuardClosed", calm.message),)
    name, first = found[0]
    asked = sum(r.report is not None for r in seen.replicas)
    count = f"{len({n for n, _ in found})} of {asked} replicas"
    known = conditions.get(status.conditions, GUARDED)
    if was and known is not None and known.message.startswith(f"{count} answer in place of {first.version}"):
        return status, ()
    message = (
        f"{count} answer in place of {first.version} by the version before: in {name}, {first.failures} of {first.attempts} requests "
        f"failed ({first.reason}{': ' + first.message if first.message else ''})"
    )
    new = said(status, Said(GUARDED, True, "Open", message), seen.retriever.metadata.generation, now)
    return new, (Event("GuardOpened", message, warning=True),)


def _is_active(seen: SeenRetriever, guard: GuardReport) -> bool:
    pointers = (seen.retriever.status.of(t) for t in ModelType)
    return any(p is not None and p.active == guard.version for p in pointers)
