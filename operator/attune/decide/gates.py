"""The gates between an evaluated candidate and `staged`: a list of small functions. Adding one = one function + one line."""

from collections.abc import Callable
from dataclasses import dataclass

from attune.contract import EvaluationMetrics, EvaluationSummary
from attune.contract.metrics import HYBRID_INTERVAL


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something may not go on: a CamelCase reason and a sentence with the numbers."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """What the gates look at."""

    evaluation: EvaluationSummary
    eval_threshold: float
    max_general_drop: float = 1.0
    serves_hybrid: bool = True
    """Whether searches fuse vectors and words: `Retriever.spec.index.hybrid`."""


def not_measured(candidate: Candidate) -> Problem | None:
    metrics = candidate.evaluation.metrics
    if metrics.score is not None:
        return None
    why = "; ".join(f"{name}: {reason}" for name, reason in sorted(candidate.evaluation.not_measured.items()))
    return Problem(
        "NotMeasured",
        f"no score to compare with evalThreshold {candidate.eval_threshold:g} ({why or 'no metric was measured'}); "
        "set evaluation.scoreMetric to a metric that is measured, or add held-out data",
    )


def below_threshold(candidate: Candidate) -> Problem | None:
    metrics = candidate.evaluation.metrics
    if metrics.score is None or metrics.score >= candidate.eval_threshold:
        return None
    return Problem(
        "BelowThreshold",
        f"{metrics.score_metric or 'score'} {metrics.score:.3f} < {candidate.eval_threshold:g} (evalThreshold), "
        f"on {metrics.queries} queries",
    )


def worse_than_active(candidate: Candidate) -> Problem | None:
    metrics = candidate.evaluation.metrics
    if metrics.verdict != "worse":
        return None
    return Problem("WorseThanActive", f"worse than the active version: {compared(candidate.evaluation)}")


def worse_in_hybrid_search(candidate: Candidate) -> Problem | None:
    """Better by itself and clearly worse in what serves: it must not serve. What may be chance is no reason."""
    metrics = candidate.evaluation.metrics
    interval = (metrics.intervals or {}).get(HYBRID_INTERVAL)
    if not candidate.serves_hybrid or interval is None or interval.high >= 0:
        return None
    return Problem(
        "WorseInHybridSearch",
        f"worse in the search that serves: {hybrid(metrics)}; add pairs like what users ask (labels, feedback), or, where searches "
        "are by vectors alone, set the Retriever's index.hybrid: false",
    )


def forgot_general(candidate: Candidate) -> Problem | None:
    """More than the limit was lost, and not by chance: the best estimate is compared, the interval must exclude 0."""
    general, limit = candidate.evaluation.metrics.general, candidate.max_general_drop
    if general is None or general.drop <= limit or general.interval.high >= 0:
        return None
    return Problem(
        "ForgotGeneral",
        f"nDCG@10 on the general set ({general.name}) {general.base:.3f} (base) → {general.ndcg_at10:.3f}, a drop of "
        f"{general.drop:.3f} > {limit:g} (evaluation.maxGeneralDrop), 95% CI {general.interval.low:+.3f} to "
        f"{general.interval.high:+.3f}, on {general.queries} queries: it forgot what the base model knew; lower learningRate or "
        "epochs, use method lora, or raise maxGeneralDrop",
    )


GATES: tuple[Callable[[Candidate], Problem | None], ...] = (
    not_measured,
    below_threshold,
    worse_than_active,
    worse_in_hybrid_search,
    forgot_general,
)

REASONS = frozenset({"NotMeasured", "BelowThreshold", "WorseThanActive", "WorseInHybridSearch", "ForgotGeneral"})
"""What the gates call what they refuse."""


def first_problem(candidate: Candidate) -> Problem | None:
    """The first gate that is closed; None when all are open."""
    return next((problem for gate in GATES if (problem := gate(candidate))), None)


def compared(evaluation: EvaluationSummary) -> str:
    """`nDCG@10 0.692 (active) → 0.769 (+11.1%, 95% CI +0.051 to +0.103) on 678 queries; hybrid search …`, as far as it was measured."""
    metrics = evaluation.metrics
    if metrics.ndcg_at10 is None:
        return "nDCG@10 was not measured"
    queries = f" on {metrics.queries} queries" if metrics.queries is not None else ""
    before = metrics.baseline or metrics.base
    if before is None or before.ndcg_at10 is None:
        return f"nDCG@10 {metrics.ndcg_at10:.3f}{queries}"
    change = f"{metrics.improvement_percent:+.1f}%" if metrics.improvement_percent is not None else ""
    interval = (metrics.intervals or {}).get("ndcgAt10")
    bounds = f"95% CI {interval.low:+.3f} to {interval.high:+.3f}" if interval else ""
    detail = ", ".join(part for part in (change, bounds) if part)
    against = "active" if metrics.baseline else "base"
    return (
        f"nDCG@10 {before.ndcg_at10:.3f} ({against}) → {metrics.ndcg_at10:.3f}"
        + (f" ({detail})" if detail else "")
        + queries
        + (f"; {fused}" if (fused := hybrid(metrics)) else "")
    )


def hybrid(metrics: EvaluationMetrics) -> str:
    """`hybrid search 0.827 (active) → 0.838 (95% CI +0.003 to +0.019)`; "" where that was not measured."""
    found, before = metrics.hybrid, metrics.hybrid_baseline
    if found is None or before is None or found.ndcg_at10 is None or before.ndcg_at10 is None:
        return ""
    interval = (metrics.intervals or {}).get(HYBRID_INTERVAL)
    bounds = f" (95% CI {interval.low:+.3f} to {interval.high:+.3f})" if interval else ""
    against = "active" if metrics.baseline else "base"
    return f"hybrid search {before.ndcg_at10:.3f} ({against}) → {found.ndcg_at10:.3f}{bounds}"
