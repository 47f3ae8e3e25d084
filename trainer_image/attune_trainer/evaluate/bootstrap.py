"""Paired bootstrap by document: how sure a difference between two models is. Pure; called by `evaluate.measure`.

Queries on one document succeed and fail together, so documents are drawn, with all their queries (cluster bootstrap;
Davison & Hinkley 1997, 3.8). Both models are measured on the same draw, so what makes a query hard cancels out (Koehn
2004).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attune.contract.metrics import Interval

DRAWS_AT_ONCE = 256


def interval(difference: NDArray[np.float64], documents: Sequence[str], *, resamples: int, seed: int) -> Interval:
    """95% percentile interval of the mean of `difference` (one number a query) under resampling of `documents`."""
    _, cluster = np.unique(np.asarray(documents, dtype=object).astype(str), return_inverse=True)
    sums = np.bincount(cluster, weights=difference)
    sizes = np.bincount(cluster).astype(np.float64)
    rng = np.random.default_rng(seed)
    share = np.full(len(sums), 1 / len(sums))
    means: list[NDArray[np.float64]] = []
    for start in range(0, resamples, DRAWS_AT_ONCE):
        drawn = rng.multinomial(len(sums), share, size=min(DRAWS_AT_ONCE, resamples - start))
        means.append((drawn @ sums) / (drawn @ sizes))
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return Interval(low=float(low), high=float(high))


def verdict(of_ndcg: Interval) -> str:
    """better or worse where the interval excludes zero; notWorse where it does not."""
    if of_ndcg.low > 0:
        return "better"
    return "worse" if of_ndcg.high < 0 else "notWorse"
