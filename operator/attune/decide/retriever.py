"""The next step of a Retriever: import version 1 of each model, move the pointers, keep what serves them up to date.

The order of things is the order of safety: what replicas are told (ConfigMap) follows what was written in status, never
what is about to be written. Called by `reconcile`.
"""

from datetime import datetime, timedelta

from attune.api import (
    Action,
    Candidate,
    ModelVersion,
    Outcome,
    PromotionResult,
    Retriever,
    RetrieverStatus,
    VersionStage,
    names,
)
from attune.contract import ModelType
from attune.decide import pointer, promotion, serving
from attune.decide.conditions import Said, said
from attune.decide.decision import NOTHING, Decision, Event
from attune.decide.experiment import splitting
from attune.decide.gates import Problem
from attune.decide.pointer import Move
from attune.decide.promotion import Request
from attune.decide.rollback import reporting, watch, watching, way_back
from attune.decide.schedule import default
from attune.desired import model_version
from attune.desired.stage_spec import base_model_of
from attune.objects import Manifest
from attune.observation import SeenRetriever

Step = tuple[RetrieverStatus, tuple[Event, ...]]
SOON = timedelta(seconds=1)


def decide_retriever(seen: SeenRetriever, now: datetime) -> Decision:
    """Next step of a Retriever. Pure: no I/O, no clock."""
    if seen.retriever.metadata.deletion_timestamp is not None:
        return NOTHING
    for model_type in wanted_types(seen.retriever):
        if not versions_of(seen, model_type):
            return _import_first(seen, model_type, now)
    before = seen.retriever.status
    status = before
    events: tuple[Event, ...] = ()
    for model_type in ModelType:
        status, told = _step(seen.with_status(status), model_type, now)
        events = (*events, *told)
    moving = serving.is_told_differently(before, status)
    following = _told(seen.with_status(status)) if moving else ()
    if seen.hasty:
        return Decision(status=status, follow=following, events=events, requeue_after=timedelta())
    follow = serving.follow(seen)
    status = serving.report(seen.with_status(status), follow, now)
    status, told = reporting.report(seen.with_status(status), now)
    status = _readiness(seen.with_status(status), now)
    schedules = default.wanted(seen)
    return Decision(
        status=status,
        apply=follow.apply,
        ensure=schedules,
        delete=follow.delete,
        follow=following,
        events=(*events, *told, *default.told(schedules)),
        requeue_after=timedelta() if moving else _pause(seen.with_status(status), follow.requeue_after, now),
    )


def _told(seen: SeenRetriever) -> tuple[Manifest, ...]:
    """The ConfigMap for a status that is about to be written, so that replicas need not wait for the next look."""
    return tuple(m for m in serving.follow(seen).apply if m["kind"] == "ConfigMap")


def _pause(seen: SeenRetriever, following: timedelta | None, now: datetime) -> timedelta | None:
    """Until the next look."""
    watched = any(watching.watch_of(seen.retriever, t, now) for t in ModelType)
    watched = watched or reporting.guards_are_open(seen)
    pauses = (SOON if seen.retriever.status.candidates else following, watching.EVERY if watched else None)
    return min((p for p in pauses if p is not None), default=None)


def wanted_types(retriever: Retriever) -> tuple[ModelType, ...]:
    """The types of model this Retriever has."""
    return tuple(t for t in ModelType if base_model_of(retriever, t) is not None)


def versions_of(seen: SeenRetriever, model_type: ModelType) -> tuple[ModelVersion, ...]:
    """Its versions of a type, oldest first."""
    return tuple(sorted((v for v in seen.versions if v.spec.type is model_type), key=lambda v: v.spec.version))


def _import_first(seen: SeenRetriever, model_type: ModelType, now: datetime) -> Decision:
    """Creating the ModelVersion reserves the number; names are shared by the Retrievers of a namespace."""
    base = base_model_of(seen.retriever, model_type)
    assert base is not None
    number = 1
    while names.version_name(model_type, number, now.date()) in seen.taken_names:
        number += 1
    manifest = model_version.imported(seen.retriever, model_type, base, number, now)
    message = f"importing {base} as {manifest['metadata']['name']}"
    return Decision(create=(manifest,), events=(Event("Importing", message),), requeue_after=timedelta())


# ---- one type


def _step(seen: SeenRetriever, model_type: ModelType, now: datetime) -> Step:
    """The pointer of one type: the first version, then one request after the other."""
    active = seen.retriever.status.of(model_type)
    if active is None or active.active is None:
        return _first(seen, model_type, now)
    status, events = watch.step(seen, model_type, now)
    if status != seen.retriever.status:
        return status, events
    request = promotion.next_request(seen, model_type)
    if request is None:
        return _none_asked(seen, model_type, now)
    if active.split is not None and (request.request_id == promotion.AUTO or promotion.wait_of(request) is not None):
        status, events = splitting.step(seen, model_type, now)
        if status != seen.retriever.status:
            return status, events  # a test that ends does not wait for a request that waits
    if request.name == active.active:
        return _answer(seen, request, PromotionResult.PROMOTED, Problem("Active", f"{request.name} is active"), now)
    if problem := promotion.problem_of(request):
        return _answer(seen, request, PromotionResult.REFUSED, problem, now)
    return _advance(seen, request, now)


