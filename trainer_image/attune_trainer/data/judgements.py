"""What people said about queries and documents: labels, the evaluation set, feedback. Called by prepare.py.

All three become `Judgement`s. Ids of duplicates lead to the document that was kept; ids that the archive does not have
are dropped and counted (`unknownDocument`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from attune.contract.stage import FeedbackSource
from attune_trainer.data.normalize import normalize, words
from attune_trainer.data.records import Document, Judgement, Tally
from attune_trainer.data.rows import open_rows
from attune_trainer.errors import BadData

MAX_QUERY_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class Judgements:
    """In the order of the file, one per query and document; with the digest of the file and its number of rows."""

    items: tuple[Judgement, ...] = ()
    digest: str | None = None
    rows: int = 0


def read_labels(uri: str, kept_id: Mapping[str, str], source: str, tally: Tally) -> Judgements:
    """Lines {query, id, grade}; `grade` may be absent (1). BadData where no line names a document of the archive."""
    found: dict[tuple[str, str], Judgement] = {}
    with open_rows(uri, "jsonl", tally) as file:
        for number, row in file.rows():
            where = f"{source} line {number}"
            query, grade = _query(row.get("query")), _number(row.get("grade", 1))
            identifier = kept_id.get(str(row.get("id")).strip())
            if query is None:
                tally.drop("emptyQuery", where)
            elif grade is None or grade < 0:
                tally.drop("badGrade", f"{where}: {row.get('grade')!r}")
            elif identifier is None:
                tally.drop("unknownDocument", f"{where}: {row.get('id')!r}")
            else:
                judgement = Judgement(query, identifier, grade, source)
                known = found.setdefault((judgement.query_id, identifier), judgement)
                if known is not judgement and grade > known.grade:
                    found[judgement.query_id, identifier] = judgement
        for column in ("query", "id"):
            _require(file.columns, column, uri)
        if not any(item.grade > 0 for item in found.values()):
            raise BadData(
                f"{uri}: none of {file.lines} lines {{query, id}} names a document of the archive; "
                f"dropped: {tally.sentence()}; the ids must be those of the archive's id column",
                reason="NoUsableLabels",
            )
        return Judgements(tuple(found.values()), file.digest(), file.lines)


def read_feedback(
    source: FeedbackSource, documents: Iterable[Document], kept_id: Mapping[str, str], tally: Tally
) -> Judgements:
    """Ratings of users. The mean rating of a query and document decides: grade 1 at or above positiveRating, else 0."""
    fields = source.fields
    by_content = {_key(document.content): document.id for document in documents}
    ratings: dict[tuple[str, str], list[float]] = {}
    with open_rows(source.uri, source.format, tally) as file:
        for number, row in file.rows():
            where = f"feedback line {number}"
            query, rating = _query(row.get(fields.query)), _number(row.get(fields.rating))
            identifier = kept_id.get(str(row.get(fields.document_id)).strip()) or by_content.get(
                _key(row.get(fields.answer))
            )
            if query is None:
                tally.drop("emptyQuery", where)
            elif rating is None:
                tally.drop("badRating", f"{where}: {row.get(fields.rating)!r}")
            elif identifier is None:
                tally.drop("unknownDocument", f"{where}: {row.get(fields.document_id)!r}")
            else:
                ratings.setdefault((query, identifier), []).append(rating)
        file.require(fields.query, "query")
        file.require(fields.rating, "rating")
        if fields.document_id not in file.columns:
            file.require(fields.answer, "answer")
        items = tuple(
            Judgement(query, identifier, float(sum(given) / len(given) >= source.positive_rating), "feedback")
            for (query, identifier), given in ratings.items()
        )
        return Judgements(items, file.digest(), file.lines)


def _require(columns: Mapping[str, None], column: str, uri: str) -> None:
    if column not in columns:
        raise BadData(
            f"{uri}: no field {column!r}; the fields there: {', '.join(list(columns)[:20]) or 'none'}; "
            'expected are lines {"query": …, "id": …} and, where known, "grade"',
            reason="MissingColumn",
        )


def _query(value: Any) -> str | None:
    """People's queries may be one word; titles may not (titles.py)."""
    text = normalize(value)[:MAX_QUERY_CHARACTERS] if isinstance(value, str) else ""
    return text if words(text) else None


def _key(value: Any) -> str:
    return " ".join(words(normalize(value))) if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None
