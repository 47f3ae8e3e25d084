"""Ranking metrics of one query, and the search that makes the rankings. Pure; called by `evaluate.measure`.

Every function takes the ranked document ids (best first) and the judged grades {document id: grade}; grades above 0 are
relevant. Documents without a judgement count as not relevant, as in trec_eval and BEIR.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Grades = Mapping[str, int]


def ndcg(ranked: Sequence[str], grades: Grades, k: int = 10) -> float:
    """Normalized discounted cumulative gain with linear gain, trec_eval's ndcg_cut (Järvelin & Kekäläinen 2002).

    DCG = sum over ranks i = 1..k of grade_i / log2(i + 1), divided by the DCG of the ideal order.
    """
    ideal = _dcg(sorted((grade for grade in grades.values() if grade > 0), reverse=True)[:k])
    found = _dcg([max(0, grades.get(document, 0)) for document in ranked[:k]])
    return found / ideal if ideal > 0 else 0.0


def _dcg(gains: Iterable[int]) -> float:
    return float(sum(gain / np.log2(rank + 1) for rank, gain in enumerate(gains, start=1)))


def reciprocal_rank(ranked: Sequence[str], grades: Grades, k: int = 10) -> float:
    """1 / rank of the first relevant document among the first k, else 0 (MS MARCO's MRR@k is its mean)."""
    return next((1 / rank for rank, document in enumerate(ranked[:k], start=1) if grades.get(document, 0) > 0), 0.0)


def recall(ranked: Sequence[str], grades: Grades, k: int = 10) -> float:
    """Share of the relevant documents that are among the first k; also RAGAS' context recall, by document ids."""
    relevant = {document for document, grade in grades.items() if grade > 0}
    return len(relevant.intersection(ranked[:k])) / len(relevant) if relevant else 0.0


def context_precision(ranked: Sequence[str], grades: Grades, k: int = 10) -> float:
    """RAGAS' Context Precision@K with relevance judged by document ids.

    Sum over ranks i = 1..k of precision@i times relevance_i, divided by the number of relevant ones among the first k.
    https://docs.ragas.io/en/stable/concepts/metrics/available_metrics/context_precision/
    """
    hits, total = 0, 0.0
    for rank, document in enumerate(ranked[:k], start=1):
        if grades.get(document, 0) > 0:
            hits += 1
            total += hits / rank
    return total / hits if hits else 0.0


class TopK:
    """The k best documents of every query, over blocks of a corpus that never needs to be in memory whole.

    Equal scores are ordered by position in the corpus, so that a ranking does not depend on the size of the blocks.
    """

    def __init__(self, queries: NDArray[np.float32], k: int) -> None:
        self.queries = queries
        self.k = k
        self.scores = np.empty((len(queries), 0), dtype=np.float32)
        self.positions = np.empty((len(queries), 0), dtype=np.int64)

    def add(self, block: NDArray[np.float32], start: int) -> None:
        """Score a block of document vectors whose first one has the position `start` in the corpus."""
        scores = np.hstack([self.scores, self.queries @ block.T])
        positions = np.hstack(
            [self.positions, np.broadcast_to(np.arange(start, start + len(block)), (len(self.queries), len(block)))]
        )
        order = np.lexsort((positions, -scores), axis=1)[:, : self.k]
        self.scores = np.take_along_axis(scores, order, axis=1)
        self.positions = np.take_along_axis(positions, order, axis=1)


MEASURES: dict[str, Callable[[Sequence[str], Grades, int], float]] = {
    "ndcg_at10": lambda ranked, grades, _: ndcg(ranked, grades, 10),
    "mrr_at10": lambda ranked, grades, _: reciprocal_rank(ranked, grades, 10),
    "recall_at10": lambda ranked, grades, _: recall(ranked, grades, 10),
    "context_precision": context_precision,
    "context_recall": recall,
}
"""The measured fields of contract.RetrievalMetrics; the last two look at EvaluationConfig.k documents."""
