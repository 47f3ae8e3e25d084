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
from attune_trainer.data.bm25 import Bm25
from attune_trainer.evaluate.compare import Advance, Parts, measure_bm25
from attune_trainer.evaluate.comparison import Comparison
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.measure import Measured, intervals, measure_rankings
from attune_trainer.evaluate.ranking import TopK

DEPTH = 50


@dataclass(frozen=True, slots=True)
class Rerankers:
    """Who is compared, and what finds the candidates; None: BM25 finds them."""

    candidate: OnnxReranker
    active: OnnxReranker | None
    first_stage: Encoder | None


def compare_rerankers(
    contenders: Rerankers, held_out: HeldOut, config: EvaluationConfig, *, seed: int, report: Parts
) -> Comparison:
    """Compared with the active reranker where there is one, else with the first stage's own order (`base`)."""
    found = first_stage(contenders.first_stage, held_out, report(2, 40))
    plain = measure_rankings([[held_out.documents[p] for p in row] for row in found], held_out, k=config.k)
    candidate = _reranked(contenders.candidate, found, held_out, config.k, report(40, 70))
    active = _reranked(contenders.active, found, held_out, config.k, report(70, 98)) if contenders.active else None
    differences = intervals(candidate, active or plain, held_out, resamples=config.resamples, seed=seed)
    return Comparison(held_out, candidate, active, plain, measure_bm25(held_out, k=config.k), differences)


def first_stage(encoder: Encoder | None, held_out: HeldOut, advance: Advance) -> list[list[int]]:
    """Positions of each query's candidates, best first; at most 50."""
    queries = list(held_out.queries.values())
    if encoder is None:
        positions, scores = Bm25(held_out.texts).search(queries, DEPTH, advance)
        return [
            [p for p, score in zip(row, row_scores, strict=True) if score > 0]
            for row, row_scores in zip(positions.tolist(), scores.tolist(), strict=True)
        ]
    search = TopK(encoder.encode(queries, "query"), DEPTH)
    search.add(encoder.encode(held_out.texts, "document", advance), 0)
    return [[int(p) for p in row] for row in search.positions]


def _reranked(
    reranker: OnnxReranker, found: Sequence[Sequence[int]], held_out: HeldOut, k: int, advance: Advance
) -> Measured:
    queries = list(held_out.queries.values())
    pairs = [(query, held_out.texts[p]) for query, row in zip(queries, found, strict=True) for p in row]
    scores = reranker.score(pairs, advance)
    rankings, at = [], 0
    for row in found:
        order = np.argsort(-scores[at : at + len(row)], kind="stable")
        at += len(row)
        rankings.append([held_out.documents[row[n]] for n in order])
    return measure_rankings(rankings, held_out, k=k)
