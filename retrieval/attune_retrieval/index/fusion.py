"""Hybrid search: what the vectors find and what the words find, as one ranking. Pure but for the two searches.

Weighted z-scores: both scores of every candidate, each with mean 0 and deviation 1 over the candidates, added with a
weight (Renda & Straccia 2003 compare such rules). A candidate that only the words found gets its exact dense score from its
stored vector; one that only the vectors found has no word of the query among the best and counts 0 for BM25.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attune.contract.index import Distance
from attune_retrieval.graph import Floats
from attune_retrieval.index.collection import Collection, Hit, similarities
from attune_retrieval.index.filters import Condition

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fusion:
    """How two rankings become one. The defaults were chosen by benchmarks/hybrid.py."""

    rule: Literal["zScore", "reciprocalRank"] = "zScore"
    dense_weight: float = 0.5
    depth: int = 100
    """Candidates from each side, or k where that is more."""


DEFAULT = Fusion()


def search(  # noqa: PLR0913  a search has these parts
    collection: Collection,
    vector: Floats,
    query: str,
    k: int,
    *,
    distance: Distance = "cosine",
    conditions: Sequence[Condition] = (),
    fusion: Fusion | None = DEFAULT,
    on_dense: Callable[[Sequence[Hit]], None] = lambda _: None,
) -> list[Hit]:
    """The k best documents, best first; `fusion` None searches by vector alone. `on_dense` sees what the vectors alone found."""
    depth = k if fusion is None else max(k, fusion.depth)
    dense = collection.dense(vector, depth, conditions)
    on_dense(dense)
    if fusion is None:
        return dense
    words = collection.by_words(query, depth, conditions)
    if not words:
        return dense[:k]
    return fuse(collection, vector, dense, words, distance, fusion)[:k]


def fuse(
    collection: Collection,
    vector: Floats,
    dense: Sequence[Hit],
    words: Sequence[Hit],
    distance: Distance,
    fusion: Fusion,
) -> list[Hit]:
    """All candidates in one ranking; equal scores by id, so that it is the same in every process."""
    hits = {hit.id: hit for hit in (*words, *dense)}
    ids = sorted(hits)
    if fusion.rule == "reciprocalRank":
        scores = reciprocal_rank(ids, [h.id for h in dense], [h.id for h in words])
    else:
        by_dense = {hit.id: hit.score for hit in dense}
        lacking = [i for i in ids if i not in by_dense]
        stored = collection.vectors(lacking) if lacking else {}
        found = [i for i in lacking if i in stored]
        if found:
            exact = similarities(vector, np.stack([stored[i] for i in found]), distance)
            by_dense |= dict(zip(found, map(float, exact), strict=True))
        floor = min(by_dense.values(), default=0.0)
        by_words = {hit.id: hit.score for hit in words}
        scores = weighted_z_scores(
            np.array([by_dense.get(i, floor) for i in ids]),
            np.array([by_words.get(i, 0.0) for i in ids]),
            fusion.dense_weight,
        )
    order = np.argsort(-scores, kind="stable")
    return [_scored(hits[ids[position]], float(scores[position])) for position in order]


def weighted_z_scores(dense: Scores, words: Scores, weight: float) -> Scores:
    """weight * z(dense) + (1 - weight) * z(words); a side in which all candidates are equal decides nothing."""
    return weight * _z(dense) + (1 - weight) * _z(words)


def reciprocal_rank(ids: Sequence[str], *rankings: Sequence[str], constant: int = 60) -> Scores:
    """Sum of 1 / (60 + rank) over the rankings that have the id (Cormack, Clarke & Büttcher 2009)."""
    places = [{name: rank for rank, name in enumerate(ranking, 1)} for ranking in rankings]
    return np.array([sum(1 / (constant + p[i]) for p in places if i in p) for i in ids])


def _z(values: Scores) -> Scores:
    deviation = float(values.std())
    return (values - values.mean()) / deviation if deviation > 1e-12 else np.zeros_like(values)


def _scored(hit: Hit, score: float) -> Hit:
    return Hit(hit.id, score, hit.title, hit.content, hit.published_at)
