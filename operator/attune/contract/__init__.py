"""JSON that crosses a process border: what the operator tells a trainer stage or a server, and what they answer.

Both sides import this package and nothing else of each other. It depends on pydantic alone, so the trainer and serving
images carry no Kubernetes client.
"""

from attune.contract.base import Contract
from attune.contract.index import (
    Distance,
    IndexSpec,
    IndexStore,
    IndexSummary,
    IndexWork,
    RetireWork,
    combine_digests,
    corpus_digest,
)
from attune.contract.layout import Layout
from attune.contract.metrics import EvaluationMetrics, TrainingMetrics
from attune.contract.progress import Progress, last_progress, progress_line
from attune.contract.result import DatasetSummary, EvaluationSummary, ExitCode, ModelSummary, StageResult
from attune.contract.serving import (
    PEERS_KEY,
    SERVING_KEY,
    GuardReport,
    ProbeReport,
    ReplicaReport,
    ServedJudge,
    ServedModel,
    ServedProbe,
    ServedSplit,
    ServedUpstream,
    ServedVersion,
    ServingConfig,
    VersionReport,
    VersionState,
)
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
from attune.contract.traffic import HourOfTraffic, TrafficReport

__all__ = [
    "PEERS_KEY",
    "SERVING_KEY",
    "ArchiveFields",
    "ArchiveSource",
    "ArtifactRef",
    "Contract",
    "DataSpec",
    "DatasetSummary",
    "Distance",
    "EvaluationConfig",
    "EvaluationMetrics",
    "EvaluationSource",
    "EvaluationSummary",
    "ExitCode",
    "FeedbackFields",
    "FeedbackSource",
    "GuardReport",
    "HardNegatives",
    "HourOfTraffic",
    "IndexSpec",
    "IndexStore",
    "IndexSummary",
    "IndexWork",
    "Layout",
    "ModelSummary",
    "ModelType",
    "OwnerRef",
    "ProbeReport",
    "Progress",
    "ReplicaReport",
    "RetireWork",
    "ServedJudge",
    "ServedModel",
    "ServedProbe",
    "ServedSplit",
    "ServedUpstream",
    "ServedVersion",
    "ServingConfig",
    "Stage",
    "StageResult",
    "StageSpec",
    "TrafficReport",
    "TrainingConfig",
    "TrainingMetrics",
    "VersionReport",
    "VersionState",
    "combine_digests",
    "corpus_digest",
    "last_progress",
    "progress_line",
]
