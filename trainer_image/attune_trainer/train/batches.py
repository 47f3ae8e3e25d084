"""Which pairs share a batch, for the whole run. Pure: the same pairs and seed give the same plan on every machine.

In-batch training takes every other document of a batch as a wrong answer. So two rows that share a query but not the
document never share a batch, nor does a row with another row's hard negative that is its own answer: each would teach the
opposite of the truth. Rows that share a document stand side by side in one batch: it is embedded once for all of them, and
`joint_loss` does not take it, or the others' queries, for wrong. Rows of similar length share a batch, because padding is
computed but teaches nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from attune_trainer.train.pairs import Pair, identity
from attune_trainer.train.world import World

CHUNK_BATCHES = 16
"""Rows are sorted by length within chunks of this many batches: less padding, and still a shuffle."""
MOST_QUERIES_OF_A_DOCUMENT, FEWEST_DOCUMENTS = 4, 8
"""A batch of queries for one and the same document would have nothing to tell it from."""


@dataclass(frozen=True)
class Batch:
    """One optimizer step: rows of the pairs, and the epoch they are seen in. The rows of a group have the same document."""

    epoch: int
    groups: tuple[tuple[int, ...], ...]

    @staticmethod
    def of_rows(epoch: int, rows: Sequence[int]) -> "Batch":
        """Every row alone."""
        return Batch(epoch, tuple((row,) for row in rows))

    @cached_property
    def rows(self) -> tuple[int, ...]:
        return tuple(row for group in self.groups for row in group)

    def share(self, world: World) -> tuple[int, ...]:
        """The rows that are this process's: a document is embedded by one process alone."""
        return tuple(row for group in world.share(self.groups) for row in group)


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
        self.groups: list[tuple[int, ...]] = []
        self.rows = 0
        self.queries: set[str] = set()
        self.positives: set[str] = set()
        self.negatives: set[str] = set()

    def admits(self, group: "_Group") -> bool:
        return (
            self.queries.isdisjoint(group.queries)
            and group.document not in self.positives
            and group.document not in self.negatives
            and self.positives.isdisjoint(group.negatives)
        )

    def add(self, group: "_Group") -> None:
        self.groups.append(group.rows)
        self.rows += len(group.rows)
        self.queries |= group.queries
        self.positives.add(group.document)
        self.negatives |= group.negatives


@dataclass(frozen=True, slots=True)
class _Group:
    """Rows that share a document, and what they ask for and exclude."""

    rows: tuple[int, ...]
    document: str
    queries: frozenset[str]
    negatives: frozenset[str]
    length: int
    """Characters to embed."""


def plan_batches(pairs: Sequence[Pair], *, batch_size: int, epochs: int, seed: int, apart: bool = False) -> Plan:
    """Every pair once an epoch (of weight 1; others in that share of the epochs), in batches of at most `batch_size` pairs
    without contradictions.

    `apart`: no two rows of a document in a batch, for losses that would take one's answer for the other's wrong one. A batch
    is smaller where contradictions leave no room (an archive of one article gives batches of one group).
    """
    most = 1 if apart else max(1, min(MOST_QUERIES_OF_A_DOCUMENT, batch_size // FEWEST_DOCUMENTS))
    queries = [identity(pair.query.lower()) for pair in pairs]
    weights = np.array([pair.weight for pair in pairs])
    batches: list[Batch] = []
    ends: list[int] = []
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, epoch])
        shuffled = rng.permutation(len(pairs))
        seen = shuffled[_turns(weights, epoch, seed)[shuffled]]
        groups = _grouped([int(row) for row in seen], pairs, queries, most)
        packed = _pack(_chunked_by_length(groups, batch_size * CHUNK_BATCHES), batch_size)
        batches += [Batch(epoch, tuple(packed[i])) for i in rng.permutation(len(packed))]
        ends.append(len(batches))
    return Plan(tuple(batches), tuple(ends))


def _grouped(rows: Sequence[int], pairs: Sequence[Pair], queries: Sequence[str], most: int) -> list[_Group]:
    """Rows of the same document together, up to `most`, in the order of each group's first row."""
    of_document: dict[str, list[int]] = {}
    cut: list[list[int]] = []
    for row in rows:
        group = of_document.get(pairs[row].document)
        if group is None or len(group) == most:
            group = of_document[pairs[row].document] = []
            cut.append(group)
        group.append(row)
    return [_group(tuple(sorted(group)), pairs, queries) for group in cut]


def _group(rows: tuple[int, ...], pairs: Sequence[Pair], queries: Sequence[str]) -> _Group:
    chosen = [pairs[row] for row in rows]
    first = chosen[0]
    return _Group(
        rows=rows,
        document=first.document,
        queries=frozenset(queries[row] for row in rows),
        negatives=frozenset(name for pair in chosen for name in pair.negative_documents),
        length=len(first.positive) + sum(map(len, first.negatives[:1])) + sum(len(pair.query) for pair in chosen),
    )


def _turns(weights: np.ndarray, epoch: int, seed: int) -> np.ndarray:
    """Whose turn it is in this epoch: a pair of weight 0.5 has every other one, beginning at an epoch drawn by the seed."""
    start = np.random.default_rng([seed, 6]).random(len(weights))
    return np.asarray(np.floor(start + weights * (epoch + 1)) > np.floor(start + weights * epoch))


def _chunked_by_length(groups: Sequence[_Group], chunk: int) -> list[_Group]:
    """Sorted by length within chunks of about `chunk` rows."""
    ends = np.cumsum([len(group.rows) for group in groups])
    parts: dict[int, list[_Group]] = {}
    for group, end in zip(groups, ends, strict=True):
        parts.setdefault(int(end - 1) // chunk, []).append(group)
    return [group for part in parts.values() for group in sorted(part, key=lambda group: group.length)]


def _pack(groups: Sequence[_Group], batch_size: int) -> list[list[tuple[int, ...]]]:
    """First fit into the few batches that are open; the oldest is closed when there are too many."""
    full: list[list[tuple[int, ...]]] = []
    open_batches: list[_OpenBatch] = []
    for group in groups:
        room = batch_size - len(group.rows)
        home = next((batch for batch in open_batches if batch.rows <= room and batch.admits(group)), None)
        if home is None:
            home = _OpenBatch()
            open_batches.append(home)
        home.add(group)
        if home.rows == batch_size:
            open_batches.remove(home)
            full.append(home.groups)
        elif len(open_batches) > CHUNK_BATCHES:
            full.append(open_batches.pop(0).groups)
    return full + [batch.groups for batch in open_batches]
