"""StageResult: what a stage did. Whole in the artifact store; short enough for the termination message of the pod."""

from datetime import datetime
from enum import IntEnum

from pydantic import Field

from attune.contract.base import Contract
from attune.contract.index import IndexSummary
from attune.contract.metrics import EvaluationMetrics, TrainingMetrics
from attune.contract.stage import Stage

TERMINATION_MESSAGE_BYTES = 4096


class ExitCode(IntEnum):
    """Exit codes of a stage (sysexits.h where it has a name for it). `final` ones are never retried."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    BAD_DATA = 65
    STORE_UNAVAILABLE = 74
    INTERRUPTED = 75
    TRAINING_DIVERGED = 76
    BAD_CONFIG = 78

    @staticmethod
    def is_final(code: int | None) -> bool:
        """True for codes where a retry would only repeat the same failure. None (pod lost) is retried."""
        return code in {ExitCode.USAGE, ExitCode.BAD_DATA, ExitCode.TRAINING_DIVERGED, ExitCode.BAD_CONFIG}


class DatasetSummary(Contract):
    """A snapshot of training data."""

    uri: str = Field(description="Folder of the snapshot.")
    digest: str = Field(description="sha256 of its manifest.json.")
    examples: int = Field(ge=0, description="Training pairs.")
    new_pairs: int | None = Field(
        None,
        ge=0,
        description="Training pairs that the snapshot last trained on did not have, by query and text; absent where that "
        "snapshot is gone.",
    )
    cost_usd: float | None = Field(
        None,
        alias="costUSD",
        ge=0,
        description="What this run paid for synthetic questions in US dollars, by data.synthetic.price; absent without one.",
    )
    validation_examples: int | None = Field(None, ge=0, description="Pairs that early stopping looks at.")
    held_out_queries: int | None = Field(None, ge=0, description="Queries on documents that were never trained on.")
    documents: int | None = Field(None, ge=0, description="Documents in the corpus.")
    by_source: dict[str, int] = Field(default_factory=dict, description="Training pairs by source.")
    dropped_by_reason: dict[str, int] = Field(default_factory=dict, description="Rows left out, by reason.")


class ModelSummary(Contract):
    """An exported artifact."""

    uri: str = Field(description="Folder of the artifact.")
    digest: str = Field(description="sha256 of its manifest.json, which holds the sha256 of every file.")
    dimensions: int | None = Field(None, ge=1, description="Length of its vectors; absent for rerankers.")
    embedding_space: str | None = Field(None, description="Digest of weights, pooling, normalization and prompts.")
    training: TrainingMetrics | None = Field(None, description="What training reported; absent for imports.")


class EvaluationReport(Contract):
    """Where the report of an evaluation lies; report.json beside it has the same as numbers."""

    page: str = Field(description="report.html: metrics, curves, queries won and lost, examples.")
    card: str = Field(description="model-card.md: what the model is, what it was made of and how good it is.")


class EvaluationSummary(Contract):
    """Numbers of an evaluate stage."""

    metrics: EvaluationMetrics = Field(description="What was measured.")
    not_measured: dict[str, str] = Field(default_factory=dict, description="Metric → why it is absent.")
    report: EvaluationReport | None = Field(None, description="Where to read more of it.")


class StageResult(Contract):
    """Outcome of one stage. At most one of dataset, model, evaluation, index is set, and only when it succeeded."""

    stage: Stage
    spec_digest: str
    succeeded: bool
    reason: str = Field(description="CamelCase, for conditions: Completed, InsufficientData, StoreUnavailable, …")
    message: str = Field(description="A sentence with the numbers, and the way out when it failed.")
    started_at: datetime | None = None
    finished_at: datetime | None = None
    dataset: DatasetSummary | None = None
    model: ModelSummary | None = None
    evaluation: EvaluationSummary | None = None
    index: IndexSummary | None = None

    def termination_message(self) -> str:
        """JSON of at most 4096 bytes: the sentence is cut before any number is."""
        text = self.to_json()
        if len(text.encode()) <= TERMINATION_MESSAGE_BYTES:
            return text
        excess = len(text.encode()) - TERMINATION_MESSAGE_BYTES
        message = self.message.encode()
        kept = message[: max(0, len(message) - 2 * excess - 4)].decode(errors="ignore")
        return self.model_copy(update={"message": kept + "…"}).to_json()

    @classmethod
    def from_termination_message(cls, text: str | None) -> "StageResult | None":
        """None where the pod left no message, or not one of ours (killed before it could write)."""
        if not text:
            return None
        try:
            return cls.from_json(text)
        except ValueError:
            return None
