"""The five custom resources as frozen values, and the pure helpers that go with them: conditions, labels, names, kinds.

The CRDs in `crds/` are generated from these models (`python -m attune.api.crd`). Imports `contract` and
nothing else of Attune.
"""

from attune.api import conditions, kinds, labels, names
from attune.api.ab_test import ABTest, ABTestPhase, ABTestSpec, ABTestStatus, Winner
from attune.api.base import Condition, ObjectMeta, OwnerReference, Resource
from attune.api.common import Compute, LanguageModel, ResourceRequirements, SecretReference, Toleration
from attune.api.conditions import set_condition
from attune.api.model_version import ModelVersion, ModelVersionSpec, ModelVersionStatus, VersionStage
from attune.api.retriever import ActiveModel, Retriever, RetrieverSpec, RetrieverStatus, Split
from attune.api.training_job import Attempt, Phase, TrainingJob, TrainingJobSpec, TrainingJobStatus, TrainingTemplate
from attune.api.training_schedule import TrainingSchedule, TrainingScheduleSpec, TrainingScheduleStatus
from attune.api.values import parse_duration

__all__ = [
    "ABTest",
    "ABTestPhase",
    "ABTestSpec",
    "ABTestStatus",
    "ActiveModel",
    "Attempt",
    "Compute",
    "Condition",
    "LanguageModel",
    "ModelVersion",
    "ModelVersionSpec",
    "ModelVersionStatus",
    "ObjectMeta",
    "OwnerReference",
    "Phase",
    "Resource",
    "ResourceRequirements",
    "Retriever",
    "RetrieverSpec",
    "RetrieverStatus",
    "SecretReference",
    "Split",
    "Toleration",
    "TrainingJob",
    "TrainingJobSpec",
    "TrainingJobStatus",
    "TrainingSchedule",
    "TrainingScheduleSpec",
    "TrainingScheduleStatus",
    "TrainingTemplate",
    "VersionStage",
    "Winner",
    "conditions",
    "kinds",
    "labels",
    "names",
    "parse_duration",
    "set_condition",
]
