"""What the numbers mean, in sentences. Pure; used by `page`, `card` and the templates."""

from collections.abc import Iterator
from dataclasses import dataclass

from attune.contract import GeneralMetrics, Judgements, ModelType
from attune.contract.metrics import HYBRID_INTERVAL, RetrievalMetrics
from attune_trainer.report.facts import About, QueryChange, Report

METRICS = {
    "ndcgAt10": ("nDCG@10", "how early the relevant documents come"),
    "mrrAt10": ("MRR@10", "1 / place of the first relevant document"),
    "recallAt10": ("recall@10", "share of the relevant documents among the first 10"),
    "contextPrecision": ("context precision", "share of relevant documents, weighted by place, as RAGAS defines it"),
    "contextRecall": ("context recall", "share of the relevant documents that were retrieved"),
    "faithfulness": ("faithfulness", "share of an answer's statements that the passages support, by the judge"),
    "relevance": ("relevance", "how well an answer fits its question, by the judge"),
}
UNKNOWN_LICENCE = "unknown"


@dataclass(frozen=True, slots=True)
class Row:
    """A metric of every contender, as text; "" where it was not measured."""

    key: str
    name: str
    meaning: str
    candidate: str
    active: str
    base: str
    bm25: str
    difference: str
    interval: str


def other(report: Report) -> str:
    """Whom the candidate is compared with."""
    return {
        "active": f"{report.compared_with} (active)",
        "base": "the base model",
        "firstStage": f"the order of the first stage ({report.compared_with})",
    }[report.against]


def verdict(report: Report) -> str:
    """In two or three words."""
    return {"better": "Better", "worse": "Worse", "notWorse": "Not worse"}.get(
        report.evaluation.metrics.verdict or "", "Not compared"
    )


def headline(report: Report) -> str:
    """The result in one sentence, with its numbers."""
    metrics = report.evaluation.metrics
    before, interval = before_of(report), report.ndcg_interval
    if metrics.ndcg_at10 is None or before is None or before.ndcg_at10 is None or interval is None:
        return "nDCG@10 was not measured."
    start = {
        "better": f"Better than {other(report)}",
        "worse": f"Worse than {other(report)}",
        "notWorse": f"Not worse than {other(report)}, as far as these queries can tell",
    }[metrics.verdict or "notWorse"]
    return (
        f"{start}: nDCG@10 {before.ndcg_at10:.3f} → {metrics.ndcg_at10:.3f}, "
        f"{metrics.ndcg_at10 - before.ndcg_at10:+.3f} (95% interval {interval.low:+.3f} to {interval.high:+.3f}), "
        f"on {metrics.queries or 0:,} queries over {metrics.documents or 0:,} documents."
    )


def second_line(report: Report) -> str:
    """Queries won and lost, and BM25 as a sanity line."""
    found, metrics = report.queries, report.evaluation.metrics
    told = f"{found.won:,} queries are answered better, {found.lost:,} worse, {found.equal:,} as before."
    if metrics.bm25 is None or metrics.bm25.ndcg_at10 is None or metrics.ndcg_at10 is None:
        return told
    above = "above" if metrics.ndcg_at10 > metrics.bm25.ndcg_at10 else "not above"
    return f"{told} It is {above} plain word search (BM25 {metrics.bm25.ndcg_at10:.3f})."


def fused(report: Report) -> str:
    """What a hybrid search finds with it, beside the one without it, in one sentence; "" where that was not measured."""
    metrics, weight = report.evaluation.metrics, report.about.dense_weight
    found, before = metrics.hybrid, metrics.hybrid_baseline
    if found is None or before is None or found.ndcg_at10 is None or before.ndcg_at10 is None:
        return ""
    start = "Ordering what a hybrid search finds, as it serves"
    if report.about.type is ModelType.EMBEDDING:
        counted = "" if weight is None else f" (vectors count {weight:.2g}, words {1 - weight:.2g})"
        start = f"Fused with BM25, as a hybrid search does{counted}"
    interval = (metrics.intervals or {}).get(HYBRID_INTERVAL)
    bounds = f" (95% interval {interval.low:+.3f} to {interval.high:+.3f})" if interval else ""
    change = f"{before.ndcg_at10:.3f} → {found.ndcg_at10:.3f}, {found.ndcg_at10 - before.ndcg_at10:+.3f}{bounds}"
    return f"{start}: nDCG@10 {change}, beside {other(report)}."


