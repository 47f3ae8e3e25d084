"""What is said of inline guards that are open: the condition Guarded. Pure; called by `retriever`."""

from datetime import datetime

from attune.api import RetrieverStatus, conditions
from attune.contract import GuardReport, ModelType
from attune.decide.conditions import Said, said
from attune.decide.decision import Event
from attune.observation import SeenRetriever

CONDITION = "Guarded"
Step = tuple[RetrieverStatus, tuple[Event, ...]]


def report(seen: SeenRetriever, now: datetime) -> Step:
    """That replicas answer by the previous version. Nothing is said before that was ever so; words change with the number of replicas."""
    status = seen.retriever.status
    was = conditions.is_true(status.conditions, CONDITION)
    found = [(r.name, g) for r in seen.replicas if r.report for g in r.report.guards if g.open and _is_active(seen, g)]
    if not found:
        if not was:
            return status, ()
        calm = Said(CONDITION, False, "Closed", "every replica asks the active versions")
        return said(status, calm, seen.retriever.metadata.generation, now), (Event("GuardClosed", calm.message),)
    name, first = found[0]
    asked = sum(r.report is not None for r in seen.replicas)
    count = f"{len({n for n, _ in found})} of {asked} replicas"
    known = conditions.get(status.conditions, CONDITION)
    if was and known is not None and known.message.startswith(f"{count} answer in place of {first.version}"):
        return status, ()
    message = (
        f"{count} answer in place of {first.version} by the version before: in {name}, {first.failures} of {first.attempts} requests "
        f"failed ({first.reason}{': ' + first.message if first.message else ''})"
    )
    new = said(status, Said(CONDITION, True, "Open", message), seen.retriever.metadata.generation, now)
    return new, (Event("GuardOpened", message, warning=True),)


def is_open(seen: SeenRetriever) -> bool:
    """Whether somebody is to look again soon."""
    return any(g.open for r in seen.replicas if r.report for g in r.report.guards)


def _is_active(seen: SeenRetriever, guard: GuardReport) -> bool:
    pointers = (seen.retriever.status.of(t) for t in ModelType)
    return any(p is not None and p.active == guard.version for p in pointers)
