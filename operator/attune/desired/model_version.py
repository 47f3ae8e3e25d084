"""ModelVersions as the operator creates them. Creating one reserves its number: the name holds it."""

from datetime import datetime

from attune.api import Retriever, TrainingJob, kinds, labels, names
from attune.contract import ModelType, TrainingConfig
from attune.desired import hosted
from attune.desired.stage_spec import layout
from attune.objects import Manifest


def trained(job: TrainingJob, retriever: Retriever, config: TrainingConfig, number: int, now: datetime) -> Manifest:
    """The version a TrainingJob will fill. It belongs to the Retriever, so it outlives the TrainingJob."""
    manifest = _version(retriever, job.spec.type, config.base_model, number, now)
    manifest["metadata"]["labels"][labels.TRAINING_JOB_UID] = job.metadata.uid
    manifest["spec"]["config"] = config.model_dump(mode="json", by_alias=True, exclude_none=True)
    manifest["spec"]["source"] = {"trainingJob": job.metadata.name}
    secret = hosted.secret_of(job)
    if config.openai is not None and secret is not None:
        manifest["spec"]["secretRef"] = {"name": secret.name}
    return manifest


def imported(retriever: Retriever, model_type: ModelType, base_model: str, number: int, now: datetime) -> Manifest:
    """Version 1: the base model as it is."""
    manifest = _version(retriever, model_type, base_model, number, now)
    manifest["spec"]["source"] = {"import": base_model}
    return manifest


def _version(retriever: Retriever, model_type: ModelType, base_model: str, number: int, now: datetime) -> Manifest:
    name = names.version_name(model_type, number, now.date())
    meta = retriever.metadata
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": "ModelVersion",
        "metadata": {
            "name": name,
            "namespace": meta.namespace,
            "labels": {labels.RETRIEVER: meta.name, labels.TYPE: model_type.value},
            "ownerReferences": [
                {
                    "apiVersion": kinds.API_VERSION,
                    "kind": "Retriever",
                    "name": meta.name,
                    "uid": meta.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "retriever": meta.name,
            "type": model_type.value,
            "version": number,
            "baseModel": base_model,
            "artifact": {"uri": layout(retriever).version(f"{name}-{meta.uid[:8]}")},
        },
    }
