"""The end of an ABTest whose traffic was taken away: a rollback or a promotion removes the split, and the test says so.

Starting and judging tests is not decided here yet. Called by `reconcile`.
"""

from datetime import datetime

from attune.api import ABTestPhase, ABTestStatus, Change, Retriever
from attune.decide.conditions import Said, said
from attune.decide.decision import NOTHING, Decision, Event
from attune.observation import SeenABTest


def decide_ab_test(seen: SeenABTest, now: datetime) -> Decision:
    """A running test without its split is cancelled, with the reason. Pure: no I/O, no clock."""
    test, retriever = seen.test, seen.retriever
    if test.metadata.deletion_timestamp is not None or test.status.phase is not ABTestPhase.RUNNING:
        return NOTHING
    if retriever is None or _is_served(seen, retriever):
        return NOTHING
    change = _last_change(seen, retriever)
    reason = change.action.value if change else "SplitRemoved"
    message = (
        f"cancelled: {change.previous or 'nothing'} → {change.version} ({change.cause or change.action.value})"
        if change
        else f"cancelled: Retriever {retriever.metadata.name} splits no traffic for it any more"
    )
    status = test.status.model_copy(
        update={
            "observed_generation": test.metadata.generation,
            "phase": ABTestPhase.CANCELLED,
            "reason": reason,
            "message": message,
            "concluded_at": now,
        }
    )
    ended: ABTestStatus = said(status, Said("Complete", False, reason, message), test.metadata.generation, now)
    return Decision(status=ended, events=(Event("Cancelled", message, warning=True),))


def _is_served(seen: SeenABTest, retriever: Retriever) -> bool:
    names = {
        pointer.split.test
        for pointer in (retriever.status.embedding, retriever.status.reranker)
        if pointer is not None and pointer.split is not None
    }
    return seen.test.metadata.name in names


def _last_change(seen: SeenABTest, retriever: Retriever) -> Change | None:
    """The newest move since the test started; the split ended with it."""
    started = seen.test.status.started_at
    changes = [c for c in retriever.status.changes or () if started is None or c.at >= started]
    return changes[-1] if changes else None
