"""Step one of the loop: gather everything one decision needs into a frozen value. Reads only; a missing object is None."""

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime

from pydantic import ValidationError

from attune.api import ABTest, ModelVersion, Phase, Retriever, TrainingJob, VersionStage, kinds, labels
from attune.cluster.protocol import Cluster, Manifest, Ref
from attune.contract import ModelType
from attune.desired.stage_spec import VERSION_PREFIX
from attune.observation import (
    Defaults,
    SeenJob,
    SeenModelVersion,
    SeenTrainingJob,
    seen_job,
)
from attune.observation.jobs import CONTAINER, reporting_pod

JOB_NAME = "batch.kubernetes.io/job-name"
LOG_LINES = 30
SETTLED = frozenset({VersionStage.STAGED, VersionStage.ACTIVE, VersionStage.DEPRECATED, VersionStage.FAILED})


async def observe_training_job(cluster: Cluster, raw: Manifest, defaults: Defaults, _now: datetime) -> SeenTrainingJob:
    """Everything a TrainingJob's next step depends on."""
    job = TrainingJob.model_validate(raw)
    namespace = job.metadata.namespace
    if job.status.phase in {Phase.SUCCEEDED, Phase.FAILED}:
        return SeenTrainingJob(
            job=job, defaults=defaults, version=await read_version(cluster, namespace, job.status.model_version)
        )
    retriever = await read_retriever(cluster, namespace, job.spec.retriever)
    version, everyone = await _own_version(cluster, job)
    return SeenTrainingJob(
        job=job,
        defaults=defaults,
        first_stage=await first_stage_of(cluster, retriever, job.spec.type),
        retriever=retriever,
        stage_jobs=await read_stage_jobs(cluster, namespace, job.metadata.uid),
        version=version,
        active=await active_version(cluster, retriever, job.spec.type),
        base_version=await read_base_version(cluster, namespace, job.spec.base_model),
        taken_numbers=frozenset(int(v["spec"]["version"]) for v in everyone),
        siblings=_readable(v for v in everyone if v["spec"]["retriever"] == job.spec.retriever),
    )


async def observe_model_version(
    cluster: Cluster, raw: Manifest, defaults: Defaults, _now: datetime
) -> SeenModelVersion:
    """Everything a ModelVersion's next step depends on."""
    version = ModelVersion.model_validate(raw)
    namespace, run = version.metadata.namespace, version.spec.source.training_job
    retriever = await read_retriever(cluster, namespace, version.spec.retriever)
    stage_jobs = await read_stage_jobs(cluster, namespace, version.metadata.uid)
    if version.status.stage in SETTLED:
        siblings = await _siblings(cluster, version)
        return SeenModelVersion(version, defaults, retriever, stage_jobs=stage_jobs, siblings=siblings)
    found = await cluster.get(Ref(kinds.API_VERSION, "TrainingJob", namespace, run)) if run else None
    return SeenModelVersion(
        version=version,
        defaults=defaults,
        retriever=retriever,
        training_job=TrainingJob.model_validate(found) if found and _made(found, version) else None,
        stage_jobs=stage_jobs,
        active=await active_version(cluster, retriever, version.spec.type, other_than=version.metadata.name),
        first_stage=await first_stage_of(cluster, retriever, version.spec.type),
    )


async def _siblings(cluster: Cluster, version: ModelVersion) -> tuple[ModelVersion, ...]:
    """The other versions of its Retriever and type that are not being deleted."""
    raw = await versions_of(cluster, version.metadata.namespace, version.spec.retriever)
    others = (ModelVersion.model_validate(v) for v in raw if v["metadata"]["uid"] != version.metadata.uid)
    return tuple(v for v in others if v.spec.type is version.spec.type and v.metadata.deletion_timestamp is None)


async def versions_of(cluster: Cluster, namespace: str, retriever: str) -> list[Manifest]:
    """All versions of a Retriever: those we labelled, and those that a user made without our labels."""
    ours, unlabelled = await asyncio.gather(
        cluster.list(kinds.API_VERSION, "ModelVersion", namespace, {labels.RETRIEVER: retriever}),
        cluster.list(kinds.API_VERSION, "ModelVersion", namespace, {labels.RETRIEVER: None}),
    )
    return [*ours, *(v for v in unlabelled if (v.get("spec") or {}).get("retriever") == retriever)]


async def first_stage_of(cluster: Cluster, retriever: Retriever | None, model_type: ModelType) -> ModelVersion | None:
    """The active embedding version, which a reranker's evaluation starts from."""
    return await active_version(cluster, retriever, ModelType.EMBEDDING) if model_type is ModelType.RERANKER else None


