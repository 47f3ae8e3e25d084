"""How much the parts of a search count, by version: vectors beside words, a reranker beside the search it orders. Used by trainer and
serving, so that what was measured is what is served. Pure."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attune_retrieval.index.fusion import DEFAULT, Fusion, weighted_z_scores
from attune_retrieval.manifest import Manifest

ALONE = 1.0
"""The weight of a reranker that orders by itself: versions that do not say otherwise."""
_NEAREST_TO_SURE = 1e-6


def fusion_of(embedding: Manifest) -> Fusion:
    """How a hybrid search fuses this version's vectors with words: as its validation set wanted it, else the default."""
    own = embedding.dense_weight
    return DEFAULT if own is None else replace(DEFAULT, dense_weight=own)


def rerank_weight_of(reranker: Manifest) -> float:
    """The share of this reranker beside the scores of the search, 0..1."""
    return ALONE if reranker.rerank_weight is None else reranker.rerank_weight


def blended(first: ArrayLike, relevance: ArrayLike, weight: float) -> NDArray[np.float64]:
    """One score a candidate, shape (n,), the higher the better: weighted z-scores of both, as `index.fusion` adds vectors and words.

    `first`: scores of the search, any scale; `relevance`: the reranker's, 0..1, taken as log-odds, because near 0 and 1 they hardly
    differ; `weight`: the reranker's share, 0..1. Weight 1 gives `relevance` as it is.
    """
    given = np.asarray(relevance, dtype=np.float64)
    if weight >= ALONE:
        return given
    inner = np.clip(given, _NEAREST_TO_SURE, 1 - _NEAREST_TO_SURE)
    return weighted_z_scores(np.log(inner / (1 - inner)), np.asarray(first, dtype=np.float64), weight)
