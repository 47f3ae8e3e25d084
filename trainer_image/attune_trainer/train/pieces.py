"""How the texts of a batch are cut into pieces that are embedded together. Pure; called by `contrastive`.

A piece is padded to its longest text, and what is padded is computed; but every piece costs something of its own. The cut that is
cheapest altogether is found exactly: with the texts sorted by length, a piece is a run of neighbours.
"""

from collections.abc import Sequence

import numpy as np


def cheapest_pieces(lengths: Sequence[int], *, most: int, own_cost: int) -> list[list[int]]:
    """Indices of the texts of each piece, longest texts first; the sum of rows x longest + `own_cost` over the pieces is the smallest.

    `lengths`: tokens of each text. `most`: tokens of a piece with its padding, more only where a single text has more. `own_cost`: what a
    piece costs beside its tokens, in tokens. Shortest path over the cuts, O(texts x texts in a piece).
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    longest = np.maximum(1, np.asarray(lengths, dtype=np.int64)[order])
    cost = np.zeros(len(order) + 1)
    begins = np.zeros(len(order) + 1, dtype=np.int64)
    first = 0
    for end in range(1, len(order) + 1):
        while first < end - 1 and (end - first) * longest[first] > most:
            first += 1
        starts = np.arange(first, end)
        sums = cost[starts] + (end - starts) * longest[starts] + own_cost
        begins[end] = first + int(sums.argmin())
        cost[end] = sums.min()
    pieces = []
    end = len(order)
    while end:
        pieces.append(order[begins[end] : end].tolist())
        end = int(begins[end])
    return pieces[::-1]
