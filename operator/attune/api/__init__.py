"""The five custom resources as frozen values, and the pure helpers that go with them: conditions, labels, names, kinds.

The CRDs in `crds/` are generated from these models (`python -m attune.api.crd`). Imports `contract` and
nothing else of Attune.
"""

from attune.api import conditions, kinds, labels, names
from attune.api.ab_test import (
    MOST_LOOKS,
    ABTest,
    ABTestPhase,
    ABTestSpec,
    ABTestStatus,
    ArmMetric,
    Look,
    PlannedLook,
    TestPromotion,
    Winner,
)
from attune.api.base import Condition, ObjectMeta, OwnerReference, Resource, Status
from attune.api.common import Compute, LanguageModel, ResourceRequirements, SecretReference, Toleration
from attune.api.conditions import set_condition
from attune.api.experiment import Analysis, ExperimentSettings, Metric
from attune.api.model_version import (
    IndexStatus,
    ModelVersion,
    ModelVersionSpec,
    ModelVersionStatus,
    PromotionStatus,
    Retirement,
    StageRun,
    VersionStage,
)
from attune.api.notifications import NotificationEvent, NotificationTarget, NotifyingStatus
from attune.api.openai import OpenAISettings
from attune.api.retriever import Retriever, RetrieverSpec
from attune.api.retriever_status import (
    Action,
    ActiveModel,
    AlertAction,
    Candidate,
    Change,
    HandledAlert,
    Outcome,
    PromotionResult,
    Quarantined,
    RetrieverStatus,
    Split,
    TestOutcome,
    TestResult,
)
from attune.api.training_job import Attempt, Phase, TrainingJob, TrainingJobSpec, TrainingJobStatus, TrainingTemplate
from attune.api.training_schedule import (
    Cursor,
    Preparation,
    TrainingSchedule,
    TrainingScheduleSpec,
    TrainingScheduleStatus,
)
from attune.api.values import parse_duration

__all__ = [
    "MOST_LOOKS",
    "ABTest",
    "ABTestPhase",
    "ABTestSpec",
    "ABTestStatus",
    "Action",
    "ActiveModel",
    "AlertAction",
    "Analysis",
    "ArmMetric",
    "Attempt",
    "Candidate",
    "Change",
    "Compute",
    "Condition",
    "Cursor",
    "ExperimentSettings",
    "HandledAlert",
    "IndexStatus",
    "LanguageModel",
    "Look",
    "Metric",
    "ModelVersion",
    "ModelVersionSpec",
    "ModelVersionStatus",
    "NotificationEvent",
    "NotificationTarget",
    "NotifyingStatus",
    "ObjectMeta",
    "OpenAISettings",
    "Outcome",
    "OwnerReference",
    "Phase",
    "PlannedLook",
    "Preparation",
    "PromotionResult",
    "PromotionStatus",
    "Quarantined",
    "Resource",
    "ResourceRequirements",
    "Retirement",
    "Retriever",
    "RetrieverSpec",
    "RetrieverStatus",
    "SecretReference",
    "Split",
    "StageRun",
    "Status",
    "TestOutcome",
    "TestPromotion",
    "TestResult",
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
