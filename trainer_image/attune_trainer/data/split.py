"""Who is trained on and who is held out. Pure; called by prepare.py, after duplicates are gone.

Held out are the newest documents where the archive knows dates (so the test looks like tomorrow's questions), else a
part chosen by hash. A hash of seed and id, not a shuffle: an article keeps its side when others are added.
"""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from attune_trainer.data.records import Document

VALIDATION_SHARE = 0.08
VALIDATION_AT_MOST = 500
_VALIDATION_NEEDS = 5
"""With fewer documents on the training side there is none for validation."""
_DATED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Split:
    """Three disjoint sides, together all documents. `by`: time, hash or evaluation; `since`: date of the cut."""

    train: tuple[Document, ...]
    validation: tuple[Document, ...]
    held_out: tuple[Document, ...]
    by: str
    since: str | None = None


def split(
    documents: Sequence[Document],
    queryable: Collection[str],
    *,
    ratio: float,
    seed: int,
    reserved: Collection[str] = (),
) -> Split:
    """`queryable`: ids that have a query; the ratio is kept among them. `reserved`: ids of an evaluation set, which
    then are the held-out side."""
    if reserved:
        held = [document for document in documents if document.id in reserved]
        by, since = "evaluation", None
    else:
        by = "time" if _dated(documents) else "hash"
        held = _held_out(documents, queryable, ratio, _order(seed, use_time=by == "time"))
        since = min((document.published_at or "" for document in held), default=None) if by == "time" else None
    held_ids = {document.id for document in held}
    rest = [document for document in documents if document.id not in held_ids]
    validation = _validation(rest, queryable, seed)
    train = tuple(document for document in rest if document.id not in validation)
    return Split(train, tuple(d for d in rest if d.id in validation), tuple(held), by, since)


def _held_out(
    documents: Sequence[Document],
    queryable: Collection[str],
    ratio: float,
    order: Callable[[Document], tuple[str, str]],
) -> list[Document]:
    """All documents from the first held-out one with a query on, so that nothing newer than the cut is trained on."""
    candidates = sorted((document for document in documents if document.id in queryable), key=order)
    if not candidates:
        return []
    count = min(len(candidates), max(1, round((1 - ratio) * len(candidates))))
    cut = order(candidates[-count])
    return [document for document in documents if order(document) >= cut]


def _validation(documents: Sequence[Document], queryable: Collection[str], seed: int) -> set[str]:
    candidates = [document for document in documents if document.id in queryable]
    if len(candidates) < _VALIDATION_NEEDS:
        return set()
    count = min(VALIDATION_AT_MOST, max(1, round(VALIDATION_SHARE * len(candidates))))
    return {document.id for document in sorted(candidates, key=lambda d: _hash(seed, "validation", d.id))[:count]}


def _dated(documents: Sequence[Document]) -> bool:
    return sum(document.published_at is not None for document in documents) >= _DATED_SHARE * len(documents) > 0


def _order(seed: int, *, use_time: bool) -> Callable[[Document], tuple[str, str]]:
    """Undated documents among dated ones count as old: they are trained on, never held out as new."""
    return lambda document: (document.published_at or "" if use_time else "", _hash(seed, "split", document.id))


def _hash(seed: int, purpose: str, identifier: str) -> str:
    return hashlib.sha256(f"{seed}\0{purpose}\0{identifier}".encode()).hexdigest()
