"""The end of a version: marked first, then its artifact and its collection are deleted by a retire stage. Called by `model_version`.

Two steps, because two objects are involved. The mark is a write to this version at the revision that was read, so it is lost
if somebody asked for the version in between; the Retriever never points to a marked one; and the Job is made only at a
later look that finds it still unneeded.
"""

from datetime import datetime, timedelta

from attune.api import ModelVersionStatus, Retirement, VersionStage
from attune.contract import ModelType, RetireWork, Stage
from attune.decide import retention, upkeep
from attune.decide.conditions import Said, said
from attune.decide.decision import NOTHING, Decision, Event
from attune.desired import stage_spec
from attune.desired.serving import has_corpus
from attune.observation import SeenModelVersion


def mark(seen: SeenModelVersion, status: ModelVersionStatus, now: datetime) -> Decision | None:
    """The mark, where this version is not kept; None where it stays."""
    version = seen.version.model_copy(update={"status": status})
    why = retention.expendable(version, seen.retriever, seen.siblings) if seen.retriever else None
    if why is None:
        return None
    update: dict[str, object] = {"retirement": Retirement(state="Retiring", cause=why, at=now)}
    if status.stage is VersionStage.STAGED:
        update |= {"stage": VersionStage.DEPRECATED, "deprecated_at": now}
    marked = status.model_copy(update=update)
    return Decision(
        status=marked, events=(Event("Retiring", f"{version.metadata.name}: {why}"),), requeue_after=timedelta()
    )


def retire(seen: SeenModelVersion, status: ModelVersionStatus, now: datetime) -> Decision:
    """The next step of a marked version: delete, unless it came into use before anything was deleted."""
    retirement, retriever = status.retirement, seen.retriever
    if retirement is None or retriever is None or retirement.state == "Retired":
        return Decision(status=status) if status != seen.version.status else NOTHING
    unmarked = seen.version.model_copy(update={"status": status.model_copy(update={"retirement": None})})
    if status.retiring is None and retention.expendable(unmarked, retriever, seen.siblings) is None:
        return Decision(
            status=unmarked.status, events=(Event("Kept", "it is in use again"),), requeue_after=timedelta()
        )
    wait = upkeep.due_again(status.retiring, None, upkeep.RETRY_AFTER, now)
    if wait > timedelta():
        return Decision(status=status, requeue_after=wait)
    work = upkeep.of_version(
        seen,
        Stage.RETIRE,
        status.retiring,
        lambda: stage_spec.for_retirement(seen.version, retriever, _work(seen, status)),
    )
    look = upkeep.look(work, seen.stage_jobs, seen.defaults, now)
    if look.result is not None:
        return _retired(seen, status.model_copy(update={"retiring": look.run}), look.result.message, now)
    events = (Event("RetireFailed", look.told, warning=True),) if look.failed else ()
    return Decision(
        status=status.model_copy(update={"retiring": look.run}),
        apply=look.apply,
        create=look.create,
        delete=look.delete,
        events=events,
        requeue_after=look.requeue_after,
    )


def _work(seen: SeenModelVersion, status: ModelVersionStatus) -> RetireWork:
    """A collection that another version shares stays; it goes with the last one."""
    assert seen.retriever is not None
    collections = (status.index.collection,) if status.index else ()
    shared = {v.status.index.collection for v in seen.siblings if v.status.index and v.status.retirement is None}
    searched = seen.version.spec.type is ModelType.EMBEDDING and has_corpus(seen.retriever)
    return RetireWork(
        index=stage_spec.index_spec(seen.retriever) if searched else None,
        collections=tuple(c for c in collections if c not in shared),
        artifacts=(seen.version.spec.artifact.uri,),
    )


def _retired(seen: SeenModelVersion, status: ModelVersionStatus, message: str, now: datetime) -> Decision:
    assert status.retirement is not None
    done = status.model_copy(
        update={"retirement": status.retirement.model_copy(update={"state": "Retired"}), "index": None}
    )
    generation = seen.version.metadata.generation
    done = said(done, Said("ArtifactVerified", False, "ArtifactDeleted", message), generation, now)
    if seen.version.spec.type is ModelType.EMBEDDING:
        done = said(done, Said("IndexReady", False, "ArtifactDeleted", message), generation, now)
    return Decision(status=done, events=(Event("Retired", message),))
