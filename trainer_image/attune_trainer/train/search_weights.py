"""After training: how much a version should count in a search, as its validation set tells. Called by the train stages.

Of an embedding model: its vectors beside words (BM25). A tuned model may be much better than BM25 or about as good, so that one share
for all would take from one what the other gains. Of a reranker: its relevance beside the scores of the hybrid search that found the
candidates. A version carries its share in its manifest.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from attune_retrieval.encoding import Vectors
from attune_retrieval.weighing import ALONE, blended
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.hybrid import BothRankings, ByWords, rankings
from attune_trainer.evaluate.ranking import ndcg
from attune_trainer.evaluate.reranking import Candidates

DENSE_WEIGHTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Tried shares of the vectors. Neither side is ever left out: names and numbers that no model has seen are found by words."""
RERANK_WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, ALONE)
RERANKED_QUERIES, RERANKED_DEPTH = 120, 20
"""Validation queries, and candidates of each, that a reranker is tried on: some thousand pairs."""
FEWEST = 50
"""With fewer validation queries the best weight is chance, and the default stays."""
WORTH = 0.001
"""Of weights whose nDCG@10 is as close as this the one nearest to an even half is kept."""

Relevance = Callable[[Sequence[tuple[str, str]]], Iterable[float]]
"""(query, text) pairs to relevance in 0..1."""
Search = Callable[[HeldOut], Sequence[Candidates]]
"""What a search finds, one a query: at most RERANKED_DEPTH candidates are of use."""


def best_weight(ndcg_by_weight: Mapping[float, float]) -> float:
    """The weight with the highest nDCG@10; of those that are as good, the one nearest to a half."""
    good_enough = max(ndcg_by_weight.values()) - WORTH
    return min((w for w, score in ndcg_by_weight.items() if score >= good_enough), key=lambda w: (abs(w - 0.5), w))


def careful_weight(ndcg_by_weight: Mapping[float, NDArray[np.float64]]) -> float:
    """The smallest weight that is as good as the best one but for chance: by no more than one standard error of the difference.

    nDCG@10 by query for each weight, the queries in the same order. The one-standard-error rule (Breiman, Friedman, Olshen and Stone
    1984, CART, 3.4.3): what a reranker learnt from may look unlike what it will be asked, and then the search is what is left.
    """
    best = max(ndcg_by_weight.values(), key=lambda scores: float(scores.mean()))

    def as_good(scores: NDArray[np.float64]) -> bool:
        behind = best - scores
        return bool(behind.mean() <= behind.std(ddof=1) / np.sqrt(len(behind)))

    return min(weight for weight, scores in ndcg_by_weight.items() if as_good(scores))


def dense_weight(queries: Vectors, documents: Vectors, held_out: HeldOut) -> float | None:
    """The share of the vectors' scores that finds most on the validation set; None where there are too few queries to tell.

    Unit vectors, in the order of `held_out`: (queries x dimensions), (documents x dimensions).
    """
    if len(held_out.queries) < FEWEST:
        return None
    search = BothRankings(queries, ByWords.over(held_out))
    search.add(documents, 0)
    found = search.candidates()
    return best_weight({w: mean_ndcg(rankings(found, held_out, w, 10), held_out) for w in DENSE_WEIGHTS})


@dataclass(frozen=True, slots=True)
class Scored:
    """A query's candidates, by name, with the scores of the search and the reranker's."""

    names: tuple[str, ...]
    first: tuple[float, ...]
    relevance: tuple[float, ...]

    def ranked(self, weight: float) -> list[str]:
        order = np.argsort(-blended(self.first, self.relevance, weight), kind="stable")
        return [self.names[n] for n in order]


def rerank_weight(
    relevance: Relevance, search: Search, held_out: HeldOut | None, check: Callable[[], None]
) -> float | None:
    """The reranker's share, as the validation set tells; None where there are too few queries to tell.

    Tried on the candidates of the search itself: mined negatives would not do, the search ranks them right by definition.
    """
    if held_out is None or len(held_out.queries) < FEWEST:
        return None
    asked = replace(held_out, queries=dict(list(held_out.queries.items())[:RERANKED_QUERIES]))
    rows = scored(search(asked), asked, relevance, check)
    return careful_weight({w: ndcg_of([one.ranked(w) for one in rows], asked) for w in RERANK_WEIGHTS})


def mean_ndcg(ranked: Sequence[Sequence[str]], held_out: HeldOut) -> float:
    """Mean nDCG@10 of rankings in the order of `held_out.queries`."""
    return float(ndcg_of(ranked, held_out).mean())


def ndcg_of(ranked: Sequence[Sequence[str]], held_out: HeldOut) -> NDArray[np.float64]:
    """nDCG@10 of each ranking, in the order of `held_out.queries`."""
    grades = (held_out.grades[query] for query in held_out.queries)
    return np.array([ndcg(row, judged) for row, judged in zip(ranked, grades, strict=True)])


def scored(
    found: Sequence[Candidates], asked: HeldOut, relevance: Relevance, check: Callable[[], None]
) -> list[Scored]:
    """Each query's candidates with both scores; `check` is heard between two queries."""
    rows = []
    for text, one in zip(asked.queries.values(), found, strict=True):
        check()
        given: Iterable[float] = relevance([(text, asked.texts[p]) for p in one.positions]) if one.positions else ()
        rows.append(Scored(tuple(asked.documents[p] for p in one.positions), one.scores, tuple(map(float, given))))
    return rows
