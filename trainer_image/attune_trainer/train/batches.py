"""Which pairs share a batch, for the whole run. Pure: the same pairs and seed give the same plan on every machine.

In-batch training takes every other row's documents as wrong answers. So two rows that share a document or a query never
share a batch, nor does a row with another row's hard negative that is its own answer: each would teach the opposite of
the truth. Rows of similar length share a batch, because padding is computed but teaches nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attune_trainer.train.pairs import Pair, identity

CHUNK_BATCHES = 16
"""Rows are sorted by length within chunks of this many batches: less padding, and still a shuffle."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One optimizer step: rows of the pairs, and the epoch they are seen in."""

    epoch: int
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Every batch of a run in order; `epoch_ends` are the numbers of steps after which an epoch is complete."""

    batches: tuple[Batch, ...]
    epoch_ends: tuple[int, ...]

    @property
    def steps(self) -> int:
        return len(self.batches)

    def epochs_at(self, step: int) -> float:
        """Epochs done after `step` steps, fractional."""
        begin = 0
        for done, end in enumerate(self.epoch_ends):
            if step <= end:
                return done + (step - begin) / max(1, end - begin)
            begin = end
        return float(len(self.epoch_ends))


class _OpenBatch:
    """A batch being filled, and what it already holds."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.queries: set[str] = set()
        self.positives: set[str] = set()
        self.negatives: set[str] = set()

    def admits(self, query: str, pair: Pair) -> bool:
        return (
            query not in self.queries
            and pair.document not in self.positives
            and pair.document not in self.negatives
            and self.positives.isdisjoint(pair.negative_documents)
        )

    def add(self, row: int, query: str, pair: Pair) -> None:
        self.rows.append(row)
        self.queries.add(query)
        self.positives.add(pair.document)
        self.negatives.update(pair.negative_documents)


def plan_batches(pairs: Sequence[Pair], *, batch_size: int, epochs: int, seed: int) -> Plan:
    """Every pair once an epoch (of weight 1; others in that share of the epochs), in batches of at most `batch_size` without
    contradictions.

    A batch is smaller where contradictions leave no room (an archive of one article gives batches of one row).
    """
    queries = [identity(pair.query.lower()) for pair in pairs]
    lengths = np.array([len(pair.query) + len(pair.positive) + sum(map(len, pair.negatives[:1])) for pair in pairs])
    weights = np.array([pair.weight for pair in pairs])
    batches: list[Batch] = []
    ends: list[int] = []
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        shuffled = rng.permutation(len(pairs))
        seen = shuffled[_turns(weights, epoch, seed)[shuffled]]
        order = _chunked_by_length(seen, lengths, batch_size * CHUNK_BATCHES)
        packed = _pack(order, queries, pairs, batch_size)
        batches += [Batch(epoch, tuple(packed[i])) for i in rng.permutation(len(packed))]
        ends.append(len(batches))
    return Plan(tuple(batches), tuple(ends))


def _turns(weights: np.ndarray, epoch: int, seed: int) -> np.ndarray:
    """Whose turn it is in this epoch: a pair of weight 0.5 has every other one, beginning at an epoch drawn by the seed."""
    start = np.random.default_rng([seed, 6]).random(len(weights))
    return np.asarray(np.floor(start + weights * (epoch + 1)) > np.floor(start + weights * epoch))


def _chunked_by_length(order: np.ndarray, lengths: np.ndarray, chunk: int) -> list[int]:
    parts = [order[start : start + chunk] for start in range(0, len(order), chunk)]
    return [int(row) for part in parts for row in part[np.argsort(lengths[part], kind="stable")]]


def _pack(order: Sequence[int], queries: Sequence[str], pairs: Sequence[Pair], batch_size: int) -> list[list[int]]:
    """First fit into the few batches that are open; the oldest is closed when there are too many."""
    full: list[list[int]] = []
    open_batches: list[_OpenBatch] = []
    for row in order:
        home = next((batch for batch in open_batches if batch.admits(queries[row], pairs[row])), None)
        if home is None:
            home = _OpenBatch()
            open_batches.append(home)
        home.add(row, queries[row], pairs[row])
        if len(home.rows) == batch_size:
            open_batches.remove(home)
            full.append(home.rows)
        elif len(open_batches) > CHUNK_BATCHES:
            full.append(open_batches.pop(0).rows)
    return full + [batch.rows for batch in open_batches]
