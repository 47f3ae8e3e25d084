"""Documents and vectors for tests of vector stores."""

from __future__ import annotations

import numpy as np

from attune_retrieval.graph import Floats
from attune_retrieval.index import Document, Identity

SPACE = Identity("sha256:space", 8)


def documents(count: int = 40) -> list[Document]:
    return [
        Document(
            f"d{n:03}", f"Title {n}", f"text about number{n} and things", f"2026-01-{n % 28 + 1:02}T00:00:00+00:00"
        )
        for n in range(count)
    ]


def vectors(count: int = 40, seed: int = 0) -> Floats:
    made = np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)
