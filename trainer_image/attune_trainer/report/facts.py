"""The values that report and model card are made of, and their JSON form (report.json). No drawing, no words."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from attune.contract import Contract, EvaluationConfig, EvaluationSummary, ModelType, TrainingConfig, TrainingMetrics
from attune.contract.metrics import Interval

Point = tuple[int, float, float]
"""Optimizer steps done, epochs done, value."""


class DataFacts(Contract):
    """The snapshot that a version was trained and measured on, as its manifest tells."""

    digest: str | None = None
    examples: int | None = None
    validation_examples: int | None = None
    held_out_queries: int | None = None
    documents: int | None = None
    by_source: dict[str, int] = Field(default_factory=dict)
    dropped_by_reason: dict[str, int] = Field(default_factory=dict)
    split_by: str | None = None
    """How documents were divided: by time, or by chance."""
    held_out_since: str | None = None
    mining: dict[str, Any] = Field(default_factory=dict)


class Curve(Contract):
    """A training run, step by step."""

    losses: tuple[Point, ...] = ()
    looks: tuple[Point, ...] = ()
    """nDCG@10 on the validation set."""


class About(Contract):
    """A model, as far as it is known once it is exported."""

    name: str
    type: ModelType
    source: Literal["training", "import"]
    base_model: str
    license: str | None = None
    dimensions: int | None = None
    max_tokens: int
    pooling: str | None = None
    prompts: dict[str, str] = Field(default_factory=dict)
    dense_weight: float | None = None
    """Share of its vectors in a hybrid search; BM25 has the rest."""
    rerank_weight: float | None = None
    """Of a reranker: its share beside the search whose candidates it orders."""
    config: TrainingConfig | None = None
    libraries: dict[str, str] = Field(default_factory=dict)
    data: DataFacts | None = None
    training: TrainingMetrics | None = None
    curve: Curve = Curve()


class QueryChange(Contract):
    """One held-out query under both models; ranks are those of its best placed relevant document, None: not among the first."""

    id: str
    query: str
    before: float = Field(description="nDCG@10 of the version before.")
    after: float = Field(description="nDCG@10 of the candidate.")
    rank_before: int | None = None
    rank_after: int | None = None

    @property
    def difference(self) -> float:
        return self.after - self.before


class Shown(Contract):
    """The document that a model placed first."""

    id: str
    text: str
    relevant: bool


class Example(Contract):
    """A query that was won or lost, with the texts."""

    change: QueryChange
    relevant: Shown = Field(description="The document that was looked for.")
    before: Shown | None = Field(None, description="What the version before placed first.")
    after: Shown | None = Field(None, description="What the candidate placed first.")


class QueryChanges(Contract):
    """Wins and losses, by query."""

    won: int
    lost: int
    equal: int
    depth: int = Field(description="How deep the rankings were looked at.")
    by_query: tuple[QueryChange, ...] = Field(description="Largest gain first; in the middle, equal ones are left out.")
    examples_won: tuple[Example, ...] = ()
    examples_lost: tuple[Example, ...] = ()


class Report(Contract):
    """One evaluation."""

    format: Literal["attune.dev/report/v1alpha1"] = "attune.dev/report/v1alpha1"
    about: About
    retriever: str
    namespace: str
    run: str
    """TrainingJob, or the version itself for an import."""
    compared_with: str
    """Name of the version, or what else the candidate is compared with."""
    against: Literal["active", "base", "firstStage"]
    first_stage: str | None = None
    """Of rerankers: what finds the candidates."""
    evaluation: EvaluationSummary
    config: EvaluationConfig
    queries: QueryChanges
    written_at: datetime

    @property
    def ndcg_interval(self) -> Interval | None:
        return (self.evaluation.metrics.intervals or {}).get("ndcgAt10")
