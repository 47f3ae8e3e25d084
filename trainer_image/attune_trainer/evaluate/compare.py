"""The evaluate stage: candidate, active version, base model and BM25 on one held-out set. Called by `stages`."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from attune.contract import EvaluationConfig, EvaluationMetrics, EvaluationSummary
from attune.contract.metrics import RetrievalMetrics
from attune_retrieval.artifact import open_verified
from attune_retrieval.encoding import Encoder
from attune_retrieval.manifest import Manifest
from attune_trainer.data.bm25 import Bm25
from attune_trainer.errors import BadConfig
from attune_trainer.evaluate.bootstrap import verdict
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.measure import Measured, camel, intervals, measure_encoder, measure_rankings

log = logging.getLogger(__name__)
Advance = Callable[[float], None]
JUDGED = ("faithfulness", "relevance")
SCORED_BY_DEFAULT = ("faithfulness", "relevance", "context_precision", "context_recall")
NO_JUDGE = "no judge configured (Retriever.spec.judge)"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An opened artifact, and what its manifest says."""

    encoder: Encoder
    manifest: Manifest

    @staticmethod
    def open(folder: Path, digest: str | None) -> "Candidate":
        """Verified by digests and golden vectors; BadData (ArtifactCorrupt) otherwise."""
        opened = open_verified(folder, digest)
        return Candidate(opened.encoder, opened.manifest)

    def is_import_of(self, base: str) -> bool:
        """Whether this is the untouched base model itself, so that it need not be measured twice."""
        return self.manifest.source == "import" and self.manifest.base_model == base

    def same_model(self, other: "Candidate") -> bool:
        """Whether both rank alike. Versions of one space may differ in how they read queries (method queryOnly, an adapter)."""
        mine, theirs = self.manifest, other.manifest
        if mine.embedding_space != theirs.embedding_space or mine.max_sequence_length != theirs.max_sequence_length:
            return False
        one_graph = mine.document_graph is None and theirs.document_graph is None
        return (one_graph and _weights(mine) == _weights(theirs)) or mine.files == theirs.files


def _weights(manifest: Manifest) -> list[str]:
    return [file.sha256 for file in manifest.files if file.path.endswith(".safetensors")]


@dataclass(frozen=True, slots=True)
class Contenders:
    """Who is compared. `base` is only called where the base model is neither of the other two."""

    candidate: Candidate
    active: Candidate | None
    base_name: str
    base: Callable[[], Encoder]


def evaluate(
    contenders: Contenders,
    held_out: HeldOut,
    config: EvaluationConfig,
    *,
    seed: int,
    report: Callable[[float, float], Advance],
) -> EvaluationSummary:
    """Measure all, compare the candidate with the active version or, where none is active, with the base model.

    `report(start, end)` gives the function that hears the share of a part of the work.
    """
    of_bm25 = measure_bm25(held_out, k=config.k)
    candidate = measure_encoder(contenders.candidate.encoder, held_out, k=config.k, advance=report(5, 40))
    active = _active(contenders, candidate, held_out, config.k, report(40, 65))
    base = _base(contenders, candidate, active, held_out, config.k, report(65, 90))
    other = active or base
    differences = intervals(candidate, other, held_out, resamples=config.resamples, seed=seed)
    measured = candidate.metrics()
    before = other.metrics().ndcg_at10 or 0.0
    score, made_of = scored(measured, config)
    metrics = EvaluationMetrics(
        **measured.model_dump(),
        queries=len(held_out.queries),
        documents=len(held_out.documents),
        score=score,
        score_metric=made_of,
        improvement_percent=round(100 * ((measured.ndcg_at10 or 0.0) - before) / before, 2) if before else None,
        verdict=verdict(differences["ndcgAt10"]),
        intervals=differences,
        baseline=active.metrics() if active else None,
        base=base.metrics(),
        bm25=of_bm25.metrics(),
    )
    return EvaluationSummary(metrics=metrics, not_measured=dict.fromkeys(JUDGED, NO_JUDGE))


def measure_bm25(held_out: HeldOut, *, k: int) -> Measured:
    """BM25 over the same corpus; a document without a word of the query is not found."""
    positions, scores = Bm25(held_out.texts).search(list(held_out.queries.values()), max(k, 10))
    rankings = [
        [held_out.documents[position] for position, score in zip(row, row_scores, strict=True) if score > 0]
        for row, row_scores in zip(positions.tolist(), scores.tolist(), strict=True)
    ]
    return measure_rankings(rankings, held_out, k=k)


def _active(
    contenders: Contenders, candidate: Measured, held_out: HeldOut, k: int, advance: Advance
) -> Measured | None:
    if contenders.active is None:
        return None
    if contenders.active.same_model(contenders.candidate):
        return candidate
    return measure_encoder(contenders.active.encoder, held_out, k=k, advance=advance)


def _base(
    contenders: Contenders, candidate: Measured, active: Measured | None, held_out: HeldOut, k: int, advance: Advance
) -> Measured:
    if contenders.candidate.is_import_of(contenders.base_name):
        return candidate
    if active is not None and contenders.active is not None and contenders.active.is_import_of(contenders.base_name):
        return active
    return measure_encoder(contenders.base(), held_out, k=k, advance=advance)


def scored(measured: RetrievalMetrics, config: EvaluationConfig) -> tuple[float | None, str]:
    """The number that evalThreshold is compared with, and what it is made of (JSON names)."""
    if config.score_metric in JUDGED:
        return None, config.score_metric
    if config.score_metric is not None:
        by_name = {camel(name): value for name, value in measured.model_dump().items() if value is not None}
        if config.score_metric not in by_name:
            raise BadConfig(
                f"evaluation.scoreMetric {config.score_metric!r} was not measured; "
                f"measured were {', '.join(sorted(by_name))}.",
                reason="ScoreMetricNotMeasured",
            )
        return by_name[config.score_metric], config.score_metric
    values = {name: value for name in SCORED_BY_DEFAULT if (value := getattr(measured, name)) is not None}
    return round(sum(values.values()) / len(values), 5), "mean of " + ", ".join(camel(name) for name in values)
