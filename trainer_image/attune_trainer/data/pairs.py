"""Pairs and held-out queries, from documents on known sides. Pure; called by prepare.py."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from attune_trainer.data.normalize import words
from attune_trainer.data.records import Document, Judgement, Pair, Tally
from attune_trainer.data.split import Split

LABELS_SUFFICE = 50
"""With fewer labelled held-out queries than this, the titles of held-out documents are asked as well."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Everything that can be asked. `titles`: documents whose title makes a query; `judged`: labels and feedback;
    `evaluation`: the user's own test set."""

    titles: Sequence[Document]
    judged: Sequence[Judgement] = ()
    evaluation: Sequence[Judgement] = ()

    @property
    def queryable(self) -> frozenset[str]:
        """Ids of documents that some query asks for."""
        return frozenset({document.id for document in self.titles} | {j.doc_id for j in self.judged if j.grade > 0})

    def positives(self) -> dict[str, set[str]]:
        """Query id → ids of all documents known to answer it, on whatever side: none of them is a negative."""
        known: dict[str, set[str]] = defaultdict(set)
        for judgement in (*self.judged, *self.evaluation, *map(_title, self.titles)):
            if judgement.grade > 0:
                known[judgement.query_id].add(judgement.doc_id)
        return dict(known)


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs of both training sides, and the held-out queries as judgements (query id → document, grade)."""

    train: list[Pair]
    validation: list[Pair]
    held_out: list[Judgement]


def build(split: Split, queries: Queries, tally: Tally) -> PairSet:
    """A query asked of a held-out or validation document is never trained on with another document (`leakedQuery`)."""
    held_out = _held_out(split, queries)
    texts = {document.id: document.content for document in (*split.train, *split.validation)}
    everything = [*queries.judged, *map(_title, queries.titles)]
    hidden = {_key(judgement.query) for judgement in held_out}
    validation = _pairs(everything, split.validation, texts, hidden, tally)
    hidden |= {_key(pair.query) for pair in validation}
    return PairSet(_pairs(everything, split.train, texts, hidden, tally), validation, held_out)


def _held_out(split: Split, queries: Queries) -> list[Judgement]:
    if queries.evaluation:
        return list(queries.evaluation)
    sides = {document.id for document in split.held_out}
    labelled = [judgement for judgement in queries.judged if judgement.doc_id in sides and judgement.grade > 0]
    if len(labelled) >= LABELS_SUFFICE:
        return labelled
    asked = {(judgement.query_id, judgement.doc_id) for judgement in labelled}
    titles = [_title(document) for document in queries.titles if document.id in sides]
    return labelled + [title for title in titles if (title.query_id, title.doc_id) not in asked]


def _pairs(
    judgements: Sequence[Judgement], side: Sequence[Document], texts: dict[str, str], hidden: set[str], tally: Tally
) -> list[Pair]:
    ids = {document.id for document in side}
    pairs: dict[tuple[str, str], Pair] = {}
    highest = _highest(judgements)
    for judgement in judgements:
        if judgement.doc_id not in ids or judgement.grade <= 0:
            continue
        if _key(judgement.query) in hidden:
            tally.drop("leakedQuery", f"{judgement.source}: {judgement.query[:80]}")
            continue
        pair = Pair(
            query=judgement.query,
            pos=texts[judgement.doc_id],
            source=judgement.source,
            query_id=judgement.query_id,
            doc_id=judgement.doc_id,
            score=judgement.grade / highest[judgement.source],
        )
        if pairs.setdefault((pair.query_id, pair.doc_id), pair) is not pair:
            tally.drop("repeatedPair", f"{judgement.source}: {judgement.query[:80]}")
    return list(pairs.values())


def _highest(judgements: Iterable[Judgement]) -> dict[str, float]:
    """The best grade of each source: a pair of that grade has score 1."""
    best: dict[str, float] = {}
    for judgement in judgements:
        best[judgement.source] = max(judgement.grade, best.get(judgement.source, 0.0))
    return best


def rejected(judged: Iterable[Judgement]) -> dict[str, list[str]]:
    """Query id → documents that people said do not answer it: labelled negatives."""
    found: dict[str, list[str]] = defaultdict(list)
    for judgement in judged:
        if judgement.grade <= 0:
            found[judgement.query_id].append(judgement.doc_id)
    return dict(found)


def _title(document: Document) -> Judgement:
    return Judgement(document.title, document.id, 1.0, "archive")


def _key(query: str) -> str:
    return " ".join(words(query))
