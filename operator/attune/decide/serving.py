"""How the serving Pods follow: what to apply for them, whether all of them act by it, and the conditions that say so. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from attune.api import ModelVersion, Retriever, RetrieverStatus
from attune.contract import ModelType, ServingConfig
from attune.decide import retention
from attune.decide.conditions import Said, said
from attune.desired import serving as desired
from attune.desired.hosted import ApiKey, keys_of_serving
from attune.desired.stage_spec import place_of
from attune.objects import Manifest, Ref
from attune.observation import SeenReplica, SeenRetriever

EAGER, PATIENT = timedelta(seconds=1), timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Follow:
    """What is to be done for the status as it was written before, and who lags behind it."""

    told: ServingConfig | None
    apply: tuple[Manifest, ...] = ()
    delete: tuple[Ref, ...] = ()
    lagging: tuple[str, ...] = ()
    """A sentence for each replica that does not act by it yet."""
    requeue_after: timedelta | None = None


def follow(seen: SeenRetriever) -> Follow:
    """What the status in the API server asks for, compared with what there is."""
    retriever = seen.retriever
    if not any(pointers(retriever.status)):
        return Follow(None)
    versions = [v for t in ModelType for v in retention.loaded(retriever, seen.versions, t)]
    told = _tellable(retriever, versions)
    wanted = [desired.config_map(retriever, told, seen.replicas)] if told is not None else []
    deploys = retriever.spec.serving.deploy
    if deploys:
        wanted += desired.workload(retriever, seen.serving_image, _keys(seen))
    apply = tuple(m for m in wanted if not desired.is_applied(m, seen.objects.get((m["kind"], m["metadata"]["name"]))))
    delete = () if deploys else tuple(_obsolete(seen))
    lagging = tuple(_lag(replica, told) for replica in seen.replicas if told is not None and not _acts(replica, told))
    missing = deploys and len(seen.replicas) < retriever.spec.serving.replicas
    waits = bool(apply) or bool(lagging) or missing or told is None
    return Follow(told, apply, delete, lagging, (EAGER if apply or _recent(seen) else PATIENT) if waits else None)


def _keys(seen: SeenRetriever) -> tuple[ApiKey, ...]:
    """Of all kept versions that an API answers for, promoted or not: Pods are replaced when one of them is staged, and not again
    when it is promoted, taken back and promoted once more."""
    kept = retention.kept(seen.retriever, seen.versions, ModelType.EMBEDDING)
    return keys_of_serving(v for v in seen.versions if v.metadata.name in kept and v.status.artifact is not None)


def pointers(status: RetrieverStatus) -> Iterator[str]:
    """The versions that are active."""
    for model_type in ModelType:
        pointer = status.of(model_type)
        if pointer is not None and pointer.active is not None:
            yield pointer.active


def is_told_differently(before: RetrieverStatus, after: RetrieverStatus) -> bool:
    """Whether replicas are to be told something else once this is written."""
    fields = ("embedding", "reranker", "serving_generation")
    loads = [{c.version for c in status.candidates or ()} for status in (before, after)]
    return any(getattr(before, f) != getattr(after, f) for f in fields) or loads[0] != loads[1]


def report(seen: SeenRetriever, following: Follow, now: datetime) -> RetrieverStatus:
    """The conditions Serving and IndexReady. Nothing is said of a Retriever that has no active version yet."""
    status, generation = seen.retriever.status, seen.retriever.metadata.generation
    if not any(pointers(status)):
        return status
    status = said(status, _serving(seen, following), generation, now)
    return said(status, _index(seen), generation, now)


def _tellable(retriever: Retriever, versions: list[ModelVersion]) -> ServingConfig | None:
    """None where a version's collection is in another store than the one that is named now: replicas stay with the old one."""
    searched = desired.has_corpus(retriever)
    embeddings = [v for v in versions if v.spec.type is ModelType.EMBEDDING and v.status.index is not None]
    here = [v for v in embeddings if v.status.index and v.status.index.place == place_of(retriever)]
    elsewhere = {v.metadata.name for v in embeddings} - {v.metadata.name for v in here} if searched else set()
    return desired.config(retriever, [v for v in versions if v.metadata.name not in elsewhere])