def _made(job: Manifest, version: ModelVersion) -> bool:
    """A TrainingJob deleted and made again under the same name is not the one this version comes from."""
    expected = (version.metadata.labels or {}).get(labels.TRAINING_JOB_UID)
    return expected is None or job["metadata"]["uid"] == expected


async def read_tests(cluster: Cluster, namespace: str, retriever: str) -> list[ABTest]:
    """The ABTests of a Retriever that can be read; one that cannot says so itself."""
    found = []
    for raw in await cluster.list(kinds.API_VERSION, "ABTest", namespace):
        if (raw.get("spec") or {}).get("retriever") == retriever:
            with suppress(ValidationError):
                found.append(ABTest.model_validate(raw))
    return found


async def read_retriever(cluster: Cluster, namespace: str, name: str) -> Retriever | None:
    raw = await cluster.get(Ref(kinds.API_VERSION, "Retriever", namespace, name))
    return Retriever.model_validate(raw) if raw else None


async def read_version(cluster: Cluster, namespace: str, name: str | None) -> ModelVersion | None:
    raw = await cluster.get(Ref(kinds.API_VERSION, "ModelVersion", namespace, name)) if name else None
    return ModelVersion.model_validate(raw) if raw else None


async def read_base_version(cluster: Cluster, namespace: str, base_model: str | None) -> ModelVersion | None:
    """The version that `baseModel: version:NAME` names."""
    base = base_model or ""
    name = base.removeprefix(VERSION_PREFIX) if base.startswith(VERSION_PREFIX) else None
    return await read_version(cluster, namespace, name)


async def active_version(
    cluster: Cluster, retriever: Retriever | None, model_type: ModelType, other_than: str | None = None
) -> ModelVersion | None:
    pointer = retriever.status.of(model_type) if retriever else None
    if retriever is None or pointer is None or pointer.active == other_than:
        return None
    return await read_version(cluster, retriever.metadata.namespace, pointer.active)


async def _own_version(cluster: Cluster, job: TrainingJob) -> tuple[ModelVersion | None, list[Manifest]]:
    """The version this job reserved, also when the status write that names it was lost; else all of its type."""
    namespace = job.metadata.namespace
    if job.status.model_version:
        return await read_version(cluster, namespace, job.status.model_version), []
    found = await cluster.list(kinds.API_VERSION, "ModelVersion", namespace)  # those without our labels, too
    everyone = [v for v in found if v["spec"]["type"] == job.spec.type]
    if job.status.dataset is None:
        return None, everyone
    mine = next((v for v in everyone if _label(v, labels.TRAINING_JOB_UID) == job.metadata.uid), None)
    return (ModelVersion.model_validate(mine), []) if mine is not None else (None, everyone)


def _readable(found: Iterable[Manifest]) -> tuple[ModelVersion, ...]:
    """Those that can be read and are not being deleted; one that cannot be read says so itself."""
    versions = []
    for raw in found:
        with suppress(ValidationError):
            versions.append(ModelVersion.model_validate(raw))
    return tuple(v for v in versions if v.metadata.deletion_timestamp is None)


def _label(thing: Manifest, key: str) -> str | None:
    found: Mapping[str, str] = thing["metadata"].get("labels") or {}
    return found.get(key)


async def read_stage_jobs(cluster: Cluster, namespace: str, owner_uid: str) -> tuple[SeenJob, ...]:
    """The stage Jobs of an owner, each with its newest Pod's outcome and, while it runs, its progress."""
    selector = {labels.OWNER_UID: owner_uid}
    jobs = await cluster.list("batch/v1", "Job", namespace, selector)
    if not jobs:
        return ()
    pods = await cluster.list("v1", "Pod", namespace, selector)
    return tuple([await _stage_job(cluster, job, pods) for job in jobs])


async def _stage_job(cluster: Cluster, job: Manifest, pods: list[Manifest]) -> SeenJob:
    mine = [pod for pod in pods if _label(pod, JOB_NAME) == job["metadata"]["name"]]
    pod = reporting_pod(job, mine)
    running = pod is not None and pod.get("status", {}).get("phase") == "Running"
    tail = ""
    if pod is not None and running:
        tail = await cluster.log_tail(
            job["metadata"]["namespace"], pod["metadata"]["name"], container=CONTAINER, lines=LOG_LINES
        )
    return seen_job(job, mine, tail)
