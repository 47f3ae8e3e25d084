"""TrainingJob: one fine-tuning run, prepare → train → evaluate."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attune.api.base import ApiModel, Resource, Time
from attune.api.common import Compute, MetricName
from attune.api.display import percent, score, shown, span
from attune.api.experiment import ExperimentSettings
from attune.api.notifications import NotifyingStatus
from attune.api.openai import OpenAISettings
from attune.api.rules import Rule, immutable
from attune.api.values import ARCHIVE_URI, ObjectName, StartModel, uri_of
from attune.contract import (
    DatasetSummary,
    Dimensions,
    EvaluationSummary,
    GeneralSource,
    HardNegatives,
    Lora,
    ModelSummary,
    ModelType,
    Progress,
    Stage,
)


class Phase(StrEnum):
    """Where a TrainingJob is. Succeeded and Failed are final."""

    PENDING = "Pending"
    PREPARING = "Preparing"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    SUSPENDED = "Suspended"


class DataSource(ApiModel):
    """Which of the Retriever's sources are used."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.archive) && !self.archive && has(self.feedback) && !self.feedback && !self.synthetic)",
            "nothing is left to train on; set one of archive, feedback and synthetic to true, or leave archive "
            "or feedback out",
        ),
    )

    archive: bool | None = Field(
        None,
        description="Unset: used if the Retriever defines it. true: required. false: its titles make no training pairs (it "
        "stays what is searched).",
    )
    feedback: bool | None = Field(
        None, description="Unset: used if the Retriever defines it. true: required. false: not used."
    )
    synthetic: bool = Field(
        False, description="Use questions made by the Retriever's data.synthetic.llm; this costs money or time."
    )
    leads: bool = Field(
        True,
        description="Train an embedding model also on what each article says of itself: its title and first words. Such pairs do "
        "not count for minExamples. Rerankers are trained without them.",
    )
    min_examples: int | None = Field(
        None,
        ge=1,
        le=100_000_000,
        description="Fewer pairs than this fail the job with reason InsufficientData; unset: the operator's "
        "FINETUNE_MIN_EXAMPLES (1000).",
    )


class Hyperparameters(ApiModel):
    """How the weights are trained. Bounds and defaults are those of attune.contract.TrainingConfig."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.lora) || self.method == 'lora'",
            "lora describes adapters, which only method lora trains; set method: lora, or remove lora",
            path=".lora",
        ),
        Rule(
            "!has(self.matryoshkaDimensions) || self.method != 'queryOnly'",
            "queryOnly leaves document vectors as they are, and they are not trained to be cut; use method full or lora, "
            "or remove matryoshkaDimensions",
            path=".matryoshkaDimensions",
        ),
        Rule(
            "!has(self.matryoshkaDimensions) || (self.matryoshkaDimensions.isSorted() && self.matryoshkaDimensions.all(d, "
            "self.matryoshkaDimensions.exists_one(e, e == d)))",
            "matryoshkaDimensions must ascend; list each length once, the shortest first",
            path=".matryoshkaDimensions",
        ),
    )

    method: Literal["full", "queryOnly", "lora"] = Field(
        "full",
        description="full: all weights. queryOnly: document vectors stay as they are, so the index stays valid; starts from the "
        "active version, unless baseModel is set. lora: low-rank adapters, merged at the end.",
    )
    lora: Lora | None = Field(
        None, description="Adapters of method lora; unset with that method: rank 16, alpha 32, dropout 0.05."
    )
    matryoshka_dimensions: Dimensions | None = Field(
        None,
        description="Lengths, ascending and below the model's own, that vectors may be cut to: trained for them too, and "
        "served on `dimensions` of /v1/embeddings. Unset: whole vectors only.",
    )
    loss: Literal["multipleNegativesRanking", "cachedMultipleNegativesRanking", "guided", "bce", "listwise"] | None = (
        Field(None, description="Unset: multipleNegativesRanking for embeddings, bce for rerankers.")
    )
    epochs: int = Field(3, ge=1, le=100, description="Passes over the training pairs; early stopping may end sooner.")
    batch_size: int = Field(32, ge=2, le=4096, description="Pairs per optimizer step, and with it in-batch negatives.")
    learning_rate: float = Field(2e-5, gt=0, le=1, description="Peak learning rate.")
    warmup_steps: int = Field(
        100, ge=0, le=1_000_000, description="Steps of linear warm-up, at most a tenth of all steps."
    )
    max_sequence_length: int = Field(
        512,
        ge=8,
        le=32768,
        description="Tokens of each text that are trained on. A version reads as many, and no fewer than its base model (at most 512).",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 on GPUs and CPUs that compute it fast, else fp32."
    )
    seed: int = Field(42, ge=0, le=2**31 - 1, description="Seed of shuffling, splitting and initialisation.")
    hard_negatives: HardNegatives = Field(default_factory=HardNegatives, description="How wrong answers are mined.")


class Validation(ApiModel):
    """What is held out, and when training stops early."""

    split_ratio: float = Field(
        0.9, gt=0, lt=1, description="Share of documents that are trained on; the rest is held out."
    )
    early_stopping_patience: int = Field(
        2, ge=0, le=100, description="Evaluations without improvement before training stops; 0: never."
    )
    min_improvement: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="Rise of the validation metric that counts as improvement; the last weights are kept where none was better by as "
        "much, or by two standard errors.",
    )


class EvaluationSettings(ApiModel):
    """How the candidate is measured."""

    score_metric: MetricName | None = Field(
        None,
        description="Metric compared with evalThreshold; unset: the mean of those of contextPrecision, "
        "contextRecall, faithfulness and relevance that were measured.",
    )
    k: int = Field(
        10, ge=1, le=1000, description="Depth of the context that contextPrecision and contextRecall look at."
    )
    judged_queries: int = Field(
        50,
        ge=0,
        le=1000,
        description="Held-out queries whose answers the Retriever's judge looks at, for faithfulness and relevance; each costs "
        "up to 10 requests, and as many again for the active version. 0: none.",
    )
    general: Annotated[GeneralSource, uri_of(ARCHIVE_URI)] | None = Field(
        None,
        description="Set that guards against forgetting, of texts that have nothing to do with the data; unset: docstrings of "
        "Python's standard library.",
    )
    max_general_drop: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Fail a candidate whose nDCG@10 on the general set is lower than the base model's by more than this, where "
        "the 95% interval of the difference excludes 0. 1: never.",
    )


class Promotion(ApiModel):
    """How a version that passed becomes active."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.strategy != 'ABTest' || has(self.abTest)",
            "strategy ABTest needs abTest with its metrics, or use strategy Direct",
            path=".abTest",
        ),
        Rule(
            "self.strategy == 'ABTest' || !has(self.abTest)",
            "strategy Direct runs no test; remove abTest, or use strategy ABTest",
            path=".abTest",
        ),
    )

    strategy: Literal["Direct", "ABTest"] = Field(
        "Direct", description="Direct: at once. ABTest: when it wins on live traffic."
    )
    ab_test: ExperimentSettings | None = Field(None, description="The test to run, with strategy ABTest.")


