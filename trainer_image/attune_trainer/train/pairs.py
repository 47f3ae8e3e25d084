"""Training rows as read from a snapshot (`train.jsonl`, `validation.jsonl`). Read by the training and its batches."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from attune_trainer.errors import BadData


@dataclass(frozen=True, slots=True)
class Pair:
    """A query, the document that answers it, and documents that do not."""

    query: str
    positive: str
    document: str
    negatives: tuple[str, ...] = ()
    negative_documents: tuple[str, ...] = ()
    weight: float = 1.0
    """In 0..1: the share of the epochs that the pair is seen in."""


def identity(text: str) -> str:
    """A name for a text without an id: equal texts are the same document."""
    return "text:" + hashlib.blake2b(" ".join(text.split()).encode(), digest_size=12).hexdigest()


def read_pairs(path: Path) -> list[Pair]:
    """All rows of a JSONL file. Raises BadData with the line number of a row that is no pair."""
    if not path.is_file():
        raise BadData(f"the snapshot has no {path.name} (looked in {path.parent}); run the prepare stage again.")
    return list(_rows(path))


def _rows(path: Path) -> Iterator[Pair]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _pair(line, path, number)


def _pair(line: str, path: Path, number: int) -> Pair:
    try:
        row: dict[str, Any] = json.loads(line)
        negatives = tuple(row.get("neg") or ())
        ids = tuple(row.get("negIds") or ())
        if len(ids) != len(negatives):
            ids = tuple(identity(text) for text in negatives)
        positive = str(row["pos"])
        document = str(row.get("docId") or identity(positive))
        weight = min(1.0, max(0.0, float(row.get("score", 1.0))))
        return Pair(str(row["query"]), positive, document, negatives, ids, weight)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadData(f'{path.name} line {number} is no pair {{"query", "pos", "neg"}}: {error!r}.') from error


def with_negatives(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """The same pairs, where any has mined negatives: those without get one other row's document, drawn by the seed.

    The columns of a batch must be full; a row whose mining found nothing wrong enough keeps an easy negative instead.
    """
    if not any(pair.negatives for pair in pairs) or all(pair.negatives for pair in pairs):
        return list(pairs)
    rng = np.random.default_rng([seed, 2])
    documents = {pair.document: pair.positive for pair in pairs}
    names = sorted(documents)
    drawn = rng.integers(len(names), size=len(pairs))
    filled = []
    for pair, draw in zip(pairs, drawn, strict=True):
        other = names[draw] if names[draw] != pair.document else names[(draw + 1) % len(names)]
        easy = replace(pair, negatives=(documents[other],), negative_documents=(other,))
        filled.append(pair if pair.negatives else easy)
    return filled


def negative_in(rows: Sequence[Pair], epoch: int) -> tuple[str, str]:
    """Name and text of the mined negative that a document has in this epoch: of each of its rows in turn, each time the next one."""
    row, turn = rows[epoch % len(rows)], epoch // len(rows)
    place = turn % len(row.negatives)
    return row.negative_documents[place], row.negatives[place]
