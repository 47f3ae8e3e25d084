"""One frozen value per kind: everything its decision looks at."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from attune.api import ABTest, ModelVersion, Retriever, RetrieverStatus, TrainingJob, TrainingSchedule
from attune.contract import ModelType
from attune.objects import Manifest
from attune.observation.health import Alert, Health
from attune.observation.jobs import SeenJob
from attune.observation.replicas import SeenReplica
from attune.observation.samples import MetricsProblem, Samples


@dataclass(frozen=True, slots=True)
class Defaults:
    """The operator's settings that decisions depend on (`FINETUNE_*`, `ATTUNE_*`)."""

    trainer_image: str
    serving_image: str = "attune-serving"
    finetune_enabled: bool = False
    provider: str = "local"
    openai_model: str = "text-embedding-3-small"
    min_examples: int = 1000
    auto_promote: bool = False
    schedule: str = "manual"
    """FINETUNE_SCHEDULE: weekly, monthly or manual."""
    progress_interval: timedelta = timedelta(seconds=5)
    prometheus_url: str | None = None
    retry_base: timedelta = timedelta(seconds=10)
    retry_cap: timedelta = timedelta(minutes=6)
    """Pause before attempt n+1: retry_base * 2**(n-1), at most retry_cap (as batch/v1 Jobs do)."""


@dataclass(frozen=True, slots=True)
class SeenTrainingJob:
    """A TrainingJob, the Retriever it is for, its stage Jobs, its version, and the versions to compare with."""

    job: TrainingJob
    defaults: Defaults
    retriever: Retriever | None = None
    stage_jobs: tuple[SeenJob, ...] = ()
    version: ModelVersion | None = None
    active: ModelVersion | None = None
    first_stage: ModelVersion | None = None
    """The active embedding version: what a reranker reranks in its evaluation."""
    base_version: ModelVersion | None = None
    """The version that `baseModel: version:NAME` names."""
    taken_numbers: frozenset[int] = frozenset()
    """Numbers of all versions of this type in the namespace; read only until a number is reserved."""
    siblings: tuple[ModelVersion, ...] = ()
    """The versions of its Retriever and type that are not being deleted; read only until a number is reserved."""


@dataclass(frozen=True, slots=True)
class SeenModelVersion:
    """A ModelVersion with its Retriever and the run it comes from: a TrainingJob, or the stage Jobs of an import."""

    version: ModelVersion
    defaults: Defaults
    retriever: Retriever | None = None
    training_job: TrainingJob | None = None
    stage_jobs: tuple[SeenJob, ...] = ()
    active: ModelVersion | None = None
    first_stage: ModelVersion | None = None
    siblings: tuple[ModelVersion, ...] = ()
    """The other versions of its Retriever and type; read only once this one is settled."""


@dataclass(frozen=True, slots=True)
class SeenRetriever:
    """A Retriever with its versions, the objects that serve it, and what its serving Pods report."""

    retriever: Retriever
    defaults: Defaults
    versions: tuple[ModelVersion, ...] = ()
    taken_names: frozenset[str] = frozenset()
    """Names of all ModelVersions in the namespace; read only when version 1 is to be created."""
    tests: tuple[ABTest, ...] = ()
    """Its ABTests, ended ones too."""
    schedules: tuple[TrainingSchedule, ...] = ()
    """All of the namespace; read only where FINETUNE_SCHEDULE may add one."""
    replicas: tuple[SeenReplica, ...] = ()
    objects: Mapping[tuple[str, str], Manifest] = field(default_factory=dict)
    """(kind, name) → object: what exists of the things that serve it."""
    health: Mapping[ModelType, Health | MetricsProblem] = field(default_factory=dict)
    """Of the active versions that are watched."""
    before: Mapping[ModelType, Health | MetricsProblem] = field(default_factory=dict)
    """Of the active versions that are about to be replaced; read only then."""
    alerts: tuple[Alert, ...] = ()
    """Those that came and were not dealt with."""
    hasty: bool = False
    """An alert came: neither replicas nor Prometheus were asked, as those may hang."""

    @property
    def serving_image(self) -> str:
        return self.defaults.serving_image

    def with_status(self, status: RetrieverStatus) -> "SeenRetriever":
        """The same, as if this status had been written: two types may move in one look."""
        return replace(self, retriever=self.retriever.model_copy(update={"status": status}))


@dataclass(frozen=True, slots=True)
class SeenABTest:
    """An ABTest, the Retriever whose traffic it splits, the versions it names, and what was counted, when that is due."""

    test: ABTest
    retriever: Retriever | None = None
    versions: tuple[ModelVersion, ...] = ()
    """Those that it names, whatever Retriever they are of."""
    others: tuple[ABTest, ...] = ()
    """The other tests of its Retriever."""
    samples: Samples | MetricsProblem | None = None
    """None: no look is due."""


@dataclass(frozen=True, slots=True)
class SeenTrainingSchedule:
    """A TrainingSchedule, the Retriever it is for, the Jobs of its preparations and the TrainingJobs that it made."""

    schedule: TrainingSchedule
    defaults: Defaults
    retriever: Retriever | None = None
    stage_jobs: tuple[SeenJob, ...] = ()
    jobs: tuple[TrainingJob, ...] = ()
    """TrainingJobs that it made and that are still there, ended ones too."""
    versions: tuple[ModelVersion, ...] = ()
    """Those of its Retriever; this and what follows is read only while something is due."""
    active: ModelVersion | None = None
    first_stage: ModelVersion | None = None
    base_version: ModelVersion | None = None
    others: tuple[TrainingSchedule, ...] = ()
    """The other schedules of its Retriever."""
    snapshots: frozenset[str] | None = None
    """Where snapshots lie that versions, runs and other schedules of its Retriever refer to; None: not read, as no Job is to be made."""
