"""Pairs and held-out queries, from documents on known sides. Pure; called by prepare.py."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from attune_trainer.data.normalize import key
from attune_trainer.data.records import Document, Judgement, Pair, Tally
from attune_trainer.data.split import Split

LABELS_SUFFICE = 50
"""With fewer labelled held-out queries than this, the titles of held-out documents are asked as well."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Everything that can be asked. `titles`: documents whose title makes a query; `judged`: labels and feedback;
    `synthetic`: a language model's questions; `evaluation`: the user's own test set; `leads`: what training articles ask of
    themselves. Without `titles_train` titles are asked of the held-out side alone."""

    titles: Sequence[Document]
    judged: Sequence[Judgement] = ()
    evaluation: Sequence[Judgement] = ()
    synthetic: Sequence[Judgement] = ()
    titles_train: bool = True
    leads: Sequence[Judgement] = ()

    @property
    def queryable(self) -> frozenset[str]:
        """Ids of documents that some query asks for."""
        judged = {j.doc_id for j in (*self.judged, *self.synthetic) if j.grade > 0}
        return frozenset(judged | ({document.id for document in self.titles} if self.titles_train else set()))

    def joined(self, tally: Tally) -> list[Judgement]:
        """One judgement per query (in whatever case and punctuation) and document. Of several the first counts, in the order labels,
        feedback, archive, synthetic: people's word before titles, titles before a model's. Another one that agrees is a
        `repeatedPair`, one that does not a `contradictedPair`."""
        first: dict[tuple[str, str], Judgement] = {}
        for judgement in (*self.judged, *map(_title, self.titles), *self.synthetic):
            known = first.setdefault((key(judgement.query), judgement.doc_id), judgement)
            if known is not judgement:
                agrees = (known.grade > 0) == (judgement.grade > 0)
                reason = "repeatedPair" if agrees else "contradictedPair"
                tally.of(judgement.source).drop(reason, f"{judgement.source}: {judgement.query[:80]}")
        return list(first.values())

    def positives(self) -> dict[str, set[str]]:
        """Query id → ids of all documents known to answer it, on whatever side: none of them is a negative."""
        everything = [*self.joined(Tally()), *self.evaluation]
        known: dict[str, set[str]] = defaultdict(set)
        for judgement in everything:
            if judgement.grade > 0:
                known[key(judgement.query)].add(judgement.doc_id)
        return {
            judgement.query_id: known[key(judgement.query)] for judgement in everything if key(judgement.query) in known
        }

    def rejected(self) -> dict[str, list[str]]:
        """Query id → documents that people said do not answer it: labelled negatives, for the query in whatever spelling."""
        everything = self.joined(Tally())
        wrong: dict[str, list[str]] = defaultdict(list)
        for judgement in everything:
            if judgement.grade <= 0:
                wrong[key(judgement.query)].append(judgement.doc_id)
        return {
            judgement.query_id: wrong[key(judgement.query)] for judgement in everything if key(judgement.query) in wrong
        }


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs of both training sides, and the held-out queries as judgements (query id → document, grade)."""

    train: list[Pair]
    validation: list[Pair]
    held_out: list[Judgement]


def build(split: Split, queries: Queries, tally: Tally) -> PairSet:
    """A query asked of a held-out or validation document is never trained on with another document (`leakedQuery`).

    Leads are for training alone: the model is never measured, nor chosen, by questions that nobody asked.
    """
    everything = queries.joined(tally)
    held_out = _held_out(split, queries, everything)
    texts = {document.id: document.content for document in (*split.train, *split.validation)}
    if not queries.titles_train:
        everything = [judgement for judgement in everything if judgement.source != "archive"]
    hidden = {key(judgement.query) for judgement in held_out}
    validation = _pairs(everything, split.validation, texts, hidden, tally)
    hidden |= {key(pair.query) for pair in validation}
    train = _pairs(everything, split.train, texts, hidden, tally)
    known = {(key(pair.query), pair.doc_id) for pair in train}
    more = [lead for lead in queries.leads if (key(lead.query), lead.doc_id) not in known]
    return PairSet(train + _pairs(more, split.train, texts, hidden, tally), validation, held_out)


def _held_out(split: Split, queries: Queries, everything: Sequence[Judgement]) -> list[Judgement]:
    """The evaluation set, else what people asked; where that is little, titles too; where that is little, a model's questions."""
    if queries.evaluation:
        return list(queries.evaluation)
    sides = {document.id for document in split.held_out}
    asked = [judgement for judgement in everything if judgement.doc_id in sides and judgement.grade > 0]
    found = [judgement for judgement in asked if judgement.source not in {"archive", "synthetic"}]
    for source in ("archive", "synthetic"):
        if len(found) < LABELS_SUFFICE:
            found += [judgement for judgement in asked if judgement.source == source]
    return found


def _pairs(
    judgements: Sequence[Judgement], side: Sequence[Document], texts: dict[str, str], hidden: set[str], tally: Tally
) -> list[Pair]:
    ids = {document.id for document in side}
    pairs = []
    highest = _highest(judgements)
    for judgement in judgements:
        if judgement.doc_id not in ids or judgement.grade <= 0:
            continue
        if key(judgement.query) in hidden:
            tally.of(judgement.source).drop("leakedQuery", f"{judgement.source}: {judgement.query[:80]}")
            continue
        pairs.append(
            Pair(
                query=judgement.query,
                pos=texts[judgement.doc_id],
                source=judgement.source,
                query_id=judgement.query_id,
                doc_id=judgement.doc_id,
                score=round(judgement.grade / highest[judgement.source] * judgement.weight, 4),
            )
        )
    return pairs


def _highest(judgements: Iterable[Judgement]) -> dict[str, float]:
    """The best grade of each source: a pair of that grade has score 1."""
    best: dict[str, float] = {}
    for judgement in judgements:
        best[judgement.source] = max(judgement.grade, best.get(judgement.source, 0.0))
    return best


def count_unused(queries: Queries, pairs: PairSet, train: Collection[Document], tally: Tally) -> int:
    """Count labelled negatives that stand beside no pair, by reason, once per query and document. Returns how many do."""
    used = {(key(pair.query), name) for pair in (*pairs.train, *pairs.validation) for name in pair.neg_ids}
    asked = {key(pair.query) for pair in (*pairs.train, *pairs.validation)}
    sides = {document.id for document in train}
    count = 0
    for judgement in queries.joined(Tally()):
        if judgement.grade > 0:
            continue
        if (key(judgement.query), judgement.doc_id) in used:
            count += 1
            continue
        reason = "negativeOverLimit" if judgement.doc_id in sides else "negativeOffTrainSide"
        reason = reason if key(judgement.query) in asked else "negativeWithoutPair"
        tally.of(judgement.source).drop(reason, f"{judgement.doc_id}: {judgement.query[:80]}")
    return count


def _title(document: Document) -> Judgement:
    return Judgement(document.title, document.id, 1.0, "archive")
