"""Ratings and clicks of users, as `Judgement`s. Called by sources.py.

Every row ends in a judgement or in a reason, so that rows = judgements + dropped. One query and document, rated several times, is
one judgement: the mean of the ratings decides (of yes and no the majority, of a tie the latest, where the rows have times);
what was outvoted is counted as `contradictingFeedback`, and makes the pair weigh less.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attune.contract.stage import FeedbackSource
from attune_trainer.data.answers import articles_of
from attune_trainer.data.archive import instant
from attune_trainer.data.judgements import Judgements, finite, readable_query
from attune_trainer.data.records import Document, Judgement, Tally
from attune_trainer.data.rows import RowFile, open_rows

SOURCE = "feedback"
CLICK_WEIGHT = 0.5
"""A click says that a result looked right, a rating that it was."""
_YES_AND_NO = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class _Vote:
    """One row that can be read. `sign`: 1 answers the query, -1 does not, 0 neutral; `value` is None for yes and no."""

    query: str
    document: str | None
    answer: str | None
    sign: int
    value: float | None
    at: str
    where: str


def read_feedback(
    source: FeedbackSource, documents: Sequence[Document], kept_id: Mapping[str, str], tally: Tally
) -> Judgements:
    """Grade 1 for what users found right, 0 for what they found wrong. BadData where a column is missing."""
    tally = tally.of(SOURCE)
    fields = source.fields
    with open_rows(source.uri, source.format, tally) as file:
        votes = list(_votes(file, source, kept_id, tally))
        file.require(fields.query, "query")
        file.require(fields.rating, "rating")
        if fields.document_id not in file.columns:
            file.require(fields.answer, "answer")
        found = tuple(_judged(_with_articles(votes, documents, tally), source, tally))
        return Judgements(found, file.digest(), file.lines)


def _votes(file: RowFile, source: FeedbackSource, kept_id: Mapping[str, str], tally: Tally) -> Iterator[_Vote]:
    fields = source.fields
    for number, row in file.rows():
        where = f"{SOURCE} line {number}"
        query, given = readable_query(row.get(fields.query)), row.get(fields.rating)
        rated = _rated(given, source)
        name, answer = row.get(fields.document_id), row.get(fields.answer)
        document = kept_id.get(str(name).strip()) if name is not None else None
        if query is None:
            tally.drop("emptyQuery", where)
        elif isinstance(rated, str):
            tally.drop(rated, f"{where}: {given!r}")
        elif document is None and not isinstance(answer, str):
            tally.drop("unknownDocument", f"{where}: {name!r}")
        else:
            sign, value = rated
            text = answer if document is None else None
            yield _Vote(query, document, text, sign, value, instant(row.get(fields.at)) or "", where)


def _rated(given: Any, source: FeedbackSource) -> tuple[int, float | None] | str:
    """Sign and value of a rating, or the reason to drop it."""
    if isinstance(given, str):
        given = _YES_AND_NO.get(given.strip().casefold(), given)
    if isinstance(given, bool):
        return (1 if given else -1), None
    value = finite(given)
    if value is None:
        return "badRating"
    low, high = source.min_rating, source.max_rating
    if (low is not None and value < low) or (high is not None and value > high):
        return "ratingOutOfRange"
    return _sign(value, source), value


def _sign(value: float, source: FeedbackSource) -> int:
    if value >= source.positive_rating:
        return 1
    return -1 if source.negative_rating is None or value <= source.negative_rating else 0


def _with_articles(votes: Iterable[_Vote], documents: Sequence[Document], tally: Tally) -> Iterator[tuple[_Vote, str]]:
    """Votes with the id of their document; answers are looked up all at once."""
    votes = list(votes)
    meant = articles_of({vote.answer for vote in votes if vote.answer is not None}, documents)
    for vote in votes:
        document = vote.document or meant.document.get(vote.answer or "")
        if document is not None:
            yield vote, document
        else:
            reason = "ambiguousAnswer" if vote.answer in meant.ambiguous else "unknownDocument"
            tally.drop(reason, f"{vote.where}: {(vote.answer or '')[:60]!r}")


def _judged(votes: Iterable[tuple[_Vote, str]], source: FeedbackSource, tally: Tally) -> Iterator[Judgement]:
    groups: dict[tuple[str, str], list[_Vote]] = {}
    for vote, document in votes:
        groups.setdefault((vote.query, document), []).append(vote)
    for (query, document), rows in groups.items():
        group = _clicks(rows, tally) if source.implicit else rows
        sign = _verdict(group, source)
        spoken = _count(group, sign, tally)
        if sign:
            weight = sum(vote.sign == sign for vote in group) / spoken * (CLICK_WEIGHT if source.implicit else 1.0)
            yield Judgement(query, document, float(sign > 0), SOURCE, round(weight, 4))


def _clicks(group: list[_Vote], tally: Tally) -> list[_Vote]:
    """Not to click says little: the answer may have been read on the result page, or stood too far down."""
    for vote in group:
        if vote.sign < 0:
            tally.drop("notClicked", vote.where)
    return [vote for vote in group if vote.sign >= 0]


def _verdict(group: list[_Vote], source: FeedbackSource) -> int:
    """1, -1, or 0 where nothing is said for or against, or as much for as against. Neutral ratings do not weigh."""
    spoken = [vote for vote in group if vote.sign]
    values = [vote.value for vote in spoken if vote.value is not None]
    if spoken and len(values) == len(spoken):
        verdict = _sign(sum(values) / len(values), source)
    else:
        balance = sum(vote.sign for vote in spoken)
        verdict = (balance > 0) - (balance < 0)
    if verdict == 0 and spoken and all(vote.at for vote in spoken):
        return max(spoken, key=lambda vote: vote.at).sign
    return verdict


def _count(group: list[_Vote], sign: int, tally: Tally) -> int:
    """Say what became of every row but the one that is the judgement. Returns how many rows were for or against."""
    stands = sign != 0
    for vote in group:
        if vote.sign == 0:
            tally.drop("neutralRating", vote.where)
        elif vote.sign != sign:
            tally.drop("contradictingFeedback", f"{vote.where}: {vote.query[:60]!r}")
        elif stands:
            stands = False
        else:
            tally.drop("repeatedRating", vote.where)
    return sum(vote.sign != 0 for vote in group)
