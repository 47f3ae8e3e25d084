"""ModelVersion: one trained or imported model, with its metrics, its artifact and its stage."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attune.api.base import ApiModel, Resource, Status, Time
from attune.api.common import SecretReference
from attune.api.display import change, score, shown
from attune.api.retriever_status import PromotionResult
from attune.api.rules import Rule, immutable
from attune.api.training_job import Attempts
from attune.api.values import BaseModelUri, Digest, ObjectName, Origin, StoreUri
from attune.contract import (
    DatasetSummary,
    EvaluationMetrics,
    EvaluationReport,
    ModelSummary,
    ModelType,
    Progress,
    TrainingConfig,
    TrainingMetrics,
)


class VersionStage(StrEnum):
    """Where a version is in its life."""

    TRAINING = "training"
    EVALUATING = "evaluating"
    STAGED = "staged"
    ACTIVE = "active"
    DEPRECATED = "deprecated"
    FAILED = "failed"


class Artifact(ApiModel):
    """The exported model in the artifact store."""

    uri: StoreUri = Field(description="Folder of the artifact.")
    digest: Digest | None = Field(
        None,
        description="sha256 of its manifest.json. Set: the artifact is there already, and is verified instead of made; "
        "unset: recorded in status when it is made.",
    )


class VersionSource(ApiModel):
    """Where the version comes from."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.trainingJob) != has(self.__import__)",
            "a version has one source; give either trainingJob (a run) or import (a model to take as it is)",
        ),
    )

    training_job: ObjectName | None = Field(None, description="TrainingJob that makes it.")
    import_: BaseModelUri | None = Field(
        None, alias="import", description="Model that is taken as it is: exported, evaluated, indexed."
    )


class PromotionRequest(ApiModel):
    """A request to make this version active."""

    request_id: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        None,
        alias="requestID",
        description="Each new value asks once for promotion (or rollback to this version); constant in Git, it "
        "fires once.",
    )


