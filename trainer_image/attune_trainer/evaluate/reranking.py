"""The evaluate stage of a reranker: how much better the order of the first stage's best candidates becomes. Called by `stages`.

First stage: the active embedding version, or BM25 where there is none. The candidate, the active reranker and no reranking at all
order the same 50 candidates of the same held-out queries: those that the vectors find, and those of the hybrid search, which serves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from attune.contract import EvaluationConfig
from attune_retrieval.encoding import Encoder
from attune_retrieval.index.fusion import DEFAULT
from attune_retrieval.reranking import OnnxReranker
from attune_retrieval.weighing import ALONE, blended
from attune_trainer.data.bm25 import Bm25
from attune_trainer.evaluate.compare import Advance, Parts, measure_bm25
from attune_trainer.evaluate.comparison import Comparison
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.hybrid import BothRankings, ByWords
from attune_trainer.evaluate.measure import Measured, hybrid_intervals, intervals, measure_rankings

DEPTH = 50


@dataclass(frozen=True, slots=True)
class Rerankers:
    """Who is compared, and what finds the candidates; None: BM25 finds them."""

    candidate: OnnxReranker
    active: OnnxReranker | None
    first_stage: Encoder | None
    dense_weight: float = DEFAULT.dense_weight
    """The share of the first stage's vectors in its hybrid search."""
    candidate_weight: float = ALONE
    active_weight: float = ALONE
    """How much each counts beside the first stage: `manifest.rerank_weight`."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the first stage found for one query: positions in the corpus, best first, and its scores."""

    positions: tuple[int, ...]
    scores: tuple[float, ...]


Search = Sequence[Candidates]
"""What one search found, one a query in the order of the held-out set."""


def compare_rerankers(
    contenders: Rerankers, held_out: HeldOut, config: EvaluationConfig, *, seed: int, report: Parts
) -> Comparison:
    """Compared with the active reranker where there is one, else with the first stage's own order (`base`)."""
    found = searches(contenders.first_stage, contenders.dense_weight, held_out, report(2, 40))
    plain = [measure_rankings(_names(search, held_out), held_out, k=config.k) for search in found]

    def reranked(reranker: OnnxReranker, weight: float, advance: Advance) -> list[Measured]:
        orders = _reranked(reranker, weight, found, held_out, advance)
        return [measure_rankings(order, held_out, k=config.k) for order in orders]

    candidate = reranked(contenders.candidate, contenders.candidate_weight, report(40, 70))
    active = reranked(contenders.active, contenders.active_weight, report(70, 98)) if contenders.active else None
    other, drawn = active or plain, {"resamples": config.resamples, "seed": seed}
    told = Comparison(
        held_out,
        candidate[0],
        active[0] if active else None,
        plain[0],
        measure_bm25(held_out, k=config.k),
        intervals(candidate[0], other[0], held_out, **drawn),
    )
    if len(found) == 1:
        return told
    fused = hybrid_intervals(candidate[1], other[1], held_out, **drawn)
    return replace(told, differences={**told.differences, **fused}, hybrid=candidate[1], other_hybrid=other[1])


def searches(
    encoder: Encoder | None, dense_weight: float, held_out: HeldOut, advance: Advance, *, depth: int = DEPTH
) -> tuple[Search, ...]:
    """What vectors alone find, at most `depth` a query, then what the hybrid search finds; without an encoder only what BM25 finds.

    `dense_weight`: the vectors' share in the hybrid search; the scores of its candidates are the fused ones.
    """
    queries = list(held_out.queries.values())
    if encoder is None:
        positions, scores = Bm25(held_out.texts).search(queries, depth, advance)
        return (
            [_cut(row[values > 0], values[values > 0], depth) for row, values in zip(positions, scores, strict=True)],
        )
    both = BothRankings(encoder.encode(queries, "query"), ByWords.over(held_out))
    both.add(encoder.encode(held_out.texts, "document", advance), 0)
    alone = zip(both.dense.positions, both.dense.scores, strict=True)
    fused = (one.best(dense_weight, depth) for one in both.candidates())
    return [_cut(*row, depth) for row in alone], [_cut(*row, depth) for row in fused]


def hybrid_search(
    encoder: Encoder | None, dense_weight: float, held_out: HeldOut, advance: Advance, *, depth: int = DEPTH
) -> Search:
    """The last of `searches`: what is served."""
    return searches(encoder, dense_weight, held_out, advance, depth=depth)[-1]


def _cut(positions: NDArray[np.int64], scores: NDArray[np.floating], depth: int) -> Candidates:
    return Candidates(tuple(positions[:depth].tolist()), tuple(scores[:depth].tolist()))


def _names(search: Search, held_out: HeldOut) -> list[list[str]]:
    return [[held_out.documents[position] for position in row.positions] for row in search]


def _reranked(
    reranker: OnnxReranker, weight: float, found: Sequence[Search], held_out: HeldOut, advance: Advance
) -> list[list[list[str]]]:
    """Of each search the document ids of every query, best first; `weight`: how much the reranker counts beside the search's scores.

    What several searches found is scored once.
    """
    asked = list(held_out.queries.values())
    pairs = list(dict.fromkeys((n, p) for search in found for n, row in enumerate(search) for p in row.positions))
    scores = reranker.score([(asked[n], held_out.texts[p]) for n, p in pairs], advance)
    relevance = dict(zip(pairs, scores.tolist(), strict=True))

    def ordered(number: int, row: Candidates) -> Candidates:
        blend = blended(row.scores, [relevance[number, position] for position in row.positions], weight)
        order = np.argsort(-blend, kind="stable")
        return _cut(np.array(row.positions, np.int64)[order], blend[order], len(order))

    return [_names([ordered(number, row) for number, row in enumerate(search)], held_out) for search in found]