def shares(about: About) -> dict[str, float]:
    """What counts how much in it and beside it, by what that is called: as the validation set wants it, else the defaults."""
    told = {
        "share of the tuned weights, beside the base model's": about.training.tuned_share if about.training else None,
        "share of its vectors in a hybrid search": about.dense_weight,
        "share beside the search that it reranks": about.rerank_weight,
    }
    return {name: value for name, value in told.items() if value is not None}


def before_of(report: Report) -> RetrievalMetrics | None:
    return report.evaluation.metrics.baseline if report.against == "active" else report.evaluation.metrics.base


def rows(report: Report) -> Iterator[Row]:
    """Every metric that the candidate has."""
    metrics, before = report.evaluation.metrics, before_of(report)
    for key, (name, meaning) in METRICS.items():
        value = of(metrics, key)
        if value is None:
            continue
        interval, was = (metrics.intervals or {}).get(key), of(before, key)
        yield Row(
            key,
            name,
            meaning,
            number(value),
            number(of(metrics.baseline, key)),
            number(of(metrics.base, key)),
            number(of(metrics.bm25, key)),
            "" if was is None else f"{value - was:+.3f}",
            "" if interval is None else f"{interval.low:+.3f} to {interval.high:+.3f}",
        )


def of(metrics: RetrievalMetrics | None, key: str) -> float | None:
    """A metric by its JSON name."""
    value = metrics.model_dump(by_alias=True).get(key) if metrics is not None else None
    return float(value) if value is not None else None


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def place(rank: int | None, depth: int) -> str:
    return f"not among the first {depth}" if rank is None else str(rank)


def move(change: QueryChange, depth: int) -> str:
    """`7 → 1`."""
    return f"{place(change.rank_before, depth)} → {place(change.rank_after, depth)}"


def judgements(counted: Judgements | None) -> str:
    """`148 of 150 judgements`."""
    return "" if counted is None else f"{counted.scored:,} of {counted.asked:,} judgements"


def general(metrics: GeneralMetrics) -> str:
    """What was forgotten, in one sentence."""
    bounds = f"95% interval {metrics.interval.low:+.3f} to {metrics.interval.high:+.3f}"
    change = f"nDCG@10 {metrics.base:.3f} (base) → {metrics.ndcg_at10:.3f}, {-metrics.drop:+.3f} ({bounds})"
    if metrics.interval.high < 0:
        start = "It lost some of what the base model knew"
    elif metrics.interval.low > 0:
        start = "It is better than the base model there, too"
    else:
        start = "Nothing was forgotten, as far as these queries can tell"
    return f"{start}: {change}, on {metrics.queries:,} queries over {metrics.documents:,} documents ({metrics.name})."


def limits(about: About, report: Report | None) -> list[str]:
    """What is known not to work, or not known at all; from what was measured where something was."""
    found = [f"Texts are cut at {about.max_tokens:,} tokens; what comes after is not seen."]
    if report is None:
        found.append(
            "What it is worth is measured after it was exported: see the report and the card of its evaluation."
        )
    else:
        metrics, queries = report.evaluation.metrics, report.queries
        since = about.data.held_out_since if about.data else None
        held_out = f"documents from {since} on" if since else "documents that were not trained on"
        found.append(
            f"Measured on {metrics.queries or 0:,} queries about {held_out}, over {metrics.documents or 0:,} documents of one archive; "
            "nothing is known of other collections."
        )
        if queries.lost:
            total = queries.won + queries.lost + queries.equal
            found.append(
                f"{queries.lost:,} of {total:,} queries ({queries.lost / total:.0%}) are answered worse than by {other(report)}."
            )
        if metrics.general is not None:
            found.append(f"Beyond that archive: {general(metrics.general)}")
        found += [
            f"{METRICS.get(name, (name,))[0]} not measured: {why}"
            for name, why in report.evaluation.not_measured.items()
        ]
    found.append("The languages of queries and documents were not detected, and no language was evaluated on its own.")
    found.append("Not evaluated for bias, for harmful content, or for use other than search over documents like those.")
    if about.license is None:
        found.append("The base model declares no licence; find out which it has before you publish this one.")
    return found
