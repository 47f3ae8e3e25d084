"""Comparisons without models: rankings that a test writes down, over documents of two sentences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from attune_trainer.evaluate.comparison import Comparison
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.measure import intervals, measure_rankings

COUNT = 20
DOCUMENTS = tuple(f"d{n:02}" for n in range(COUNT))


def held_out(queries: int = 12) -> HeldOut:
    """Query n is answered by document n."""
    return HeldOut(
        DOCUMENTS,
        tuple(f"The number {n} is big. It stands there." for n in range(COUNT)),
        {f"q{n:02}": f"what is number {n}?" for n in range(queries)},
        {f"q{n:02}": {DOCUMENTS[n]: 1} for n in range(queries)},
    )


def ranked(*places: int, queries: int = 12) -> list[list[str]]:
    """Rankings of five in which query n finds its document at places[n], from 1; 0: not at all. The last place goes for the rest."""
    wanted = [*places, *[places[-1]] * (queries - len(places))]
    return [_one(n, place) for n, place in enumerate(wanted)]


def _one(query: int, place: int) -> list[str]:
    others = [DOCUMENTS[(query + step) % COUNT] for step in range(1, 6)]
    return [*others[: place - 1], DOCUMENTS[query], *others[place - 1 : 4]] if place else others


def compared(candidate: list[list[str]], active: list[list[str]] | None, queries: int = 12) -> Comparison:
    """The base model and BM25 find nothing at all."""
    known = held_out(queries)
    mine, nothing = measure_rankings(candidate, known), measure_rankings(ranked(0, queries=queries), known)
    theirs = measure_rankings(active, known) if active is not None else None
    return Comparison(
        known, mine, theirs, nothing, nothing, intervals(mine, theirs or nothing, known, resamples=200, seed=1)
    )


class EqualVectors:
    """An encoder to which all texts are alike, but those with `far` in them."""

    def encode(self, texts: Sequence[str], role: str, advance: object = None) -> np.ndarray:
        return np.array([[0.0, 1.0] if "far" in text else [1.0, 0.0] for text in texts], dtype=np.float32)
