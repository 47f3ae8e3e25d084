"""The ABTest of a version whose TrainingJob asks for one (promotion.strategy: ABTest). Made once, when the version is staged."""

from attune.api import ModelVersion, TrainingJob, kinds, labels, names
from attune.objects import Manifest


def of_version(version: ModelVersion, job: TrainingJob) -> Manifest:
    """It belongs to the version, so it outlives the TrainingJob; its rules are those of `promotion.abTest`."""
    meta, rules = version.metadata, job.spec.promotion.ab_test
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": "ABTest",
        "metadata": {
            "name": names.child_name(meta.name, "test"),
            "namespace": meta.namespace,
            "labels": {labels.RETRIEVER: version.spec.retriever, labels.TYPE: version.spec.type.value},
            "ownerReferences": [
                {
                    "apiVersion": kinds.API_VERSION,
                    "kind": "ModelVersion",
                    "name": meta.name,
                    "uid": meta.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            **(rules.model_dump(mode="json", by_alias=True, exclude_none=True) if rules else {}),
            "retriever": version.spec.retriever,
            "modelB": meta.name,
            "autoPromote": True,
        },
    }