class ModelVersionSpec(ApiModel):
    """One model. Nothing of it can be changed later, apart from promotion.requestID and secretRef."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.source.trainingJob) || has(self.config)",
            "a trained version records the config it was trained with; give config, or source.import for a model "
            "made elsewhere",
            path=".config",
        ),
        *immutable(
            "a version is what it was made as; create another ModelVersion",
            *("retriever", "type", "version", "baseModel", "config", "artifact", "source"),
        ),
    )

    retriever: ObjectName = Field(description="Name of the Retriever in the same namespace.")
    type: ModelType = Field(description="embedding or reranker.")
    version: int = Field(ge=1, le=2**31 - 1, description="Number, part of the name.")
    base_model: Origin = Field(
        description="Model that it was trained from, or that was imported; openai:NAME for one that an API answers for."
    )
    config: TrainingConfig | None = Field(
        None, description="Everything that determined the weights, apart from the data; unset for imports."
    )
    artifact: Artifact = Field(description="Where the exported model lies.")
    source: VersionSource = Field(description="Where the version comes from.")
    secret_ref: SecretReference | None = Field(
        None,
        description="Secret with the key OPENAI_API_KEY, where an API answers for this version: its Pods are given that key.",
    )
    promotion: PromotionRequest | None = Field(None, description="Request to make it active.")


class IndexStatus(ApiModel):
    """The collection of this version in the vector store."""

    collection: str = Field(max_length=128, description="Name of the collection.")
    documents: int = Field(ge=0, description="Documents in it.")
    digest: str | None = Field(None, description="Digest of the corpus it was built from.")
    embedding_space: str | None = Field(
        None, description="The space of its vectors; that of this version, or no match."
    )
    place: str | None = Field(None, description="Digest of spec.index of the Retriever: which store it is in.")
    built_at: Time | None = Field(None, description="When it was complete for the first time.")
    refreshed_at: Time | None = Field(None, description="When the corpus was last compared with it.")


class PromotionStatus(ApiModel):
    """What became of the last request."""

    auto: bool | None = Field(
        None, description="It is to become active without a request (TrainingJob.spec.autoPromote)."
    )
    handled_request_id: str | None = Field(
        None, alias="handledRequestID", description="The newest promotion.requestID that was answered."
    )
    earlier_request_ids: Annotated[tuple[Annotated[str, Field(max_length=128)], ...], Field(max_length=8)] | None = (
        Field(
            None,
            alias="earlierRequestIDs",
            description="Those that were answered before, newest last: Git may bring one of them back, and it asks for nothing again.",
        )
    )
    result: PromotionResult | None = Field(None, description="Pending, Promoted, RolledBack or Refused.")
    message: str | None = Field(None, max_length=1024, description="What it waits for, or why it was refused.")

    def answered(self, request_id: str) -> bool:
        """Now or before: it asks for nothing any more."""
        return request_id == self.handled_request_id or request_id in (self.earlier_request_ids or ())


class StageRun(ApiModel):
    """One run of a stage that is done again and again: index and retire of a version, prepare of a schedule."""

    run: int = Field(ge=1, description="Which run.")
    failures: int = Field(0, ge=0, description="Failed attempts of this run so far.")
    attempts: Attempts | None = Field(None, description="The last five stage Jobs.")
    progress: Progress | None = Field(None, description="How far it is.")
    finished_at: Time | None = Field(None, description="When it ended, well or not.")
    reason: str | None = Field(None, max_length=128, description="Why it failed, in one CamelCase word.")
    message: str | None = Field(None, max_length=512, description="Why it failed, with the numbers.")


class Retirement(ApiModel):
    """The end of a version that is not kept any more: its artifact and its collection are deleted."""

    state: Literal["Retiring", "Retired"] = Field(description="Retiring: about to be deleted. Retired: it is done.")
    cause: str = Field(max_length=256, description="Why it is not kept.")
    at: Time = Field(description="When it was decided.")


class ModelVersionSummary(ApiModel):
    """For `kubectl get`."""

    ndcg: str | None = Field(None, description="nDCG@10 on held-out queries.")
    improvement: str | None = Field(None, description="Change of nDCG@10 against the version that was active.")


class ModelVersionStatus(Status):
    """What the version is worth, and where it is in its life. A metric that was not measured is absent."""

    stage: VersionStage | None = Field(None, description="training, evaluating, staged, active, deprecated or failed.")
    training_metrics: TrainingMetrics | None = Field(None, description="What training reported.")
    evaluation_metrics: EvaluationMetrics | None = Field(None, description="What was measured on held-out queries.")
    report: EvaluationReport | None = Field(None, description="Where to read more of the evaluation.")
    artifact: ModelSummary | None = Field(None, description="What was exported.")
    dataset: DatasetSummary | None = Field(None, description="Data it was trained and measured on.")
    dimensions: int | None = Field(None, ge=1, description="Length of its vectors.")
    embedding_space: str | None = Field(
        None,
        description="Digest of weights, pooling, normalization and prompts; vectors of two spaces cannot be compared.",
    )
    index: IndexStatus | None = Field(None, description="Its collection in the vector store.")
    indexing: StageRun | None = Field(None, description="The newest run of its index stage.")
    retirement: Retirement | None = Field(None, description="Set when it is not kept any more.")
    retiring: StageRun | None = Field(None, description="The newest run of its retire stage.")
    attempts: Attempts | None = Field(None, description="The last five stage Jobs of an import.")
    failures: int | None = Field(None, ge=0, description="Failed attempts of an import so far.")
    promoted_at: Time | None = Field(None, description="When it last became active.")
    deprecated_at: Time | None = Field(None, description="When it last ceased to be active.")
    promotion: PromotionStatus | None = Field(None, description="What became of the last request.")
    notes: str | None = Field(None, max_length=2048, description="What else is to be known, e.g. why it failed.")

    @shown
    def summary(self) -> ModelVersionSummary | None:
        """The same numbers for `kubectl get`."""
        metrics = self.evaluation_metrics
        if metrics is None or metrics.ndcg_at10 is None:
            return None
        return ModelVersionSummary(ndcg=score(metrics.ndcg_at10), improvement=change(metrics.improvement_percent))


class ModelVersion(Resource):
    """A ModelVersion as the API server stores it."""

    kind: Literal["ModelVersion"] = "ModelVersion"
    spec: ModelVersionSpec
    status: ModelVersionStatus = Field(default_factory=ModelVersionStatus)
