"""The collection of an embedding version: when it is built, kept up to date, shared. Called by `model_version`.

A version that passed its gates gets its collection at once, so that its promotion is a matter of seconds. Versions of one
embedding space (method queryOnly) share one; the oldest of them keeps it up to date, the others take over what it says.
"""

from datetime import datetime, timedelta
from typing import Any

from attune.api import IndexStatus, ModelVersion, ModelVersionStatus, Retriever, StageRun, names, parse_duration
from attune.contract import ModelType, Stage, StageResult
from attune.decide import retention, upkeep
from attune.decide.conditions import Said, said
from attune.decide.decision import Decision, Event
from attune.decide.promotion import RETURN
from attune.desired import stage_spec
from attune.desired.serving import has_corpus
from attune.observation import SeenModelVersion

LOOK_AT_OTHERS = timedelta(seconds=5)


def is_indexed(seen: SeenModelVersion, status: ModelVersionStatus) -> bool:
    """Whether this version has, or is to have, a collection."""
    version = seen.version.model_copy(update={"status": status})
    return (
        seen.retriever is not None
        and has_corpus(seen.retriever)
        and version.spec.type is ModelType.EMBEDDING
        and status.artifact is not None
        and retention.could_serve(version)
    )


def keep_index(seen: SeenModelVersion, status: ModelVersionStatus, now: datetime) -> Decision:
    """The next step for the collection; `status` is what the version's status is otherwise to be."""
    retriever = seen.retriever
    assert retriever is not None
    status = _here(status, retriever)
    leader = _leader(seen)
    if leader.metadata.name != seen.version.metadata.name:
        return _taken_over(seen, status, _here(leader.status, retriever), leader.metadata.name, now)
    every = parse_duration(retriever.spec.index.refresh_interval)
    wait = upkeep.due_again(status.indexing, status.index.refreshed_at if status.index else None, every, now)
    under_way = status.indexing is not None and status.indexing.finished_at is None
    if _is_wanted_back(seen, status):
        wait = timedelta()
    moved = status.index is None and status.indexing is not None and status.indexing.reason is None
    if wait > timedelta() and not under_way and not moved:
        return Decision(status=status, requeue_after=wait)
    collection = names.collection_name(
        retriever.metadata.name, retriever.metadata.uid, status.embedding_space or seen.version.metadata.name
    )
    version = seen.version.model_copy(update={"status": status})
    work = upkeep.of_version(
        seen, Stage.INDEX, status.indexing, lambda: stage_spec.for_index(version, retriever, collection)
    )
    return _decided(seen, status, upkeep.look(work, seen.stage_jobs, seen.defaults, now), now)


def _is_wanted_back(seen: SeenModelVersion, status: ModelVersionStatus) -> bool:
    """A rollback is to lead here, and replicas did not find the collection: it is built again, whatever is noted of it."""
    candidate = seen.retriever.status.candidate(seen.version.spec.type) if seen.retriever else None
    if candidate is None or (candidate.version, candidate.request_id) != (seen.version.metadata.name, RETURN):
        return False
    built = status.indexing.finished_at if status.indexing else None
    return built is None or built < candidate.since


def _leader(seen: SeenModelVersion) -> ModelVersion:
    """Which version builds the collection that all versions of this embedding space share: the oldest that can serve."""
    space = seen.version.status.embedding_space
    sharing = [v for v in seen.siblings if retention.could_serve(v) and space in {v.status.embedding_space} - {None}]
    return min((seen.version, *sharing), key=lambda v: v.spec.version)


def _here(status: ModelVersionStatus, retriever: Retriever) -> ModelVersionStatus:
    """A collection in a store that the Retriever does not name any more is none."""
    if status.index is None or status.index.place == stage_spec.place_of(retriever):
        return status
    return status.model_copy(update={"index": None})


def _taken_over(
    seen: SeenModelVersion, status: ModelVersionStatus, leading: ModelVersionStatus, leader: str, now: datetime
) -> Decision:
    generation = seen.version.metadata.generation
    if leading.index is None:
        waits = Said("IndexReady", False, "Waiting", f"{leader} has the same embedding space and builds the collection")
        return Decision(status=said(status, waits, generation, now), requeue_after=LOOK_AT_OTHERS)
    shared = status.model_copy(update={"index": leading.index})
    what = f"{leading.index.documents:,} documents in {leading.index.collection}, shared with {leader}: one embedding space"
    every = parse_duration(seen.retriever.spec.index.refresh_interval) if seen.retriever else LOOK_AT_OTHERS
    return Decision(status=said(shared, Said("IndexReady", True, "Shared", what), generation, now), requeue_after=every)


def _decided(
    seen: SeenModelVersion, status: ModelVersionStatus, look: upkeep.Look[StageRun], now: datetime
) -> Decision:
    assert seen.retriever is not None
    update: dict[str, Any] = {"indexing": look.run}
    events: tuple[Event, ...] = ()
    ready: Said | None = None
    if look.result is not None and look.result.index is not None:
        update["index"] = _complete(status, look.result, seen.retriever, now)
        ready = Said("IndexReady", True, "Complete", look.result.message)
        first = status.index is None
        if first or look.result.index.embedded or look.result.index.removed:
            events = (Event("IndexReady" if first else "IndexRefreshed", look.result.message),)
    elif look.failed:
        events = (Event("IndexFailed", look.told, warning=True),)
        if status.index is None:
            ready = Said("IndexReady", False, look.run.reason or "IndexFailed", look.run.message or look.told)
    elif status.index is None:
        percent = look.run.progress.percent if look.run.progress else None
        done = f": {percent:.0f}%" if percent is not None else ""
        why = look.told or look.run.message or f"run {look.run.run} of the index stage{done}"
        ready = Said("IndexReady", False, "Building", why)
    if look.create:
        events = (Event("StageStarted", f"index: Job {look.create[0]['metadata']['name']} created"),)
    status = status.model_copy(update=update)
    if ready is not None:
        status = said(status, ready, seen.version.metadata.generation, now)
    return Decision(
        status=status,
        apply=look.apply,
        create=look.create,
        delete=look.delete,
        events=events,
        requeue_after=look.requeue_after,
    )


def _complete(status: ModelVersionStatus, result: StageResult, retriever: Retriever, now: datetime) -> IndexStatus:
    summary = result.index
    assert summary is not None
    return IndexStatus(
        collection=summary.collection,
        documents=summary.documents,
        digest=summary.digest,
        embedding_space=status.embedding_space,
        place=stage_spec.place_of(retriever),
        built_at=status.index.built_at if status.index else now,
        refreshed_at=now,
    )
