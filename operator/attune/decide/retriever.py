"""The next step of a Retriever: import version 1 of each model it names, then point to it. Called by `reconcile`."""

from datetime import datetime, timedelta

from attune.api import ModelVersion, Retriever, RetrieverStatus, VersionStage, names
from attune.contract import ModelType
from attune.decide.conditions import Said, said
from attune.decide.decision import NOTHING, Decision, Event
from attune.desired import model_version
from attune.desired.stage_spec import base_model_of
from attune.observation import SeenRetriever


def decide_retriever(seen: SeenRetriever, now: datetime) -> Decision:
    """Next step of a Retriever. Pure: no I/O, no clock."""
    if seen.retriever.metadata.deletion_timestamp is not None:
        return NOTHING
    for model_type in wanted_types(seen.retriever):
        if not _versions(seen, model_type):
            return _import_first(seen, model_type, now)
    return _report(seen, now)


def wanted_types(retriever: Retriever) -> tuple[ModelType, ...]:
    """The types of model this Retriever has."""
    return tuple(t for t in ModelType if base_model_of(retriever, t) is not None)


def _versions(seen: SeenRetriever, model_type: ModelType) -> tuple[ModelVersion, ...]:
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


def _report(seen: SeenRetriever, now: datetime) -> Decision:
    """Point to the first version that is ready where nothing is active yet; one status write for all of it."""
    status, events = seen.retriever.status, []
    for model_type in wanted_types(seen.retriever):
        pointer = status.of(model_type)
        ready = next(
            (v for v in _versions(seen, model_type) if v.status.stage is VersionStage.STAGED and _is_import(v)), None
        )
        if (pointer is None or pointer.active is None) and ready is not None:
            status = status.pointing(model_type, active=ready.metadata.name, promoted_at=now)
            events.append(Event("Activated", f"{ready.metadata.name} is the first active {model_type.value} version"))
    return Decision(status=_conditions(seen, status, now), events=tuple(events))


def _is_import(version: ModelVersion) -> bool:
    return version.spec.source.training_job is None


def _conditions(seen: SeenRetriever, status: RetrieverStatus, now: datetime) -> RetrieverStatus:
    ready, reason, message = _readiness(seen, status)
    generation = seen.retriever.metadata.generation
    status = said(status, Said("Ready", ready, reason, message), generation, now)
    return status.model_copy(update={"observed_generation": generation})


def _readiness(seen: SeenRetriever, status: RetrieverStatus) -> tuple[bool, str, str]:
    active = []
    for model_type in wanted_types(seen.retriever):
        pointer = status.of(model_type)
        if pointer is not None and pointer.active is not None:
            active.append(f"{model_type.value} {pointer.active}")
            continue
        versions = _versions(seen, model_type)
        failed = [v for v in versions if v.status.stage is VersionStage.FAILED]
        if versions and len(failed) == len(versions):
            return (
                False,
                "ImportFailed",
                f"{failed[-1].metadata.name}: {failed[-1].status.notes}; correct it, then delete that ModelVersion to import again",
            )
        return (
            False,
            "Importing",
            f"{versions[0].metadata.name} is {versions[0].status.stage or 'waiting'}"
            if versions
            else "nothing imported",
        )
    return True, "Active", ", ".join(active)
