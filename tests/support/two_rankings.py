"""A corpus that is searched by words and by vectors, each of which is right or wrong as a test wants it. No model."""

from __future__ import annotations

import numpy as np

from attune_retrieval.encoding import Vectors
from attune_trainer.evaluate.heldout import HeldOut

COUNT, QUERIES, SIZE = 60, 40, 32
NAMES = tuple(f"d{n:02}" for n in range(COUNT))


def unit(values: np.ndarray) -> Vectors:
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


def held_out(*, words_tell: bool) -> HeldOut:
    """Query n is answered by document n. Its words are those of its document, or those of the next one."""
    texts = tuple(f"common w{n} x{n} y{n}" for n in range(COUNT))
    queries = {f"q{n:02}": f"common w{n if words_tell else n + 1}" for n in range(QUERIES)}
    return HeldOut(NAMES, texts, queries, {f"q{n:02}": {NAMES[n]: 1} for n in range(QUERIES)})


def vectors(*, vectors_tell: bool) -> tuple[Vectors, Vectors]:
    """Of queries and documents: a query lies near its document, or near the next one."""
    rng = np.random.default_rng(1)
    documents = unit(rng.standard_normal((COUNT, SIZE)))
    shift = 0 if vectors_tell else 1
    return unit(documents[shift : QUERIES + shift] + 0.1 * rng.standard_normal((QUERIES, SIZE))), documents


class Known:
    """An encoder that knows the vectors of the texts by heart."""

    def __init__(self, known: HeldOut, *, vectors_tell: bool = True) -> None:
        queries, documents = vectors(vectors_tell=vectors_tell)
        self.of = dict(zip(known.queries.values(), queries, strict=True)) | dict(
            zip(known.texts, documents, strict=True)
        )
        self.encoded: list[str] = []

    def encode(self, texts: list[str], role: str, advance: object = None) -> Vectors:
        self.encoded += texts
        return np.stack([self.of[text] for text in texts])
