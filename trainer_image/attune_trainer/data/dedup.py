"""Exact and near duplicates, found before anything is split. Called by prepare.py.

Of each group of near equal articles the first is kept; the others leave the corpus, and who names them means the first.
Near: at least 80% of the three-word sequences in common (Jaccard). MinHash with locality-sensitive hashing proposes
candidates (tuned below that line, so that few are missed), the exact figure decides.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from datasketch import MinHash, MinHashLSH  # type: ignore[import-untyped]
from numpy.typing import NDArray

from attune_trainer.data.normalize import words
from attune_trainer.data.records import Document, Tally

NEAR = 0.8
_PROPOSE = 0.65
PERMUTATIONS = 128
_SHINGLE_WORDS = 3
_COMPARED = 20
_BLOCK = 1024

Signatures = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Distinct:
    """Documents without repetitions; `kept_id` leads from every id that was read to the one that stands for it.

    `signatures` (documents x PERMUTATIONS): the share of equal columns of two rows estimates their Jaccard similarity.
    """

    documents: list[Document]
    kept_id: dict[str, str]
    signatures: Signatures

    def similarity(self, one: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Estimated Jaccard similarity of document `one` to each of `others` (positions in `documents`)."""
        equal = self.signatures[others] == self.signatures[one]
        return np.asarray(equal.mean(axis=1), dtype=np.float64)


def distinct(documents: list[Document], tally: Tally, report: Callable[[float], None] = lambda _: None) -> Distinct:
    """Drop exact (`exactDuplicate`) and near (`nearDuplicate`) copies. `report` gets the share done, 0..1."""
    lsh = MinHashLSH(threshold=_PROPOSE, num_perm=PERMUTATIONS)
    by_text: dict[bytes, str] = {}
    kept: list[Document] = []
    signatures = np.empty((len(documents), PERMUTATIONS), np.uint32)
    kept_id: dict[str, str] = {}
    for number, document in enumerate(documents):
        if number % _BLOCK == 0:
            report(number / len(documents))
        key = hashlib.sha256(" ".join(words(document.content)).encode()).digest()
        if key in by_text:
            kept_id[document.id] = by_text[key]
            tally.drop("exactDuplicate", f"{document.id} = {by_text[key]}")
            continue
        sketch = _sketch(document.content)
        likely = _likeliest(sketch, np.array(lsh.query(sketch), dtype=np.int64), signatures)
        original = next((kept[at] for at in likely if jaccard(document.content, kept[at].content) >= NEAR), None)
        if original is not None:
            kept_id[document.id] = by_text[key] = original.id
            tally.drop("nearDuplicate", f"{document.id} ~ {original.id}")
            continue
        kept_id[document.id] = by_text[key] = document.id
        lsh.insert(len(kept), sketch, check_duplication=False)
        signatures[len(kept)] = sketch.hashvalues
        kept.append(document)
    report(1.0)
    return Distinct(kept, kept_id, signatures[: len(kept)])


def _likeliest(sketch: MinHash, proposed: NDArray[np.int64], signatures: Signatures) -> list[int]:
    """The candidates worth an exact comparison, in the order they were read. A bounded number: in an archive made from
    a template everything resembles everything."""
    estimates = (signatures[proposed] == np.asarray(sketch.hashvalues, np.uint32)).mean(axis=1)
    best = np.lexsort((proposed, -estimates))[:_COMPARED]
    return sorted(proposed[best[estimates[best] >= _PROPOSE]].tolist())


def jaccard(one: str, other: str) -> float:
    """Share of common three-word sequences among all of both texts."""
    left, right = set(shingles(one)), set(shingles(other))
    return len(left & right) / len(left | right) if left or right else 1.0


def _sketch(text: str) -> MinHash:
    sketch = MinHash(num_perm=PERMUTATIONS, seed=1, hashfunc=_hash32, scheme="affine32")
    sketch.update_batch(set(shingles(text)))
    return sketch


def _hash32(value: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(value, digest_size=4).digest(), "little")


def shingles(text: str) -> Iterator[bytes]:
    """Sequences of three words, case-folded; of a shorter text all of it."""
    tokens = words(text)
    for start in range(max(1, len(tokens) - _SHINGLE_WORDS + 1)):
        yield " ".join(tokens[start : start + _SHINGLE_WORDS]).encode()
