"""Exact nearest neighbours in bounded memory: the best k documents of every query, block by block. Called by negatives.py.

Whatever the number of documents, scores are held for a block of queries and a block of documents only. Once a query has k
candidates, only scores above its worst one are looked at again: after a few blocks that is next to none of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]

QUERIES_AT_ONCE = 512
DOCUMENTS_AT_ONCE = 32_768
_ROUNDING = 1e-5


@dataclass(frozen=True, slots=True)
class Wanted:
    """Pairs whose rank is asked for: the query of each as a row, and the score of its positive."""

    query_rows: Rows
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Nearest:
    """`positions` (queries x min(k, documents)), best first, equal scores by position; `ranks`: for each pair wanted, how many
    documents score above its positive."""

    positions: Rows
    ranks: Rows


def nearest(
    queries: Vectors, documents: Vectors, k: int, wanted: Wanted, report: Callable[[float], None] = lambda _: None
) -> Nearest:
    """Inner products, exact: the same answer whatever the size of the blocks. `report` gets 0..1.

    Memory besides the vectors: a block of scores (64 MiB) and k numbers a query.
    """
    k = min(k, len(documents))
    positions = np.zeros((len(queries), k), np.int64)
    ranks = np.zeros(len(wanted.query_rows), np.int64)
    by_query = np.argsort(wanted.query_rows, kind="stable")
    starts = np.searchsorted(wanted.query_rows[by_query], np.arange(len(queries) + 1))
    for first in range(0, len(queries) if k else 0, QUERIES_AT_ONCE):
        last = min(first + QUERIES_AT_ONCE, len(queries))
        pairs = by_query[starts[first] : starts[last]]
        block = _Block(queries[first:last], k, wanted.query_rows[pairs] - first, wanted.scores[pairs] + _ROUNDING)
        for begin in range(0, len(documents), DOCUMENTS_AT_ONCE):
            block.add(documents[begin : begin + DOCUMENTS_AT_ONCE], begin)
            report((first + (last - first) * min(1.0, (begin + DOCUMENTS_AT_ONCE) / len(documents))) / len(queries))
        positions[first:last] = block.ordered()
        ranks[pairs] = block.above
    return Nearest(positions, ranks)


class _Block:
    """Some queries, and the best documents of those seen so far."""

    def __init__(self, queries: Vectors, k: int, rows: Rows, lines: NDArray[np.float32]) -> None:
        self.queries, self.k, self.rows, self.lines = queries, k, rows, lines
        self.above = np.zeros(len(rows), np.int64)
        self.scores = [np.empty(0, np.float32) for _ in queries]
        self.positions = [np.empty(0, np.int64) for _ in queries]
        self.worst = np.full(len(queries), -np.inf, np.float32)

    def add(self, documents: Vectors, begin: int) -> None:
        """Score a block of documents, the first of which has the position `begin`."""
        scores = self.queries @ documents.T
        for number, (row, line) in enumerate(zip(self.rows.tolist(), self.lines, strict=True)):
            self.above[number] += np.count_nonzero(scores[row] > line)
        hits = scores > self.worst[:, None]
        for row in np.flatnonzero(hits.any(axis=1)).tolist():
            found = np.flatnonzero(hits[row])
            self._merge(row, scores[row, found], found + begin)

    def _merge(self, row: int, scores: NDArray[np.float32], positions: Rows) -> None:
        """Both sides are in order of position, so that of equal scores the first ones stay."""
        scores = np.concatenate([self.scores[row], scores])
        positions = np.concatenate([self.positions[row], positions])
        if len(scores) > self.k:
            worst = np.partition(scores, len(scores) - self.k)[len(scores) - self.k]
            better, equal = scores > worst, np.flatnonzero(scores == worst)
            better[equal[: self.k - int(np.count_nonzero(better))]] = True
            scores, positions = scores[better], positions[better]
        self.scores[row], self.positions[row] = scores, positions
        if len(scores) == self.k:
            self.worst[row] = scores.min()

    def ordered(self) -> Rows:
        pairs = zip(self.scores, self.positions, strict=True)
        return np.stack([positions[np.lexsort((positions, -scores))] for scores, positions in pairs])