def _acts(replica: SeenReplica, told: ServingConfig) -> bool:
    report = replica.report
    return (
        report is not None
        and report.generation == told.generation
        and report.config_digest == told.digest()
        and not report.problem
    )


def _lag(replica: SeenReplica, told: ServingConfig) -> str:
    if replica.report is None:
        return f"{replica.name}: {replica.waiting or 'does not answer yet'}"
    if replica.report.problem:
        return f"{replica.name}: {replica.report.problem}"
    behind = f"serves generation {replica.report.generation}, {told.generation} is due"
    return f"{replica.name}: {behind if replica.report.generation != told.generation else 'has not read the newest configuration'}"


def _recent(seen: SeenRetriever) -> bool:
    """Somebody waits: a version is on its way, or a replica answers but lags."""
    return bool(seen.retriever.status.candidates) or any(r.report is not None for r in seen.replicas)


def _serving(seen: SeenRetriever, following: Follow) -> Said:
    retriever, told = seen.retriever, following.told
    if told is None:
        return Said("Serving", False, "NotServable", _not_servable(seen))
    if not seen.replicas and not retriever.spec.serving.deploy:
        where = desired.config_map_name(retriever)
        return Said(
            "Serving", True, "Published", f"ConfigMap {where} has generation {told.generation}; no serving Pod is known"
        )
    wanted = retriever.spec.serving.replicas if retriever.spec.serving.deploy else len(seen.replicas)
    if following.lagging:
        text = f"{len(following.lagging)} of {len(seen.replicas)} replicas lag: {'; '.join(following.lagging[:3])}"
        return Said("Serving", False, "ReplicasLag", text)
    if len(seen.replicas) < wanted:
        return Said("Serving", False, "ReplicasMissing", f"{len(seen.replicas)} of {wanted} replicas are there")
    count = len(seen.replicas)
    who = "1 replica serves" if count == 1 else f"{count} replicas serve"
    return Said("Serving", True, "AllFollow", f"{who} generation {told.generation}")


def _not_servable(seen: SeenRetriever) -> str:
    """Which active version cannot be described to replicas, and why. They go on with what they have."""
    known = {v.metadata.name: v for v in seen.versions}
    for name in pointers(seen.retriever.status):
        if name not in known:
            return f"ModelVersion {name} was deleted; replicas go on with what they have. Promote another version"
        index = known[name].status.index
        if desired.served(known[name], seen.retriever) is None or (
            index is not None and index.place != place_of(seen.retriever)
        ):
            return f"{name}: its collection is not complete in the store that spec.index names; replicas go on with the old one"
    return "a version that is to be loaded cannot be described; replicas go on with what they have"


def _index(seen: SeenRetriever) -> Said:
    pointer = seen.retriever.status.of(ModelType.EMBEDDING)
    version = next((v for v in seen.versions if pointer and v.metadata.name == pointer.active), None)
    if not desired.has_corpus(seen.retriever):
        return Said("IndexReady", False, "NoArchive", "spec.data.archive is not set: there is nothing to search")
    index = version.status.index if version else None
    if index is None or index.place != place_of(seen.retriever):
        return Said(
            "IndexReady", False, "Incomplete", "the active version has no complete collection in spec.index's store"
        )
    return Said("IndexReady", True, "Complete", f"{index.documents:,} documents in {index.collection}")


def _obsolete(seen: SeenRetriever) -> Iterator[Ref]:
    """What was deployed while serving.deploy was true; only what is ours."""
    meta = seen.retriever.metadata
    for version, kind, name in desired.workload_keys(seen.retriever):
        found = seen.objects.get((kind, name))
        owners = found["metadata"].get("ownerReferences") or () if found else ()
        if found and any(o.get("uid") == meta.uid for o in owners):
            yield Ref(version, kind, meta.namespace, name, found["metadata"]["uid"])
