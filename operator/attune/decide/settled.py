"""A version whose gates have been decided: it follows the Retriever's pointer, keeps its collection, and at last goes.

`stage` is derived: the truth is the one pointer, and the quarantine, in Retriever.status. Called by `model_version`.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from attune.api import (
    ModelVersionStatus,
    PromotionResult,
    PromotionStatus,
    RetrieverStatus,
    TestResult,
    VersionStage,
    conditions,
)
from attune.decide import indexing, retirement
from attune.decide.conditions import Said, said
from attune.decide.decision import Decision, Event
from attune.decide.promotion import AUTO, unanswered
from attune.observation import SeenModelVersion

LOOK_AGAIN = timedelta(milliseconds=200)
MOST_EARLIER = 8
Step = tuple[ModelVersionStatus, tuple[Event, ...]]


def decide_settled(seen: SeenModelVersion, now: datetime) -> Decision:
    """Next step of a version that is staged, active, deprecated or failed."""
    status, events = _follow(seen, now)
    if status.retirement is not None:
        decision = retirement.retire(seen, status, now)
    elif (marked := retirement.mark(seen, status, now)) is not None:
        decision = marked
    elif indexing.is_indexed(seen, status):
        decision = indexing.keep_index(seen, status, now)
    else:
        decision = Decision(status=status)
    if _is_due(seen, decision.status):
        decision = replace(decision, requeue_after=LOOK_AGAIN)
    return replace(decision, events=(*events, *decision.events))


def _is_due(seen: SeenModelVersion, status: object) -> bool:
    """Pointed to, and not `active` yet."""
    pointer = seen.retriever.status.of(seen.version.spec.type) if seen.retriever else None
    pointed = pointer is not None and pointer.active == seen.version.metadata.name
    return pointed and isinstance(status, ModelVersionStatus) and status.stage is not VersionStage.ACTIVE


def _follow(seen: SeenModelVersion, now: datetime) -> Step:
    """Stage and answers as the Retriever's status has them."""
    own = seen.version.status.model_copy(update={"observed_generation": seen.version.metadata.generation})
    if seen.retriever is None:
        return own, ()
    status, events = _stage(seen, own, seen.retriever.status, now)
    return status.model_copy(update={"promotion": _promotion(seen, seen.retriever.status)}), events


def _stage(seen: SeenModelVersion, own: ModelVersionStatus, told: RetrieverStatus, now: datetime) -> Step:
    name, kind, generation = seen.version.metadata.name, seen.version.spec.type, seen.version.metadata.generation
    pointer = told.of(kind)
    taken_back = next((q for q in told.quarantined or () if q.version == name), None)
    if pointer is not None and pointer.active == name:
        if own.stage is not VersionStage.ACTIVE and any(v.status.stage is VersionStage.ACTIVE for v in seen.siblings):
            return own, ()  # the one that served before says so first: nobody ever sees two
        promoted: dict[str, Any] = {"promoted_at": pointer.promoted_at or now, "deprecated_at": None}
        active = own.model_copy(update={"stage": VersionStage.ACTIVE, **promoted})
        if conditions.is_true(own.conditions, "RolledBack"):
            active = said(active, Said("RolledBack", False, "Promoted", "promoted again, on request"), generation, now)
            active = active.model_copy(update={"notes": None})
        is_new = own.stage is not VersionStage.ACTIVE
        return active, (Event("Active", f"{name} is the active {kind.value} version"),) if is_new else ()
    notes = f"rolled back: {taken_back.cause}" if taken_back is not None else None
    if taken_back is not None and (own.stage is not VersionStage.FAILED or own.notes != notes):
        failed = own.model_copy(update={"stage": VersionStage.FAILED, "deprecated_at": now, "notes": notes})
        failed = said(failed, Said("RolledBack", True, "RolledBack", taken_back.cause), generation, now)
        return failed, (Event("RolledBack", f"{name} was taken back: {taken_back.cause}", warning=True),)
    lost = next((o for o in told.test_outcomes or () if o.version == name and o.result is TestResult.LOST), None)
    if lost is not None and own.stage is VersionStage.STAGED:
        notes = f"lost test {lost.test}: {lost.message}"
        deprecated = own.model_copy(update={"stage": VersionStage.DEPRECATED, "deprecated_at": now, "notes": notes})
        return deprecated, (Event("Deprecated", notes),)
    if own.stage is VersionStage.ACTIVE:
        return own.model_copy(update={"stage": VersionStage.DEPRECATED, "deprecated_at": now}), ()
    return own, ()


def _earlier(known: PromotionStatus | None) -> tuple[str, ...] | None:
    """The requests that were answered, with the one that is not the newest any more."""
    if known is None or known.handled_request_id in {None, AUTO}:
        return known.earlier_request_ids if known else None
    earlier = [r for r in known.earlier_request_ids or () if r != known.handled_request_id]
    return (*earlier, str(known.handled_request_id))[-MOST_EARLIER:]


def _promotion(seen: SeenModelVersion, told: RetrieverStatus) -> PromotionStatus | None:
    """The newest answer, or what the request waits for."""
    name, known = seen.version.metadata.name, seen.version.status.promotion
    mine = [o for o in told.outcomes or () if o.version == name]
    new = mine[-1] if mine and (known is None or known.handled_request_id != mine[-1].request_id) else None
    if new is not None:
        auto = known.auto if known and new.request_id != AUTO else None
        return PromotionStatus(
            auto=auto,
            handled_request_id=new.request_id,
            earlier_request_ids=_earlier(known),
            result=new.result,
            message=new.message,
        )
    candidate = next((c for c in told.candidates or () if c.version == name and c.test is None), None)
    base = known or PromotionStatus()
    if candidate is not None:
        return base.model_copy(update={"result": PromotionResult.PENDING, "message": candidate.message})
    withdrawn = known is not None and known.result is PromotionResult.PENDING and not known.auto
    if withdrawn and unanswered(seen.version, told) is None:
        return base.model_copy(update={"result": None, "message": None})
    return known
