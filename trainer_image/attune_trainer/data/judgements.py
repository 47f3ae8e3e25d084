"""What people said about queries and documents, as `Judgement`s: labels and the evaluation set. Called by sources.py.

Ids of duplicates lead to the document that was kept; ids that the archive does not have are dropped and counted
(`unknownDocument`). Feedback has a module of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

from attune_trainer.data.normalize import normalize, words
from attune_trainer.data.records import Judgement, Tally
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
    tally = tally.of(source)
    with open_rows(uri, "jsonl", tally) as file:
        for number, row in file.rows():
            where = f"{source} line {number}"
            query, grade = readable_query(row.get("query")), finite(row.get("grade", 1))
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


def _require(columns: Mapping[str, None], column: str, uri: str) -> None:
    if column not in columns:
        raise BadData(
            f"{uri}: no field {column!r}; the fields there: {', '.join(list(columns)[:20]) or 'none'}; "
            'expected are lines {"query": …, "id": …} and, where known, "grade"',
            reason="MissingColumn",
        )


def readable_query(value: Any) -> str | None:
    """People's queries may be one word; titles may not (titles.py)."""
    text = normalize(value)[:MAX_QUERY_CHARACTERS] if isinstance(value, str) else ""
    return text if words(text) else None


def finite(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if isfinite(number) else None
