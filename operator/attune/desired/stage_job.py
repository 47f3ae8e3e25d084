"""One stage of a run as a ConfigMap (the StageSpec) and a Job (the Pod that reads it)."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from attune.api import Compute, SecretReference, labels, names
from attune.contract import Contract, ModelType, StageSpec
from attune.desired import together
from attune.objects import Manifest
from attune.observation.jobs import CONTAINER

SPEC_FOLDER = "/etc/attune"
SPEC_FILE = f"{SPEC_FOLDER}/stage.json"
PVC_ROOT = "/mnt/pvc"
USER = 65532
MOST_AT_ONCE = 64
"""Pods of one Indexed Job that run together; the others follow."""
_CLAIM = re.compile(r'"pvc://([a-z0-9][a-z0-9.-]*)')


@dataclass(frozen=True, slots=True)
class StageJob:
    """What a stage Job is made of, besides the StageSpec."""

    spec: StageSpec
    attempt: int
    api_version: str
    compute: Compute
    image: str
    secrets: tuple[SecretReference | None, ...] = ()
    env: tuple[dict[str, Any], ...] = ()
    """Variables of its container beside those of the Secrets."""
    suspend: bool = False
    run: int | None = None
    """Which run, of a stage that runs again and again (index, retire)."""

    @property
    def name(self) -> str:
        owner, stage = self.spec.owner, self.spec.stage.value
        what = stage if self.run is None else f"{stage}-{self.run}"
        return names.stage_job_name(owner.name, owner.uid, self.attempt, what, pods=self.pods)

    @property
    def shards(self) -> int:
        """Pods that share the work by index; 1: an ordinary Job."""
        return self.spec.index.shards if self.spec.index else 1

    @property
    def nodes(self) -> int:
        """Pods that train together, and of which none can be missing."""
        return together.nodes(self.spec.stage, self.compute)

    @property
    def pods(self) -> int:
        return max(self.shards, self.nodes)

    @property
    def labels(self) -> dict[str, str]:
        return {
            labels.RETRIEVER: self.spec.retriever,
            labels.OWNER_KIND: self.spec.owner.kind,
            labels.OWNER_UID: self.spec.owner.uid,
            labels.STAGE: self.spec.stage.value,
            labels.ATTEMPT: str(self.attempt),
            **({} if self.run is None else {labels.RUN: str(self.run)}),
            labels.TYPE: ModelType(self.spec.type).value,
            "app.kubernetes.io/part-of": "attune",
        }


def spec_config_map(stage: StageJob) -> Manifest:
    """The StageSpec as a ConfigMap of the Job's own name."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(stage),
        "data": {"stage.json": stage.spec.to_json(indent=2)},
    }


def job(stage: StageJob) -> Manifest:
    """The Job. backoffLimit is 0 because retries are attempts of ours; evictions do not count as failures.

    Pods that train together are lost together: where one is evicted the others end by themselves, and the attempt with them.
    """
    evictions = {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]}
    spec: dict[str, Any] = {
        "backoffLimit": 0,
        "completions": stage.pods,
        "parallelism": max(stage.nodes, min(stage.shards, MOST_AT_ONCE)),
        **({"completionMode": "Indexed"} if stage.pods > 1 else {}),
        "podReplacementPolicy": "Failed",
        **({"podFailurePolicy": evictions} if stage.nodes == 1 else {}),
        "suspend": stage.suspend,
        "template": _pod_template(stage),
    }
    metadata = _metadata(stage)
    if stage.compute.queue_name:
        metadata["labels"]["kueue.x-k8s.io/queue-name"] = stage.compute.queue_name
        spec["suspend"] = True
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def beside(stage: StageJob) -> tuple[Manifest, ...]:
    """What a Job needs besides itself."""
    service = (together.service(job(stage)),) if stage.nodes > 1 else ()
    return (spec_config_map(stage), *service)


