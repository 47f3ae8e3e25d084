"""The values that the steps of prepare hand to each other, and what a snapshot holds."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """One article, normalized. `published_at` is an ISO 8601 text in UTC (sortable), or None."""

    id: str
    title: str
    content: str
    published_at: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """Somebody said that `doc_id` answers `query` (grade > 0) or does not (grade 0). `weight`, 0..1: how sure that is."""

    query: str
    doc_id: str
    grade: float
    source: str
    weight: float = 1.0

    @property
    def query_id(self) -> str:
        return query_id(self.query)


@dataclass(frozen=True, slots=True)
class Pair:
    """One line of train.jsonl: a query, the text that answers it, texts that do not, and a weight in 0..1."""

    query: str
    pos: str
    source: str
    query_id: str
    doc_id: str
    neg: tuple[str, ...] = ()
    neg_ids: tuple[str, ...] = ()
    score: float = 1.0

    def to_json(self) -> dict[str, Any]:
        return {
            "query": self.query,
            "pos": self.pos,
            "neg": list(self.neg),
            "score": self.score,
            "source": self.source,
            "queryId": self.query_id,
            "docId": self.doc_id,
            "negIds": list(self.neg_ids),
        }

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> "Pair":
        return cls(
            query=row["query"],
            pos=row["pos"],
            source=row["source"],
            query_id=row["queryId"],
            doc_id=row["docId"],
            neg=tuple(row["neg"]),
            neg_ids=tuple(row["negIds"]),
            score=row["score"],
        )


WAYS_OUT = {
    "conflictingId": "Give every article an id of its own, in the column archive.fields.id",
    "duplicateId": "Give every article an id of its own, in the column archive.fields.id",
    "missingId": "Name the column of the ids in archive.fields.id",
    "emptyContent": "Name the column of the texts in archive.fields.content",
    "weakTitle": "Add labels, or titles that say what an article is about",
    "unknownDocument": "Name articles by the ids that the archive has",
    "ratingOutOfRange": "Correct feedback.minRating and feedback.maxRating, or the column feedback.fields.rating",
    "badRating": "Name the column of the ratings in feedback.fields.rating",
    "unparsable": "Take another language model for data.synthetic.llm, one that can answer in JSON",
}
"""What helps against a cause that leaves too little, by the name it is counted under."""


@dataclass(slots=True)
class Tally:
    """What was left out, by reason and by source, and where the first few of each reason were."""

    source: str = "archive"
    dropped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    sources: dict[str, Counter[str]] = field(default_factory=dict)

    def of(self, source: str) -> "Tally":
        """The same tally, for what another source gives."""
        return replace(self, source=source)

    def drop(self, reason: str, where: str = "", count: int = 1) -> None:
        self.dropped[reason] += count
        self.sources.setdefault(self.source, Counter())[reason] += count
        seen = self.examples.setdefault(reason, [])
        if where and len(seen) < 5:
            seen.append(where)

    def by_reason(self) -> dict[str, int]:
        return dict(sorted(self.dropped.items()))

    def by_source(self) -> dict[str, dict[str, int]]:
        return {source: dict(sorted(counts.items())) for source, counts in sorted(self.sources.items())}

    def way_out(self, more_than: int = 0) -> str:
        """What helps against the most frequent cause, and where it is seen first; empty where it took too few, or none is known."""
        cause, count = max(self.dropped.items(), key=lambda item: (item[1], item[0]), default=("", 0))
        remedy = WAYS_OUT.get(cause, "") if count > more_than else ""
        first = next(iter(self.examples.get(cause, [])), "")
        return f"{remedy} (see {first})" if remedy and first else remedy

    def sentence(self) -> str:
        """ "nearDuplicate 31, weakTitle 12", the most frequent first."""
        ordered = sorted(self.dropped.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{reason} {count}" for reason, count in ordered) or "nothing"


def query_id(query: str) -> str:
    """The same text has the same id in every snapshot, whatever it came from."""
    return "q-" + hashlib.sha256(query.encode()).hexdigest()[:16]


def unique(items: Iterable[str]) -> list[str]:
    """Without repetitions, in order."""
    return list(dict.fromkeys(items))
