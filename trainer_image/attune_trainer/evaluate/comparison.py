"""What was measured of all contenders on one held-out set, and the summary of it. Used by `compare` and `reranking`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from attune.contract import EvaluationConfig, EvaluationMetrics, EvaluationSummary, GeneralMetrics, JudgeSummary
from attune.contract.metrics import Interval, RetrievalMetrics
from attune_trainer.errors import BadConfig
from attune_trainer.evaluate.bootstrap import verdict
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.measure import Measured, camel

JUDGED = ("faithfulness", "relevance")
SCORED_BY_DEFAULT = ("faithfulness", "relevance", "context_precision", "context_recall")
NO_JUDGE = "no judge configured (Retriever.spec.judge)"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every contender on the same queries."""

    held_out: HeldOut
    candidate: Measured
    active: Measured | None
    base: Measured
    """The untouched base model; of rerankers, the first stage's own order."""
    bm25: Measured
    differences: Mapping[str, Interval]
    """Candidate minus `other`, by metric (JSON names)."""
    hybrid: Measured | None = None
    """The candidate in the hybrid search; None where there is none: of rerankers that nothing but BM25 finds candidates for."""
    other_hybrid: Measured | None = None
    """`other` there."""

    @property
    def other(self) -> Measured:
        """Whom the candidate is compared with: the active version or, where none is active, the base."""
        return self.active or self.base


@dataclass(frozen=True, slots=True)
class Beyond:
    """What was measured beside the rankings: by the judge, and on the general set."""

    candidate: Mapping[str, float] = field(default_factory=dict)
    """faithfulness and relevance, as far as they were measured."""
    active: Mapping[str, float] = field(default_factory=dict)
    differences: Mapping[str, Interval] = field(default_factory=dict)
    judge: JudgeSummary | None = None
    general: GeneralMetrics | None = None
    not_measured: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(JUDGED, NO_JUDGE))


def summarised(compared: Comparison, beyond: Beyond, config: EvaluationConfig) -> EvaluationSummary:
    """The numbers for the operator. BadConfig where scoreMetric names a metric that there is not."""
    measured = compared.candidate.metrics().model_copy(update=dict(beyond.candidate))
    before = compared.other.metrics().ndcg_at10 or 0.0
    score, made_of = scored(measured, config)
    active = compared.active.metrics().model_copy(update=dict(beyond.active)) if compared.active else None
    metrics = EvaluationMetrics(
        **measured.model_dump(),
        queries=len(compared.held_out.queries),
        documents=len(compared.held_out.documents),
        score=score,
        score_metric=made_of,
        improvement_percent=round(100 * ((measured.ndcg_at10 or 0.0) - before) / before, 2) if before else None,
        verdict=verdict(compared.differences["ndcgAt10"]),
        intervals={name: rounded(value) for name, value in {**compared.differences, **beyond.differences}.items()},
        baseline=active,
        base=compared.base.metrics(),
        bm25=compared.bm25.metrics(),
        hybrid=compared.hybrid.metrics() if compared.hybrid else None,
        hybrid_baseline=compared.other_hybrid.metrics() if compared.other_hybrid else None,
        judge=beyond.judge,
        general=beyond.general,
    )
    return EvaluationSummary(metrics=metrics, not_measured=dict(beyond.not_measured))


def rounded(interval: Interval) -> Interval:
    """To what is worth reading, and fits a termination message."""
    return Interval(low=round(interval.low, 5), high=round(interval.high, 5))


def scored(measured: RetrievalMetrics, config: EvaluationConfig) -> tuple[float | None, str]:
    """The number that evalThreshold is compared with, and what it is made of (JSON names); None: not measured."""
    if config.score_metric is None:
        values = {name: value for name in SCORED_BY_DEFAULT if (value := getattr(measured, name)) is not None}
        return round(sum(values.values()) / len(values), 5), "mean of " + ", ".join(camel(name) for name in values)
    by_name = {camel(name): value for name, value in measured.model_dump().items() if value is not None}
    if config.score_metric in by_name:
        return by_name[config.score_metric], config.score_metric
    if config.score_metric in JUDGED:
        return None, config.score_metric
    raise BadConfig(
        f"evaluation.scoreMetric {config.score_metric!r} was not measured; measured were {', '.join(sorted(by_name))}.",
        reason="ScoreMetricNotMeasured",
    )
