"""Moving the pointer: the whole new Retriever.status of a promotion, a rollback, a refusal. Pure; called by `retriever`.

One value, written at once: pointer, previous, split, history, answer and quarantine change together or not at all.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from attune.api import (
    Action,
    ActiveModel,
    Candidate,
    Change,
    ModelVersion,
    Outcome,
    PromotionResult,
    Quarantined,
    Retriever,
    RetrieverStatus,
)
from attune.contract import ModelType
from attune.decide import retention
from attune.decide.conditions import Said, said
from attune.decide.rollback import rule
from attune.observation import Count

MOST_CHANGES, MOST_OUTCOMES, MOST_QUARANTINED = 6, 4, 3
CAUSE, ANSWER = 120, 200
"""Characters of a cause in the history, and of an answer: with all lists full, a Retriever stays under 10 kB."""
RESULTS = {Action.PROMOTED: PromotionResult.PROMOTED, Action.ROLLED_BACK: PromotionResult.ROLLED_BACK}


@dataclass(frozen=True, slots=True)
class Move:
    """Which version becomes active, and why."""

    version: ModelVersion
    action: Action
    cause: str
    request_id: str | None = None
    before: Count | None = None
    """How well the version before answered lately, where that could be read."""
    quarantines: bool = True
    """On the way back: what served is not to be trusted any more."""


def moved(retriever: Retriever, versions: tuple[ModelVersion, ...], move: Move, now: datetime) -> RetrieverStatus:
    """The status with another active version; what was under way for this type ends with it."""
    status, kind, name = retriever.status, move.version.spec.type, move.version.metadata.name
    old = status.of(kind) or ActiveModel()
    back = move.action is Action.ROLLED_BACK
    quarantined = tuple(q for q in status.quarantined or () if q.version != name)
    if back and old.active is not None and move.quarantines:
        quarantined = (*quarantined, Quarantined(version=old.active, cause=cut(move.cause, CAUSE), at=now))
    quarantined = quarantined[-MOST_QUARANTINED:]
    previous = old.active
    if back:
        taken_back = {q.version for q in quarantined}
        before = retention.came_from(status, name)
        there = {v.metadata.name for v in versions if retention.could_serve(v)}
        previous = before if before in there - taken_back - {name} else None
    pointer = ActiveModel(active=name, previous=previous, promoted_at=now, **_baseline(move.before))
    change = Change(
        type=kind,
        version=name,
        previous=old.active,
        action=move.action,
        request_id=move.request_id,
        cause=cut(move.cause, CAUSE),
        at=now,
    )
    new = status.model_copy(
        update={
            kind.value: pointer,
            "serving_generation": (status.serving_generation or 0) + 1,
            "changes": (*(status.changes or ()), change)[-MOST_CHANGES:],
            "quarantined": quarantined or None,
            "candidates": _without(status, kind),
        }
    )
    if move.action is Action.PROMOTED and any(c.type == "RolledBack" for c in status.conditions or ()):
        over = Said("RolledBack", False, "Promoted", "a version was promoted since")
        new = said(new, over, retriever.metadata.generation, now)
    if move.request_id is None:
        return new
    outcome = Outcome(
        version=name, request_id=move.request_id, result=RESULTS[move.action], message=cut(move.cause), at=now
    )
    return answered(new, versions, outcome)


def _baseline(before: Count | None) -> dict[str, Any]:
    if before is None:
        return {}
    p99 = rule.quantile(before, 0.99)
    return {
        "baseline_error_rate": round(before.rate, 6),
        "baseline_requests": before.requests,
        "baseline_latency_p99_seconds": round(p99, 6) if p99 is not None else None,
    }


def answered(status: RetrieverStatus, versions: tuple[ModelVersion, ...], outcome: Outcome) -> RetrieverStatus:
    """With one more answer. Those that their versions have taken over make room first, so that no answer is lost."""
    outcomes = [*(status.outcomes or ()), outcome]
    taken = {
        (v.metadata.name, request_id)
        for v in versions
        if (known := v.status.promotion) is not None
        for request_id in (known.handled_request_id, *(known.earlier_request_ids or ()))
    }
    while len(outcomes) > MOST_OUTCOMES:
        outcomes.remove(next((o for o in outcomes if (o.version, o.request_id) in taken), outcomes[0]))
    candidates = tuple(c for c in status.candidates or () if c.version != outcome.version)
    return status.model_copy(update={"outcomes": tuple(outcomes), "candidates": candidates or None})


def with_candidate(status: RetrieverStatus, candidate: Candidate) -> RetrieverStatus:
    """With this version on its way, in place of another one of its type."""
    return status.model_copy(update={"candidates": (*(_without(status, candidate.type) or ()), candidate)})


def without_candidate(status: RetrieverStatus, model_type: ModelType) -> RetrieverStatus:
    """With no version of this type on its way."""
    return status.model_copy(update={"candidates": _without(status, model_type)})


def _without(status: RetrieverStatus, model_type: ModelType) -> tuple[Candidate, ...] | None:
    return tuple(c for c in status.candidates or () if c.type is not model_type) or None


def cut(text: str, most: int = ANSWER) -> str:
    """As long as a bounded list takes."""
    return text if len(text) <= most else text[: most - 1] + "…"
