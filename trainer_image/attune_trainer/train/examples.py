"""What a reranker is trained on: a query and one text, relevant or not; and which of them share a batch. Pure.

Negatives are the mined ones, which the first stage takes for answers, and random ones, which keep the model from forgetting
what is plainly wrong.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attune_trainer.train.batches import CHUNK_BATCHES, Batch, Plan
from attune_trainer.train.pairs import Pair

RANDOM_NEGATIVES = 1


@dataclass(frozen=True, slots=True)
class Example:
    """One row: `label` 1.0 where the text answers the query."""

    query: str
    text: str
    label: float
    group: int = 0
    """Number of the pair it was made from: the answer and its negatives are one list."""


def examples(pairs: Sequence[Pair], seed: int) -> list[Example]:
    """Each pair's answer, its mined negatives, and a random text that is neither one of them nor an answer to the same query."""
    rng = np.random.default_rng([seed, 3])
    documents = {pair.document: pair.positive for pair in pairs}
    names = sorted(documents)
    answers: dict[str, set[str]] = {}
    for pair in pairs:
        answers.setdefault(pair.query, set()).add(pair.document)
    made: list[Example] = []
    for number, pair in enumerate(pairs):
        made.append(Example(pair.query, pair.positive, 1.0, number))
        wrong = zip(pair.negative_documents, pair.negatives, strict=True)
        made += [Example(pair.query, text, 0.0, number) for name, text in wrong if name not in answers[pair.query]]
        taken = answers[pair.query] | set(pair.negative_documents)
        drawn = (names[i] for i in rng.permutation(len(names))[: RANDOM_NEGATIVES + len(taken)])
        others = [name for name in drawn if name not in taken]
        made += [Example(pair.query, documents[name], 0.0, number) for name in others[:RANDOM_NEGATIVES]]
    return made


def positive_weight(rows: Sequence[Example]) -> float:
    """Negatives per positive: with it both kinds weigh the same in the loss."""
    positives = sum(row.label > 0 for row in rows)
    return (len(rows) - positives) / positives if positives else 1.0


def plan_examples(rows: Sequence[Example], *, batch_size: int, epochs: int, seed: int) -> Plan:
    """Shuffled each epoch, sorted by length within chunks: little padding, and still a shuffle."""
    lengths = np.array([len(row.query) + len(row.text) for row in rows])
    batches: list[Batch] = []
    ends: list[int] = []
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, 4, epoch])
        order = rng.permutation(len(rows))
        cut: list[list[int]] = []
        for start in range(0, len(order), batch_size * CHUNK_BATCHES):
            chunk = order[start : start + batch_size * CHUNK_BATCHES]
            by_length = chunk[np.argsort(lengths[chunk], kind="stable")].tolist()
            cut += [by_length[n : n + batch_size] for n in range(0, len(by_length), batch_size)]
        batches += [Batch.of_rows(epoch, cut[n]) for n in rng.permutation(len(cut))]
        ends.append(len(batches))
    return Plan(tuple(batches), tuple(ends))


def plan_lists(rows: Sequence[Example], *, batch_size: int, epochs: int, seed: int) -> Plan:
    """As `plan_examples`, but a list is never cut: a batch is as many whole lists as `batch_size` rows hold, or one longer one."""
    lists: dict[int, list[int]] = {}
    for position, row in enumerate(rows):
        lists.setdefault(row.group, []).append(position)
    whole = [members for members in lists.values() if len(members) > 1]  # one text alone has nothing to be better than
    lengths = np.array([max(len(rows[n].query) + len(rows[n].text) for n in members) for members in whole])
    batches: list[Batch] = []
    ends: list[int] = []
    for epoch in range(epochs):
        rng = np.random.default_rng([seed, 4, epoch])
        order, chunk = rng.permutation(len(whole)), batch_size * CHUNK_BATCHES
        packed: list[list[int]] = []
        for start in range(0, len(order), chunk):
            part = order[start : start + chunk]
            packed += _packed([whole[n] for n in part[np.argsort(lengths[part], kind="stable")]], batch_size)
        batches += [Batch.of_rows(epoch, packed[n]) for n in rng.permutation(len(packed))]
        ends.append(len(batches))
    return Plan(tuple(batches), tuple(ends))


def _packed(lists: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    packed: list[list[int]] = []
    for members in lists:
        if packed and len(packed[-1]) + len(members) <= size:
            packed[-1].extend(members)
        else:
            packed.append(list(members))
    return packed