def suspension(job_name: str, namespace: str, suspend: bool) -> Manifest:
    """The one field of a running Job that we change."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job_name, "namespace": namespace},
        "spec": {"suspend": suspend},
    }


def claims(spec: Contract) -> tuple[str, ...]:
    """Names of the PersistentVolumeClaims that any `pvc://claim/path` in the spec needs."""
    return tuple(sorted(set(_CLAIM.findall(spec.to_json()))))


def owner_reference(stage: StageJob) -> dict[str, Any]:
    owner = stage.spec.owner
    return {
        "apiVersion": stage.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _metadata(stage: StageJob) -> dict[str, Any]:
    return {
        "name": stage.name,
        "namespace": stage.spec.owner.namespace,
        "labels": dict(stage.labels),
        "ownerReferences": [owner_reference(stage)],
    }


def _pod_template(stage: StageJob) -> dict[str, Any]:
    compute = stage.compute
    template = merge(compute.pod_template or {}, {"metadata": {"labels": stage.labels}, "spec": _pod_spec(stage)})
    for field, value in {
        "nodeSelector": compute.node_selector,
        "tolerations": [t.model_dump(by_alias=True, exclude_none=True) for t in compute.tolerations or ()],
        "priorityClassName": compute.priority_class_name,
        "runtimeClassName": compute.runtime_class_name,
    }.items():
        if value:
            template["spec"][field] = value
    return template


def _pod_spec(stage: StageJob) -> dict[str, Any]:
    volumes: list[dict[str, Any]] = [
        {"name": "spec", "configMap": {"name": stage.name}},
        {"name": "tmp", "emptyDir": {}},
    ]
    volumes += [
        {"name": f"pvc-{i}", "persistentVolumeClaim": {"claimName": c}} for i, c in enumerate(claims(stage.spec))
    ]
    if shared_memory := together.processes(stage.spec.stage, stage.compute) > 1:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
    return {
        **({"subdomain": together.service_name(stage.name)} if stage.nodes > 1 else {}),
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER},
        "volumes": volumes,
        "containers": [_container(stage, shared_memory=shared_memory)],
    }


def _container(stage: StageJob, *, shared_memory: bool) -> dict[str, Any]:
    mounts = [{"name": "spec", "mountPath": SPEC_FOLDER, "readOnly": True}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108
    mounts += [{"name": f"pvc-{i}", "mountPath": f"{PVC_ROOT}/{c}"} for i, c in enumerate(claims(stage.spec))]
    if shared_memory:
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})  # noqa: S108
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": stage.compute.image or stage.image,
        "args": [stage.spec.stage.value, "--spec", SPEC_FILE],
        "volumeMounts": mounts,
        "terminationMessagePath": "/dev/termination-log",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if stage.compute.resources:
        container["resources"] = stage.compute.resources.model_dump(by_alias=True, exclude_none=True)
    if env := together.environment(stage.spec.stage, stage.compute, stage.name):
        container["env"] = env
    if secrets := env_from(stage.secrets):
        container["envFrom"] = secrets
    if stage.env:
        container["env"] = list(stage.env)
    return container


def env_from(secrets: Iterable[SecretReference | None]) -> list[dict[str, Any]]:
    """Each Secret once, as environment variables."""
    names_of = dict.fromkeys(secret.name for secret in secrets if secret is not None)
    return [{"secretRef": {"name": name}} for name in names_of]


def merge(under: Manifest, over: Manifest) -> Manifest:
    """`over` on top of `under`, folders merged; lists of named things (containers, volumes) are joined by name."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            merged[key] = merge(below, value)
        elif isinstance(below, list) and isinstance(value, list):
            merged[key] = _join(below, value)
        else:
            merged[key] = value
    return merged


def _join(below: list[Any], over: list[Any]) -> list[Any]:
    named = {item["name"]: item for item in below if isinstance(item, dict) and "name" in item}
    joined = [
        merge(named.pop(item["name"], {}), item) if isinstance(item, dict) and "name" in item else item for item in over
    ]
    return [*joined, *named.values()]