def _first(seen: SeenRetriever, model_type: ModelType, now: datetime) -> Step:
    """Nothing is active: an import that is ready becomes it, without being asked and without waiting for replicas."""
    for version in versions_of(seen, model_type):
        request = Request(version, promotion.AUTO, seen, None)
        importing = version.spec.source.training_job is None
        ready = version.status.stage is VersionStage.STAGED and promotion.wait_of(request) is None
        if importing and ready and promotion.problem_of(request) is None:
            move = Move(version, Action.IMPORTED, f"imported from {version.spec.base_model}")
            status = pointer.moved(seen.retriever, seen.versions, move, now)
            told = Event("Activated", f"{version.metadata.name} is the first active {model_type.value} version")
            return status, (told,)
    return seen.retriever.status, ()


def _none_asked(seen: SeenRetriever, model_type: ModelType, now: datetime) -> Step:
    """A candidate whose request was taken away is no candidate any more; then it is the tests' turn."""
    candidate = seen.retriever.status.candidate(model_type)
    if candidate is None or splitting.is_testing(candidate):
        return splitting.step(seen, model_type, now)
    if candidate.request_id == promotion.RETURN:
        return way_back.returning(seen, candidate, now)
    told = Event("PromotionWithdrawn", f"{candidate.version}: request {candidate.request_id} was taken back")
    return pointer.without_candidate(seen.retriever.status, model_type), (told,)


def _answer(seen: SeenRetriever, request: Request, result: PromotionResult, why: Problem, now: datetime) -> Step:
    """Answered without a move of the pointer."""
    refused = result is PromotionResult.REFUSED
    message = f"{why.reason}: {why.message}" if refused else why.message
    outcome = Outcome(
        version=request.name, request_id=request.request_id, result=result, message=pointer.cut(message), at=now
    )
    events = (Event("PromotionRefused", f"{request.name} (request {request.request_id}): {message}", warning=True),)
    return pointer.answered(seen.retriever.status, seen.versions, outcome), events if refused else ()


def _advance(seen: SeenRetriever, request: Request, now: datetime) -> Step:
    """No gate is closed: go back at once, or go forward when every replica is ready."""
    status = seen.retriever.status
    if request.is_rollback:
        cause = Problem("ByHand", f"by hand, request {request.request_id}")
        return way_back.rolled_back(seen, way_back.Back(request.version, cause, request.request_id), now)
    waiting = promotion.wait_of(request)
    known = status.candidate(request.version.spec.type)
    ours = known is not None and (known.version, known.request_id) == (request.name, request.request_id)
    if ours and waiting is None:
        return _promote(seen, request, now)
    candidate = Candidate(
        type=request.version.spec.type,
        version=request.name,
        request_id=request.request_id,
        since=known.since if ours and known else now,
        message=pointer.cut(waiting or "replicas are told to load it", pointer.CAUSE),
    )
    events = (
        () if ours else (Event("Promoting", f"{request.name} (request {request.request_id}): {candidate.message}"),)
    )
    return pointer.with_candidate(status, candidate), events


def _promote(seen: SeenRetriever, request: Request, now: datetime) -> Step:
    replicas = len(seen.replicas)
    asked = "by itself (autoPromote)" if request.request_id == promotion.AUTO else f"request {request.request_id}"
    cause = f"{asked}; loaded and verified by {replicas} replica{'' if replicas == 1 else 's'}"
    before_it = watch.before_promotion(seen, request.version.spec.type)
    move = Move(request.version, Action.PROMOTED, cause, request.request_id, before_it)
    before = request.active.metadata.name if request.active else "nothing"
    told = Event("Promoted", f"{before} → {request.name}: {cause}")
    return pointer.moved(seen.retriever, seen.versions, move, now), (told,)


# ---- what `kubectl get` says


def _readiness(seen: SeenRetriever, now: datetime) -> RetrieverStatus:
    ready, reason, message = _ready(seen)
    generation = seen.retriever.metadata.generation
    status = said(seen.retriever.status, Said("Ready", ready, reason, message), generation, now)
    return status.model_copy(update={"observed_generation": generation})


def _ready(seen: SeenRetriever) -> tuple[bool, str, str]:
    status, active = seen.retriever.status, []
    for model_type in wanted_types(seen.retriever):
        now_active = status.of(model_type)
        if now_active is not None and now_active.active is not None:
            active.append(f"{model_type.value} {now_active.active}")
            continue
        return False, *_import_state(versions_of(seen, model_type))
    serves = next((c for c in status.conditions or () if c.type == "Serving"), None)
    if seen.retriever.spec.serving.deploy and (serves is None or serves.status != "True"):
        return False, serves.reason if serves else "NotServing", serves.message if serves else "no serving Pod yet"
    return True, "Active", ", ".join(active)


def _import_state(versions: tuple[ModelVersion, ...]) -> tuple[str, str]:
    failed = [v for v in versions if v.status.stage is VersionStage.FAILED]
    if versions and len(failed) == len(versions):
        last = failed[-1]
        return (
            "ImportFailed",
            f"{last.metadata.name}: {last.status.notes}; correct it, then delete that ModelVersion to import again",
        )
    if not versions:
        return "Importing", "nothing imported"
    first = versions[0]
    if first.status.stage is VersionStage.STAGED:
        indexing = first.status.indexing
        if indexing is not None and indexing.finished_at is not None and first.status.index is None:
            return "IndexFailed", f"{first.metadata.name}: {indexing.reason}: {indexing.message}"
        return "Indexing", f"{first.metadata.name}: its index is being built"
    return "Importing", f"{first.metadata.name} is {first.status.stage or 'waiting'}"
