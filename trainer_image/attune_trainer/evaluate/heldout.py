"""The held-out set in BEIR's form: corpus, queries, judgements. Read by `compare`'s stage and `by_hand`."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attune_trainer.errors import BadData


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Documents and queries by id; grades by query and document. Every query has a relevant document in the corpus."""

    documents: tuple[str, ...]
    texts: tuple[str, ...]
    queries: Mapping[str, str]
    grades: Mapping[str, Mapping[str, int]]

    def clusters(self) -> list[str]:
        """For each query the document it is about (the best one): the unit of the bootstrap."""
        return [min(self.grades[query], key=lambda doc: (-self.grades[query][doc], doc)) for query in self.queries]


def read(corpus: Path, queries: Path, qrels: Path | None) -> HeldOut:
    """Read three BEIR files; without `qrels`, `queries` holds lines {"query", "id"[, "grade"]} of its own.

    A corpus in the form of an archive ({"id", "title", "content"}) is read without titles: they are often the queries.
    """
    documents, texts = _corpus(corpus)
    asked, grades = _labelled(queries) if qrels is None else (_queries(queries), _qrels(qrels))
    known = set(documents)
    found = {
        query: {doc: grade for doc, grade in grades[query].items() if doc in known}
        for query in asked
        if any(grade > 0 and doc in known for doc, grade in grades.get(query, {}).items())
    }
    if not found:
        raise BadData(
            f"none of the {len(asked)} queries of {queries.name} has a relevant document among the {len(documents)} of "
            f"{corpus.name}; their ids must agree.",
            reason="NoHeldOutQueries",
        )
    return HeldOut(documents, texts, {query: asked[query] for query in found}, found)


def read_snapshot(folder: Path) -> HeldOut:
    """The held-out part of a snapshot that the prepare stage made."""
    return read(folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels.tsv")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise BadData(f"{path} does not exist.", reason="DataNotFound")
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise BadData(f"{path} line {number} is not JSON: {error}.") from error
            if not isinstance(row, dict):
                raise BadData(f"{path} line {number} is {type(row).__name__}, not an object.")
            yield number, row


def _corpus(path: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    texts: dict[str, str] = {}
    for number, row in _rows(path):
        name = row.get("_id", row.get("id"))
        text = row.get("text", row.get("content"))
        if name is None or not isinstance(text, str):
            raise BadData(f'{path} line {number} lacks "_id" or "text" (it has {sorted(row)}).')
        title = str(row.get("title") or "") if "text" in row else ""
        if str(name) in texts:
            raise BadData(f"{path} line {number}: the id {name!r} appears twice.", reason="DuplicateIds")
        texts[str(name)] = f"{title} {text}".strip()
    ordered = sorted(texts)
    return tuple(ordered), tuple(texts[name] for name in ordered)


def _queries(path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, row in _rows(path):
        if "_id" not in row or not isinstance(row.get("text"), str):
            raise BadData(f'{path} line {number} lacks "_id" or "text" (it has {sorted(row)}).')
        found[str(row["_id"])] = row["text"]
    return found


def _labelled(path: Path) -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    grades: dict[str, dict[str, int]] = {}
    for number, row in _rows(path):
        if not isinstance(row.get("query"), str) or "id" not in row:
            raise BadData(
                f'{path} line {number} lacks "query" or "id" (it has {sorted(row)}); give --qrels for BEIR queries.'
            )
        grades.setdefault(row["query"], {})[str(row["id"])] = int(row.get("grade", 1))
    return {query: query for query in grades}, grades


def _qrels(path: Path) -> dict[str, dict[str, int]]:
    """BEIR's three columns with a header, or trec's four without."""
    if not path.is_file():
        raise BadData(f"{path} does not exist.", reason="DataNotFound")
    grades: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
            cells = row if len(row) > 1 else " ".join(row).split()
            if not cells or (number == 1 and not cells[-1].lstrip("-").isdigit()):
                continue
            try:
                query, document, grade = (cells[0], cells[-2], int(cells[-1]))
            except (IndexError, ValueError) as error:
                raise BadData(f"{path} line {number} is not query-id, corpus-id, score: {row}.") from error
            grades.setdefault(query, {})[document] = grade
    return grades


def read_answered(path: Path) -> HeldOut:
    """A set in one file: lines {"query", "text"}, each query with the text that answers it; equal texts are one document."""
    names: dict[str, str] = {}
    queries: dict[str, str] = {}
    grades: dict[str, dict[str, int]] = {}
    for number, row in _rows(path):
        query, text = row.get("query"), row.get("text")
        if not isinstance(query, str) or not isinstance(text, str) or not query.strip() or not text.strip():
            raise BadData(f'{path.name} line {number} lacks "query" or "text" (it has {sorted(row)}).')
        document = names.setdefault(text, f"{len(names):06}")
        queries[query] = query
        grades.setdefault(query, {})[document] = 1
    if not queries:
        raise BadData(f"{path.name} has no lines.", reason="NoHeldOutQueries")
    return HeldOut(tuple(names.values()), tuple(names), queries, grades)
