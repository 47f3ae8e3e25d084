"""Step one of the loop: gather everything one decision needs into a frozen value. Reads only; a missing object is None."""

from collections.abc import Mapping

from attune.api import ModelVersion, Phase, Retriever, TrainingJob, kinds, labels
from attune.cluster.protocol import Cluster, Manifest, Ref
from attune.contract import ModelType
from attune.desired.stage_spec import VERSION_PREFIX
from attune.observation import Defaults, SeenJob, SeenModelVersion, SeenRetriever, SeenTrainingJob, seen_job
from attune.observation.jobs import CONTAINER, newest_pod

JOB_NAME = "batch.kubernetes.io/job-name"
LOG_LINES = 30


async def observe_training_job(cluster: Cluster, raw: Manifest, defaults: Defaults) -> SeenTrainingJob:
    """Everything a TrainingJob's next step depends on."""
    job = TrainingJob.model_validate(raw)
    namespace = job.metadata.namespace
    if job.status.phase in {Phase.SUCCEEDED, Phase.FAILED}:
        return SeenTrainingJob(
            job=job, defaults=defaults, version=await _version(cluster, namespace, job.status.model_version)
        )
    retriever = await _retriever(cluster, namespace, job.spec.retriever)
    version, taken = await _own_version(cluster, job)
    base = job.spec.base_model or ""
    return SeenTrainingJob(
        job=job,
        defaults=defaults,
        retriever=retriever,
        stage_jobs=await _stage_jobs(cluster, namespace, job.metadata.uid),
        version=version,
        active=await _active(cluster, retriever, job.spec.type),
        base_version=await _version(cluster, namespace, base.removeprefix(VERSION_PREFIX))
        if base.startswith(VERSION_PREFIX)
        else None,
        taken_numbers=taken,
    )


async def observe_model_version(cluster: Cluster, raw: Manifest, defaults: Defaults) -> SeenModelVersion:
    """Everything a ModelVersion's next step depends on."""
    version = ModelVersion.model_validate(raw)
    namespace, run = version.metadata.namespace, version.spec.source.training_job
    retriever = await _retriever(cluster, namespace, version.spec.retriever)
    found = await cluster.get(Ref(kinds.API_VERSION, "TrainingJob", namespace, run)) if run else None
    return SeenModelVersion(
        version=version,
        defaults=defaults,
        retriever=retriever,
        training_job=TrainingJob.model_validate(found) if found and _made(found, version) else None,
        stage_jobs=() if run else await _stage_jobs(cluster, namespace, version.metadata.uid),
        active=await _active(cluster, retriever, version.spec.type, other_than=version.metadata.name),
    )


async def observe_retriever(cluster: Cluster, raw: Manifest, defaults: Defaults) -> SeenRetriever:
    """A Retriever with its versions; the namespace's other names only when it has none yet."""
    retriever = Retriever.model_validate(raw)
    namespace = retriever.metadata.namespace
    own = await cluster.list(kinds.API_VERSION, "ModelVersion", namespace, {labels.RETRIEVER: retriever.metadata.name})
    everyone = own if own else await cluster.list(kinds.API_VERSION, "ModelVersion", namespace)
    versions = tuple(ModelVersion.model_validate(v) for v in own)
    return SeenRetriever(
        retriever=retriever,
        defaults=defaults,
        versions=tuple(v for v in versions if v.metadata.deletion_timestamp is None),
        taken_names=frozenset(v["metadata"]["name"] for v in everyone),
    )


def _made(job: Manifest, version: ModelVersion) -> bool:
    """A TrainingJob deleted and made again under the same name is not the one this version comes from."""
    expected = (version.metadata.labels or {}).get(labels.TRAINING_JOB_UID)
    return expected is None or job["metadata"]["uid"] == expected


async def _retriever(cluster: Cluster, namespace: str, name: str) -> Retriever | None:
    raw = await cluster.get(Ref(kinds.API_VERSION, "Retriever", namespace, name))
    return Retriever.model_validate(raw) if raw else None


async def _version(cluster: Cluster, namespace: str, name: str | None) -> ModelVersion | None:
    raw = await cluster.get(Ref(kinds.API_VERSION, "ModelVersion", namespace, name)) if name else None
    return ModelVersion.model_validate(raw) if raw else None


async def _active(
    cluster: Cluster, retriever: Retriever | None, model_type: ModelType, other_than: str | None = None
) -> ModelVersion | None:
    pointer = retriever.status.of(model_type) if retriever else None
    if retriever is None or pointer is None or pointer.active == other_than:
        return None
    return await _version(cluster, retriever.metadata.namespace, pointer.active)


async def _own_version(cluster: Cluster, job: TrainingJob) -> tuple[ModelVersion | None, frozenset[int]]:
    """The version this job reserved, also when the status write that names it was lost; else the numbers that are taken."""
    namespace = job.metadata.namespace
    if job.status.model_version:
        return await _version(cluster, namespace, job.status.model_version), frozenset()
    if job.status.dataset is None:
        return None, frozenset()
    raw = await cluster.list(kinds.API_VERSION, "ModelVersion", namespace, {labels.TYPE: job.spec.type.value})
    mine = next((v for v in raw if _label(v, labels.TRAINING_JOB_UID) == job.metadata.uid), None)
    if mine is not None:
        return ModelVersion.model_validate(mine), frozenset()
    return None, frozenset(int(v["spec"]["version"]) for v in raw)


def _label(thing: Manifest, key: str) -> str | None:
    found: Mapping[str, str] = thing["metadata"].get("labels") or {}
    return found.get(key)


async def _stage_jobs(cluster: Cluster, namespace: str, owner_uid: str) -> tuple[SeenJob, ...]:
    """The stage Jobs of an owner, each with its newest Pod's outcome and, while it runs, its progress."""
    selector = {labels.OWNER_UID: owner_uid}
    jobs = await cluster.list("batch/v1", "Job", namespace, selector)
    if not jobs:
        return ()
    pods = await cluster.list("v1", "Pod", namespace, selector)
    return tuple([await _stage_job(cluster, job, pods) for job in jobs])


async def _stage_job(cluster: Cluster, job: Manifest, pods: list[Manifest]) -> SeenJob:
    mine = [pod for pod in pods if _label(pod, JOB_NAME) == job["metadata"]["name"]]
    pod = newest_pod(mine)
    running = pod is not None and pod.get("status", {}).get("phase") == "Running"
    tail = ""
    if pod is not None and running:
        tail = await cluster.log_tail(
            job["metadata"]["namespace"], pod["metadata"]["name"], container=CONTAINER, lines=LOG_LINES
        )
    return seen_job(job, mine, tail)