class TrainingTemplate(ApiModel):
    """A run, without the Retriever it is for; shared by TrainingJob and TrainingSchedule."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(self.type == 'reranker' && has(self.provider) && self.provider == 'openai')",
            "openai fine-tunes no rerankers; use provider: local",
            path=".provider",
        ),
        Rule(
            "!has(self.openai) || !has(self.provider) || self.provider == 'openai'",
            "openai is for provider openai; remove it, or set provider: openai",
            path=".openai",
        ),
        Rule(
            "!(has(self.provider) && self.provider == 'openai' && has(self.baseModel))",
            "provider openai starts from openai.model; remove baseModel",
            path=".baseModel",
        ),
        Rule(
            "!(has(self.provider) && self.provider == 'openai' && self.hyperparameters.method != 'full')",
            "hyperparameters.method is for provider local; use openai.method and openai.side",
            path=".hyperparameters.method",
        ),
        Rule(
            "!has(self.hyperparameters.loss) || (self.type == 'reranker') == (self.hyperparameters.loss in "
            "['bce', 'listwise'])",
            "loss does not fit the type; embeddings take multipleNegativesRanking, "
            "cachedMultipleNegativesRanking or guided, rerankers bce or listwise",
            shown="'loss ' + self.hyperparameters.loss + ' does not fit type ' + self.type + '; embeddings take "
            "multipleNegativesRanking, "
            "cachedMultipleNegativesRanking or guided, rerankers bce or listwise'",
            path=".hyperparameters.loss",
        ),
        Rule(
            "!(self.type == 'reranker' && self.hyperparameters.method == 'queryOnly')",
            "queryOnly is for embeddings, where document vectors can stay as they are; use method full or lora",
            path=".hyperparameters.method",
        ),
        Rule(
            "!(self.type == 'reranker' && has(self.hyperparameters.matryoshkaDimensions))",
            "a reranker gives scores and has no vectors to cut; remove matryoshkaDimensions",
            path=".hyperparameters.matryoshkaDimensions",
        ),
    )

    type: ModelType = Field(description="embedding or reranker.")
    provider: Literal["local", "openai"] | None = Field(
        None,
        description="local: on this cluster. openai: through the OpenAI API. Unset: the operator's "
        "FINETUNE_PROVIDER (local).",
    )
    openai: OpenAISettings | None = Field(None, description="Which API, and how, with provider openai.")
    base_model: StartModel | None = Field(
        None,
        description="Model that training starts from: as in the Retriever, or version:NAME to continue from a "
        "ModelVersion; unset: the Retriever's.",
    )
    data_source: DataSource = Field(
        default_factory=DataSource, description="Which of the Retriever's sources are used."
    )
    hyperparameters: Hyperparameters = Field(
        default_factory=Hyperparameters, description="How the weights are trained."
    )
    validation: Validation = Field(
        default_factory=Validation, description="What is held out, and when training stops early."
    )
    eval_threshold: float = Field(
        0.85, ge=0, le=1, description="Score that the candidate must reach, or the job fails."
    )
    evaluation: EvaluationSettings = Field(
        default_factory=EvaluationSettings, description="How the candidate is measured."
    )
    auto_promote: bool | None = Field(
        None,
        description="Promote a version that passed without being asked; unset: the operator's "
        "FINETUNE_AUTO_PROMOTE (false).",
    )
    promotion: Promotion = Field(
        default_factory=Promotion, description="How a version that passed becomes active, where autoPromote is on."
    )
    compute: Compute = Field(
        default_factory=Compute,
        description="Where and with what it is computed; changes apply from the next stage Job on.",
    )
    backoff_limit: int = Field(
        2,
        ge=0,
        le=100,
        description="Failures to put up with; after one more the job fails. What a retry cannot cure fails at once.",
    )
    active_deadline_seconds: int | None = Field(
        None, ge=1, le=31_536_000, description="Longest time the job may be active, retries included; unset: no limit."
    )
    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        le=31_536_000,
        description="Delete the TrainingJob so long after its end; its ModelVersion stays. Unset: it is kept.",
    )


class TrainingJobSpec(TrainingTemplate):
    """One fine-tuning run. What is trained cannot be changed later; suspend, compute and limits can."""

    RULES: ClassVar[tuple[Rule, ...]] = immutable(
        "a run is what it was started as; create another TrainingJob",
        *("retriever", "type", "provider", "openai", "baseModel", "dataSource", "hyperparameters", "validation"),
        *("evalThreshold", "evaluation", "autoPromote", "promotion", "force"),
    )

    retriever: ObjectName = Field(description="Name of the Retriever in the same namespace.")
    suspend: bool = Field(
        False, description="true: do not start; a running stage writes a checkpoint and ends. false: go on from there."
    )
    force: bool = Field(
        False,
        description="true: train although a version of the same data and configuration was rolled back. false: such a "
        "run fails with reason RolledBackBefore as soon as its data is prepared.",
    )


class Attempt(ApiModel):
    """One stage Job."""

    stage: Stage = Field(description="prepare, train, evaluate, index or import.")
    number: int = Field(ge=1, description="Grows by one with each failure, over all stages.")
    job: str = Field(description="Name of the Job.")
    exit_code: int | None = Field(None, description="Exit code of its container; unset: it runs, or its Pod was lost.")
    reason: str | None = Field(None, description="Why it ended, in one CamelCase word.")
    message: str | None = Field(None, description="Why it ended, with the numbers.")
    started_at: Time | None = Field(None, description="When the Job was created.")
    finished_at: Time | None = Field(None, description="When it ended.")


Attempts = Annotated[tuple[Attempt, ...], Field(max_length=5)]


class TrainingJobSummary(ApiModel):
    """For `kubectl get`."""

    progress: str | None = Field(None, description="Share of the running stage that is done.")
    eta: str | None = Field(None, description="Time left for the running stage.")
    score: str | None = Field(None, description="The number that evalThreshold was compared with.")


class TrainingJobStatus(NotifyingStatus):
    """How far the run is, and what came of it."""

    phase: Phase | None = Field(
        None, description="Pending, Preparing, Training, Evaluating, Succeeded, Failed or Suspended."
    )
    reason: str | None = Field(None, description="Why it is in this phase, in one CamelCase word.")
    message: str | None = Field(None, description="Why it is in this phase, with the numbers.")
    model_version: str | None = Field(None, description="ModelVersion that this run makes.")
    progress: Progress | None = Field(None, description="How far the running stage is.")
    dataset: DatasetSummary | None = Field(None, description="Snapshot of the data that prepare made.")
    artifact: ModelSummary | None = Field(None, description="What train exported.")
    evaluation: EvaluationSummary | None = Field(None, description="What evaluate measured.")
    attempts: Attempts | None = Field(None, description="The last five stage Jobs.")
    failures: int | None = Field(None, ge=0, description="Failed attempts so far, compared with backoffLimit.")
    start_time: Time | None = Field(None, description="When the first stage began; reset by suspend, as in batch/v1.")
    completion_time: Time | None = Field(None, description="When the job succeeded or failed.")

    @shown
    def summary(self) -> TrainingJobSummary | None:
        """The same numbers for `kubectl get`."""
        measured = self.evaluation.metrics.score if self.evaluation else None
        if self.progress is None and measured is None:
            return None
        done, left = (
            (self.progress.percent, self.progress.estimated_remaining_seconds) if self.progress else (None, None)
        )
        return TrainingJobSummary(progress=percent(done), eta=span(left), score=score(measured))


class TrainingJob(Resource):
    """A TrainingJob as the API server stores it."""

    kind: Literal["TrainingJob"] = "TrainingJob"
    spec: TrainingJobSpec
    status: TrainingJobStatus = Field(default_factory=TrainingJobStatus)
