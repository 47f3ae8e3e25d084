"""The way back as one write: pointer, quarantine, split, candidate and cause together; by hand and by itself. Pure.

Called by `watch` for what is taken back by itself, and by `retriever` for a request of somebody.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from attune.api import Action, Candidate, ModelVersion, Outcome, PromotionResult, RetrieverStatus
from attune.contract import ModelType
from attune.decide import pointer, promotion, retention
from attune.decide.conditions import Said, said
from attune.decide.decision import Event
from attune.decide.gates import Problem
from attune.decide.pointer import Move
from attune.decide.promotion import RETURN, Request
from attune.observation import SeenRetriever

Step = tuple[RetrieverStatus, tuple[Event, ...]]
CONDITION = "RolledBack"
NOWHERE = "NothingToReturnTo"


@dataclass(frozen=True, slots=True)
class Back:
    """Where to, and why."""

    version: ModelVersion
    cause: Problem
    request_id: str | None = None


def rolled_back(seen: SeenRetriever, back: Back, now: datetime) -> Step:
    """One write. A promotion under way is refused in it, and a running test of this type ends."""
    status, kind, name = seen.retriever.status, back.version.spec.type, back.version.metadata.name
    active = status.of(kind)
    before = active.active if active and active.active else "nothing"
    cause = back.cause.message
    if active is not None and active.split is not None:
        cause += f"; ends test {active.split.test} of {active.split.challenger}"
    move = Move(back.version, Action.ROLLED_BACK, cause, back.request_id)
    new = pointer.moved(seen.retriever, seen.versions, move, now)
    candidate = status.candidate(kind)
    if candidate is not None and candidate.test is None and candidate.version != name:
        why = f"Superseded: {before} was rolled back to {name} meanwhile; ask again with a new requestID"
        new = pointer.answered(new, seen.versions, _refused(candidate, why, now))
    index = back.version.status.index
    told = f"{before} → {name}{f', collection {index.collection}' if index else ''}: {cause}"
    new = said(new, Said(CONDITION, True, back.cause.reason, told), seen.retriever.metadata.generation, now)
    return new, (Event("RolledBack", told, warning=True),)


def taken_back(seen: SeenRetriever, model_type: ModelType, cause: Problem, now: datetime) -> Step:
    """By itself: to the version before, or the best there is. If nothing is there to return to, that is said, once."""
    wanted, able = _previous(seen, model_type), next(_able(seen, model_type), None)
    if able is None:
        return _nowhere(seen, model_type, cause, now) if wanted is None else _waits_for(seen, wanted, cause, now)
    if wanted is None or able.metadata.name == wanted.metadata.name:
        return rolled_back(seen, Back(able, cause), now)
    name = wanted.metadata.name
    told = Problem(
        cause.reason,
        f"{cause.message}; {name} has no collection now: {able.metadata.name} serves until it is built again",
    )
    status, events = rolled_back(seen, Back(able, told), now)
    return pointer.with_candidate(
        status, _returning(wanted, f"its collection is built again: {cause.message}", now)
    ), events


def returning(seen: SeenRetriever, candidate: Candidate, now: datetime) -> Step:
    """The version that a rollback was to lead to: it serves as soon as its collection is there again."""
    status, kind = seen.retriever.status, candidate.type
    version = next((v for v in seen.versions if v.metadata.name == candidate.version), None)
    active = status.of(kind)
    if version is None or not retention.could_serve(version) or active is None:
        told = Event("RollbackWithdrawn", f"{candidate.version} cannot serve any more", warning=True)
        return pointer.without_candidate(status, kind), (told,)
    current = next((v for v in seen.versions if v.metadata.name == active.active), None)
    request = Request(version, RETURN, seen, current, for_test=True)
    if promotion.problem_of(request) is not None or promotion.wait_of(request) is not None:
        return status, ()
    cause = candidate.message or "a rollback"
    gone = any(
        c.type is kind and c.action is Action.ROLLED_BACK and c.at >= candidate.since for c in status.changes or ()
    )
    if not gone:
        said_before = next((c.reason for c in status.conditions or () if c.type == CONDITION), "Returned")
        return rolled_back(seen, Back(version, Problem(said_before, cause)), now)
    move = Move(version, Action.ROLLED_BACK, f"the end of a rollback: {cause}", quarantines=False)
    return pointer.moved(seen.retriever, seen.versions, move, now), (
        Event("Returned", f"→ {candidate.version}: {cause}"),
    )


def _previous(seen: SeenRetriever, model_type: ModelType) -> ModelVersion | None:
    """The version that served before, if it could again."""
    active = seen.retriever.status.of(model_type)
    name = active.previous if active else None
    found = next((v for v in seen.versions if v.metadata.name == name), None)
    return found if found is not None and _is_trusted(seen, found) else None


def _able(seen: SeenRetriever, model_type: ModelType) -> Iterator[ModelVersion]:
    """Versions that can answer at once, best first: the one before, then those that served last."""
    previous = _previous(seen, model_type)
    served = [
        v
        for v in seen.versions
        if v.spec.type is model_type and v.status.promoted_at is not None and _is_trusted(seen, v)
    ]
    served.sort(key=lambda v: (v.status.promoted_at, v.spec.version), reverse=True)
    for version in ([previous] if previous else []) + [v for v in served if v is not previous]:
        request = Request(version, RETURN, seen, None, for_test=True)
        if promotion.index_complete(request) and promotion.problem_of(request) is None:
            yield version


def _is_trusted(seen: SeenRetriever, version: ModelVersion) -> bool:
    """It passed its gates, is kept, and was neither taken back nor is the one that is."""
    active = seen.retriever.status.of(version.spec.type)
    is_active = active is not None and active.active == version.metadata.name
    return (
        not is_active
        and retention.could_serve(version)
        and not seen.retriever.status.is_quarantined(version.metadata.name)
    )


def _nowhere(seen: SeenRetriever, model_type: ModelType, cause: Problem, now: datetime) -> Step:
    """That there is no version to return to; once for each version."""
    status = seen.retriever.status
    active = status.of(model_type)
    name = active.active if active else None
    known = next((c for c in status.conditions or () if c.type == CONDITION), None)
    if known is not None and known.reason == NOWHERE and name is not None and known.message.startswith(f"{name} "):
        return status, ()
    told = f"{name} should be taken back, and no version is left to return to; promote another one. {cause.reason}: {cause.message}"
    new = said(status, Said(CONDITION, False, NOWHERE, told), seen.retriever.metadata.generation, now)
    return new, (Event(NOWHERE, told, warning=True),)


def _waits_for(seen: SeenRetriever, wanted: ModelVersion, cause: Problem, now: datetime) -> Step:
    """The only version to return to has no collection: it is built again, and until then the active one goes on."""
    status, kind = seen.retriever.status, wanted.spec.type
    known = status.candidate(kind)
    if known is not None and known.request_id == RETURN:
        return status, ()
    told = f"{wanted.metadata.name} has no collection now and is indexed again; until then the active version goes on: {cause.message}"
    new = pointer.with_candidate(status, _returning(wanted, cause.message, now))
    if known is not None and known.test is None:
        new = pointer.answered(
            new, seen.versions, _refused(known, f"Superseded: a rollback to {wanted.metadata.name} is under way", now)
        )
    new = said(new, Said(CONDITION, False, cause.reason, told), seen.retriever.metadata.generation, now)
    return new, (Event("RollingBack", told, warning=True),)


def _returning(version: ModelVersion, cause: str, now: datetime) -> Candidate:
    return Candidate(
        type=version.spec.type,
        version=version.metadata.name,
        request_id=RETURN,
        since=now,
        message=pointer.cut(cause, pointer.CAUSE),
    )


def _refused(candidate: Candidate, why: str, now: datetime) -> Outcome:
    return Outcome(
        version=candidate.version,
        request_id=candidate.request_id,
        result=PromotionResult.REFUSED,
        message=pointer.cut(why),
        at=now,
    )
