"""Which versions are kept, which are loaded by servers, and which may be deleted. Pure rules of frozen values.

Called by `serving` (what to load), `upkeep` (what to delete) and `promotion` (where a rollback leads).
"""

from collections.abc import Iterable

from attune.api import ModelVersion, Retriever, RetrieverStatus, VersionStage
from attune.contract import ModelType

SERVABLE = frozenset({VersionStage.STAGED, VersionStage.ACTIVE, VersionStage.DEPRECATED})


def pointed_to(status: RetrieverStatus, model_type: ModelType) -> frozenset[str]:
    """Names that the Retriever holds on to: active, previous, the challenger of a test, the candidate."""
    pointer, candidate = status.of(model_type), status.candidate(model_type)
    names = {candidate.version} if candidate else set()
    if pointer is not None:
        names |= {n for n in (pointer.active, pointer.previous) if n is not None}
        names |= {pointer.split.challenger} if pointer.split else set()
    return frozenset(names)


def kept(retriever: Retriever, versions: Iterable[ModelVersion], model_type: ModelType) -> frozenset[str]:
    """Names of the versions of a type to keep: those pointed to, and the newest `history.keepVersions` that could serve."""
    newest = {v.metadata.name for v in _newest(retriever, versions, model_type)}
    return frozenset(newest) | pointed_to(retriever.status, model_type)


def _newest(retriever: Retriever, versions: Iterable[ModelVersion], model_type: ModelType) -> list[ModelVersion]:
    """The newest `history.keepVersions` versions that could serve."""
    able = [v for v in versions if v.spec.type is model_type and could_serve(v)]
    return sorted(able, key=lambda v: v.spec.version, reverse=True)[: retriever.spec.history.keep_versions]


def loaded(retriever: Retriever, versions: Iterable[ModelVersion], model_type: ModelType) -> tuple[ModelVersion, ...]:
    """What every replica holds in memory: all that is pointed to, and each kept version that has served, to be back at once."""
    known = tuple(v for v in versions if v.spec.type is model_type)
    holding, keeping = pointed_to(retriever.status, model_type), kept(retriever, known, model_type)
    return tuple(
        v
        for v in known
        if v.metadata.name in holding
        or (
            v.metadata.name in keeping
            and could_serve(v)
            and v.status.promoted_at is not None
            and not retriever.status.is_quarantined(v.metadata.name)
        )
    )


def could_serve(version: ModelVersion) -> bool:
    """It passed its gates, was not taken back, and is still there."""
    status = version.status
    return status.stage in SERVABLE and status.retirement is None and version.metadata.deletion_timestamp is None


def expendable(version: ModelVersion, retriever: Retriever, siblings: Iterable[ModelVersion]) -> str | None:
    """Why this version's artifact and collection may be deleted; None: they may not.

    Never one that is pointed to, that somebody asks for, that still runs its stages, or whose files another one names.
    """
    status, name = version.status, version.metadata.name
    others = tuple(siblings)
    asked = version.spec.promotion.request_id if version.spec.promotion else None
    answered = asked is None or (status.promotion is not None and status.promotion.answered(asked))
    finished = status.stage in {VersionStage.STAGED, VersionStage.DEPRECATED, VersionStage.FAILED}
    if not finished or status.artifact is None or not answered:
        return None
    keeping = kept(retriever, (version, *others), version.spec.type)
    if name in keeping or any(v.spec.artifact.uri == version.spec.artifact.uri for v in others):
        return None
    newest = _newest(retriever, others, version.spec.type)
    if status.stage is VersionStage.FAILED and any(v.spec.version < version.spec.version for v in newest):
        return None  # what failed lately may still be looked at
    if not newest and retriever.status.of(version.spec.type) is None:
        return None
    limit = retriever.spec.history.keep_versions
    return f"older than the {limit} kept versions of type {version.spec.type.value} (history.keepVersions)"


def came_from(status: RetrieverStatus, version: str) -> str | None:
    """The version that this one took over from when it was promoted, as far as the history remembers."""
    changes = [c for c in status.changes or () if c.version == version and c.action.value != "RolledBack"]
    return changes[-1].previous if changes else None
