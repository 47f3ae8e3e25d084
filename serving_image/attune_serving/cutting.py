"""Vectors that are cut to fewer numbers, for versions that were trained for it (Matryoshka). Called by `answering`."""

import numpy as np

from attune_retrieval.graph import Floats
from attune_serving.refusals import invalid
from attune_serving.shelf import Loaded


def lengths_of(loaded: Loaded) -> tuple[int, ...]:
    """All lengths that its vectors may have, the whole one last."""
    opened = loaded.model.opened
    if opened is None or opened.manifest.dimensions is None:
        return ()
    return (*(opened.manifest.matryoshka_dimensions or ()), opened.manifest.dimensions)


def shortened(loaded: Loaded, asked: int | None) -> int | None:
    """The length asked for. Refused (400) where the version was not trained to be cut to it: such vectors find little."""
    lengths = lengths_of(loaded)
    if asked is None or asked in lengths:
        return asked
    told = ", ".join(map(str, lengths)) or "none"
    raise invalid(
        "dimensions",
        f"{asked}; vectors of {loaded.name} have {told} numbers. Leave dimensions out, or train with "
        "hyperparameters.matryoshkaDimensions",
    )


def cut(vectors: Floats, length: int | None) -> Floats:
    """The first `length` numbers of each, as unit vectors again; shape (rows x length)."""
    if length is None or length == vectors.shape[1]:
        return vectors
    beginnings = vectors[:, :length]
    norms = np.linalg.norm(beginnings, axis=1, keepdims=True)
    unit: Floats = beginnings / np.maximum(norms, np.finfo(np.float32).tiny)
    return unit
