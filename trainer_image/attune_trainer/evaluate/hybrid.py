"""The fused search of a held-out set, as serving does it: BM25 and vectors by z-scores. Called by `measure` and `train.search_weights`.

The BM25 here is the trainer's own, in memory; a store's differs in how it cuts words, not in kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attune_retrieval.encoding import Vectors
from attune_retrieval.index.fusion import DEFAULT, weighted_z_scores
from attune_trainer.data.bm25 import Bm25
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.ranking import TopK

DEPTH = DEFAULT.depth


@dataclass(frozen=True, slots=True)
class Candidates:
    """What both rankings found for one query: positions in the corpus, ascending, and both scores of each."""

    positions: NDArray[np.int64]
    dense: NDArray[np.float64]
    words: NDArray[np.float64]

    def ranked(self, weight: float, k: int) -> NDArray[np.int64]:
        """Positions of the k best, best first; `weight`: share of the dense score. Without a word in common: by vectors."""
        return self.best(weight, k)[0]

    def best(self, weight: float, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The same, with their fused scores."""
        scores = weighted_z_scores(self.dense, self.words, weight) if self.words.any() else self.dense
        order = np.argsort(-scores, kind="stable")[:k]
        return self.positions[order], scores[order]


@dataclass(frozen=True, slots=True)
class ByWords:
    """What BM25 finds, the same beside every model: positions in the corpus and scores, (queries x depth), best first."""

    positions: NDArray[np.int64]
    scores: NDArray[np.float32]

    @staticmethod
    def over(held_out: HeldOut, depth: int = DEPTH) -> "ByWords":
        return ByWords(*Bm25(held_out.texts).search(list(held_out.queries.values()), depth))


class BothRankings:
    """Dense and by words, over blocks of a corpus that never need to be in memory together."""

    def __init__(self, queries: Vectors, words: ByWords, depth: int = DEPTH) -> None:
        self.dense = TopK(queries, depth)
        self._words, self._word_scores = words.positions, words.scores
        self._exact = np.zeros(self._words.shape)

    def add(self, block: Vectors, start: int) -> None:
        """A block of document vectors whose first one has the position `start`."""
        self.dense.add(block, start)
        here = (self._words >= start) & (self._words < start + len(block)) & (self._word_scores > 0)
        rows, columns = np.nonzero(here)
        vectors = block[self._words[rows, columns] - start]
        self._exact[rows, columns] = np.einsum("nd,nd->n", self.dense.queries[rows], vectors)

    def candidates(self) -> list[Candidates]:
        """One for each query, once all blocks were added."""
        return [self._of(number) for number in range(len(self.dense.positions))]

    def _of(self, number: int) -> Candidates:
        hit = self._word_scores[number] > 0
        words = dict(zip(self._words[number][hit].tolist(), self._word_scores[number][hit].tolist(), strict=True))
        dense = dict(zip(self._words[number][hit].tolist(), self._exact[number][hit].tolist(), strict=True))
        dense |= dict(zip(self.dense.positions[number].tolist(), self.dense.scores[number].tolist(), strict=True))
        positions = sorted(dense)
        return Candidates(
            np.array(positions, np.int64),
            np.array([dense[position] for position in positions]),
            np.array([words.get(position, 0.0) for position in positions]),
        )


def rankings(found: Sequence[Candidates], held_out: HeldOut, weight: float, k: int) -> list[list[str]]:
    """Document ids of every query, best first."""
    return [[held_out.documents[position] for position in one.ranked(weight, k)] for one in found]
