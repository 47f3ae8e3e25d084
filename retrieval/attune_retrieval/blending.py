"""The order of a search after reranking: what the reranker says and what the search said, weighed. Used by trainer and serving. Pure.

A reranker that learnt from a team's few thousand pairs knows what the first stage does not, and less than it on the whole: both
together order better than either (the same rule as for vectors and words, see `index.fusion`).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from attune_retrieval.index.fusion import weighted_z_scores

ALONE = 1.0
"""The weight of a reranker that orders by itself: versions that do not say otherwise."""
_NEAREST_TO_SURE = 1e-6


def blended(first: ArrayLike, relevance: ArrayLike, weight: float) -> NDArray[np.float64]:
    """One score a candidate, shape (n,), the higher the better.

    `first`: scores of the search, any scale; `relevance`: the reranker's, 0..1, taken as log-odds, because near 0 and 1 they hardly
    differ; `weight`: the reranker's share, 0..1. Weight 1 gives `relevance` as it is.
    """
    given = np.asarray(relevance, dtype=np.float64)
    if weight >= ALONE:
        return given
    inner = np.clip(given, _NEAREST_TO_SURE, 1 - _NEAREST_TO_SURE)
    return weighted_z_scores(np.log(inner / (1 - inner)), np.asarray(first, dtype=np.float64), weight)
