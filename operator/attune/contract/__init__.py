"""JSON that crosses a process border: what the operator tells a trainer stage, and what the stage answers.

Both sides import this package and nothing else of each other. It depends on pydantic alone, so the trainer and serving
images carry no Kubernetes client.
"""

from attune.contract.base import Contract
from attune.contract.layout import Layout
from attune.contract.metrics import EvaluationMetrics, TrainingMetrics
from attune.contract.progress import Progress, last_progress, progress_line
from attune.contract.result import DatasetSummary, EvaluationSummary, ExitCode, ModelSummary, StageResult
from attune.contract.stage import (
    ArchiveFields,
    ArchiveSource,
    ArtifactRef,
    DataSpec,
    EvaluationConfig,
    EvaluationSource,
    FeedbackFields,
    FeedbackSource,
    HardNegatives,
    ModelType,
    OwnerRef,
    Stage,
    StageSpec,
    TrainingConfig,
)

__all__ = [
    "ArchiveFields",
    "ArchiveSource",
    "ArtifactRef",
    "Contract",
    "DataSpec",
    "DatasetSummary",
    "EvaluationConfig",
    "EvaluationMetrics",
    "EvaluationSource",
    "EvaluationSummary",
    "ExitCode",
    "FeedbackFields",
    "FeedbackSource",
    "HardNegatives",
    "Layout",
    "ModelSummary",
    "ModelType",
    "OwnerRef",
    "Progress",
    "Stage",
    "StageResult",
    "StageSpec",
    "TrainingConfig",
    "TrainingMetrics",
    "last_progress",
    "progress_line",
]
