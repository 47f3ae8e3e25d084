"""After training a reranker: how much it should count beside the search whose candidates it orders. Called by its train stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attune_retrieval.blending import ALONE, blended
from attune_retrieval.encoding import Encoder
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.ranking import ndcg
from attune_trainer.evaluate.reranking import Candidates, first_stage

QUERIES, DEPTH = 120, 20
"""Validation queries, and candidates of each, that are looked at: some thousand pairs."""
FEWEST = 30
WEIGHTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, ALONE)
WORTH = 0.001
"""Of weights as good as each other the one nearest to a half is kept."""

Score = Callable[[Sequence[tuple[str, str]]], Sequence[float]]
"""(query, text) pairs to relevance in 0..1."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A query's candidates, by name, with the scores of both."""

    names: tuple[str, ...]
    first: tuple[float, ...]
    relevance: tuple[float, ...]

    def ranked(self, weight: float) -> list[str]:
        order = np.argsort(-blended(self.first, self.relevance, weight), kind="stable")
        return [self.names[n] for n in order]


def rerank_weight(
    score: Score, first: Encoder | None, held_out: HeldOut | None, check: Callable[[], None]
) -> float | None:
    """The reranker's share that finds most on the validation set; None where there are too few queries to tell.

    `first` None: BM25 is the search.
    """
    if held_out is None or len(held_out.queries) < FEWEST:
        return None
    asked = replace(held_out, queries=dict(list(held_out.queries.items())[:QUERIES]))
    found = first_stage(first, asked, lambda _: check(), depth=DEPTH)
    scored = {}
    for (query, text), candidates in zip(asked.queries.items(), found, strict=True):
        check()
        scored[query] = _scored(text, candidates, asked, score)
    return best_weight(scored, asked)


def best_weight(scored: dict[str, Scored], asked: HeldOut) -> float:
    """By mean nDCG@10 over the queries."""
    means = {
        weight: float(np.mean([ndcg(one.ranked(weight), asked.grades[query]) for query, one in scored.items()]))
        for weight in WEIGHTS
    }
    good_enough = max(means.values()) - WORTH
    return min((w for w, mean in means.items() if mean >= good_enough), key=lambda w: (abs(w - 0.5), w))


def _scored(text: str, found: Candidates, asked: HeldOut, score: Score) -> Scored:
    relevance = score([(text, asked.texts[p]) for p in found.positions]) if found.positions else []
    return Scored(tuple(asked.documents[p] for p in found.positions), found.scores, tuple(map(float, relevance)))
