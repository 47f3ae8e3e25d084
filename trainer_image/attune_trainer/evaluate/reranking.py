"""The evaluate stage of a reranker: how much better the order of the first stage's best candidates becomes. Called by `stages`.

First stage: the active embedding version, or BM25 where there is none. The candidate, the active reranker and no reranking at all
order the same 50 candidates of the same held-out queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attune.contract import EvaluationConfig
from attune_retrieval.encoding import Encoder
from attune_retrieval.reranking import OnnxReranker
from attune_retrieval.weighing import ALONE, blended
from attune_trainer.data.bm25 import Bm25
from attune_trainer.evaluate.compare import Advance, Parts, measure_bm25
from attune_trainer.evaluate.comparison import Comparison
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.hybrid import BothRankings
from attune_trainer.evaluate.measure import Measured, intervals, measure_rankings
from attune_trainer.evaluate.ranking import TopK

DEPTH = 50


@dataclass(frozen=True, slots=True)
class Rerankers:
    """Who is compared, and what finds the candidates; None: BM25 finds them."""

    candidate: OnnxReranker
    active: OnnxReranker | None
    first_stage: Encoder | None
    candidate_weight: float = ALONE
    active_weight: float = ALONE
    """How much each counts beside the first stage: `manifest.rerank_weight`."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the first stage found for one query: positions in the corpus, best first, and its scores."""

    positions: tuple[int, ...]
    scores: tuple[float, ...]


def compare_rerankers(
    contenders: Rerankers, held_out: HeldOut, config: EvaluationConfig, *, seed: int, report: Parts
) -> Comparison:
    """Compared with the active reranker where there is one, else with the first stage's own order (`base`)."""
    found = first_stage(contenders.first_stage, held_out, report(2, 40))
    plain = measure_rankings([[held_out.documents[p] for p in row.positions] for row in found], held_out, k=config.k)

    def reranked(reranker: OnnxReranker, weight: float, advance: Advance) -> Measured:
        return measure_rankings(_reranked(reranker, weight, found, held_out, advance), held_out, k=config.k)

    candidate = reranked(contenders.candidate, contenders.candidate_weight, report(40, 70))
    active = reranked(contenders.active, contenders.active_weight, report(70, 98)) if contenders.active else None
    differences = intervals(candidate, active or plain, held_out, resamples=config.resamples, seed=seed)
    return Comparison(held_out, candidate, active, plain, measure_bm25(held_out, k=config.k), differences)


def first_stage(
    encoder: Encoder | None, held_out: HeldOut, advance: Advance, *, depth: int = DEPTH
) -> list[Candidates]:
    """Each query's candidates, at most `depth`; without an encoder those that BM25 finds."""
    queries = list(held_out.queries.values())
    if encoder is None:
        positions, scores = Bm25(held_out.texts).search(queries, depth, advance)
        found = [
            (row[row_scores > 0], row_scores[row_scores > 0]) for row, row_scores in zip(positions, scores, strict=True)
        ]
    else:
        search = TopK(encoder.encode(queries, "query"), depth)
        search.add(encoder.encode(held_out.texts, "document", advance), 0)
        found = list(zip(search.positions, search.scores, strict=True))
    return [Candidates(tuple(row.tolist()), tuple(row_scores.tolist())) for row, row_scores in found]


def hybrid_search(
    encoder: Encoder | None, dense_weight: float, held_out: HeldOut, advance: Advance, *, depth: int = DEPTH
) -> list[Candidates]:
    """Each query's candidates as a search finds them, at most `depth`, with their fused scores; `dense_weight`: the vectors' share.

    Without an encoder those that BM25 finds.
    """
    if encoder is None:
        return first_stage(None, held_out, advance, depth=depth)
    both = BothRankings(encoder.encode(list(held_out.queries.values()), "query"), held_out)
    both.add(encoder.encode(held_out.texts, "document", advance), 0)
    best = [one.best(dense_weight, depth) for one in both.candidates()]
    return [Candidates(tuple(positions.tolist()), tuple(scores.tolist())) for positions, scores in best]


def _reranked(
    reranker: OnnxReranker, weight: float, found: Sequence[Candidates], held_out: HeldOut, advance: Advance
) -> list[list[str]]:
    """Document ids of every query, best first; `weight`: how much the reranker counts beside the scores of the candidates."""
    queries = held_out.queries.values()
    pairs = [(query, held_out.texts[p]) for query, row in zip(queries, found, strict=True) for p in row.positions]
    scores = reranker.score(pairs, advance)
    rankings, at = [], 0
    for row in found:
        own = scores[at : at + len(row.positions)]
        at += len(row.positions)
        order = np.argsort(-blended(row.scores, own, weight), kind="stable")
        rankings.append([held_out.documents[row.positions[n]] for n in order])
    return rankings
