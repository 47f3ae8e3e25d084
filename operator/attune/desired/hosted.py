"""What provider openai adds to what the operator makes: the configuration of a run, keys for Pods, and the Job that cancels.

A Pod gets one variable for each server that it asks (`contract.key_variable`), from the Secret of that version alone; the other
keys of the Secret stay out of it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from attune.api import Compute, ModelVersion, Retriever, SecretReference, TrainingJob, labels, names
from attune.contract import HOSTED_PREFIX, KEY_VARIABLE, OpenAITraining, Stage, key_variable
from attune.desired import stage_job
from attune.objects import Manifest
from attune.observation import SeenModelVersion, SeenTrainingJob
from attune.observation.jobs import CONTAINER

CANCEL_RETRIES = 6
CANCEL_SECONDS = 3600
KEPT_SECONDS = 86400
"""The Job stays for a day, so that one that failed can be seen."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Which Secret has the key of a server; None: the server is asked without one."""

    base_url: str
    secret: SecretReference | None


def provider_of(seen: SeenTrainingJob) -> str:
    """spec.provider, or the operator's default."""
    return seen.job.spec.provider or seen.defaults.provider


def openai_training(seen: SeenTrainingJob) -> OpenAITraining | None:
    """spec.openai with every default filled in; None for provider local."""
    if provider_of(seen) != "openai":
        return None
    asked = seen.job.spec.openai
    if asked is None:
        return OpenAITraining(model=seen.defaults.openai_model)
    return OpenAITraining(
        base_url=str(asked.base_url),
        model=asked.model or seen.defaults.openai_model,
        method=asked.method,
        dimensions=asked.dimensions,
        side=asked.side,
        file_format=asked.file_format,
    )


def recorded_training(seen: SeenTrainingJob) -> OpenAITraining | None:
    """As its version recorded it, whatever the operator's defaults have become; before there is one, as it is now."""
    if seen.version is not None and seen.version.spec.config is not None:
        return seen.version.spec.config.openai
    return openai_training(seen)


def base_model_name(training: OpenAITraining) -> str:
    """`openai:text-embedding-3-small`: what versions name as their base model."""
    return HOSTED_PREFIX + training.model


def secret_of(job: TrainingJob) -> SecretReference | None:
    return job.spec.openai.secret_ref if job.spec.openai is not None else None


def key_of(version: ModelVersion | None) -> ApiKey | None:
    """Of a version that an API answers for; None for one with weights."""
    if version is None or version.spec.config is None or version.spec.config.openai is None:
        return None
    return ApiKey(version.spec.config.openai.base_url, version.spec.secret_ref)


def keys_of_run(seen: SeenTrainingJob, stage: Stage) -> tuple[ApiKey, ...]:
    """The servers that a stage of a TrainingJob asks. prepare asks only for negatives, and a reranker's for its candidates."""
    training, hyper = recorded_training(seen), seen.job.spec.hyperparameters
    mines = stage is not Stage.PREPARE or hyper.hard_negatives.per_query > 0
    own = ApiKey(training.base_url, secret_of(seen.job)) if training is not None and mines else None
    active = key_of(seen.active) if stage is Stage.EVALUATE else None
    return _known(own, active, key_of(seen.first_stage))


def keys_of_import(seen: SeenModelVersion, stage: Stage) -> tuple[ApiKey, ...]:
    """The servers that a stage of a ModelVersion asks: for itself, and for those it is compared with."""
    compared = (seen.active, seen.first_stage) if stage is Stage.EVALUATE else ()
    own = key_of(seen.version) if stage in {Stage.EVALUATE, Stage.INDEX} else None
    return _known(own, *(key_of(version) for version in compared))


def keys_of_serving(versions: Iterable[ModelVersion]) -> tuple[ApiKey, ...]:
    return _known(*(key_of(version) for version in sorted(versions, key=lambda v: v.metadata.name)))


def _known(*keys: ApiKey | None) -> tuple[ApiKey, ...]:
    """One for each server; the first one named wins."""
    by_server: dict[str, ApiKey] = {}
    for key in keys:
        if key is not None:
            by_server.setdefault(key_variable(key.base_url), key)
    return tuple(by_server.values())


def env(keys: Iterable[ApiKey]) -> list[dict[str, Any]]:
    """As variables of a container. A Secret that is missing leaves its variable out: the API's own refusal is clearer than a Pod
    that does not start, and what else that Pod serves goes on. A server without a Secret gets an empty key, and no other's."""
    return [_variable(key) for key in keys]


def _variable(key: ApiKey) -> dict[str, Any]:
    name = key_variable(key.base_url)
    if key.secret is None:
        return {"name": name, "value": ""}
    reference = {"name": key.secret.name, "key": KEY_VARIABLE, "optional": True}
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


@dataclass(frozen=True, slots=True)
class Remote:
    """A run whose fine-tuning job may still be at work at the API."""

    run: str
    """Name of the TrainingJob."""
    uid: str
    base_url: str
    secret: SecretReference | None


def cancel_job(remote: Remote, owner: Retriever | ModelVersion, compute: Compute, image: str) -> Manifest:
    """A Job that cancels what the API still does for a run; it outlives the TrainingJob, so it belongs to another object.

    Nobody follows it: it tries for an hour by itself, and goes after a day.
    """
    retriever = owner.metadata.name if isinstance(owner, Retriever) else owner.spec.retriever
    pod: Manifest = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": stage_job.USER, "runAsGroup": stage_job.USER},
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "containers": [_cancelling(remote, compute.image or image)],
    }
    told = {labels.RETRIEVER: retriever, "app.kubernetes.io/part-of": "attune"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": names.stage_job_name(remote.run, remote.uid, 1, "cancel"),
            "namespace": owner.metadata.namespace,
            "labels": told,
            "ownerReferences": [_owned_by(owner)],
        },
        "spec": {
            "backoffLimit": CANCEL_RETRIES,
            "activeDeadlineSeconds": CANCEL_SECONDS,
            "ttlSecondsAfterFinished": KEPT_SECONDS,
            "template": stage_job.merge(compute.pod_template or {}, {"metadata": {"labels": told}, "spec": pod}),
        },
    }


def _cancelling(remote: Remote, image: str) -> Manifest:
    return {
        "name": CONTAINER,
        "image": image,
        "args": ["cancel", "--base-url", remote.base_url, "--run", remote.uid],
        "env": env((ApiKey(remote.base_url, remote.secret),)),
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _owned_by(owner: Retriever | ModelVersion) -> dict[str, Any]:
    return {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
