"""Measures one model on a held-out set, and compares two measurements. Called by the evaluate stage and the CLI."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attune.contract.metrics import Interval, RetrievalMetrics
from attune_retrieval.encoding import Encoder
from attune_trainer.evaluate.bootstrap import interval
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.ranking import MEASURES, TopK

BLOCK_DOCUMENTS = 4096


@dataclass(frozen=True, slots=True)
class Measured:
    """One number a query for each measure, in the order of `HeldOut.queries`."""

    per_query: Mapping[str, NDArray[np.float64]]
    rankings: Sequence[Sequence[str]] = ()
    """Document ids, best first, one row a query: what the numbers were computed from."""

    def metrics(self) -> RetrievalMetrics:
        """Means, rounded to what is worth reading."""
        return RetrievalMetrics(**{name: round(float(values.mean()), 5) for name, values in self.per_query.items()})


def measure_encoder(
    encoder: Encoder, held_out: HeldOut, *, k: int = 10, advance: Callable[[float], None] | None = None
) -> Measured:
    """Search the whole corpus for every query, a block of documents at a time."""
    depth = max(k, 10)
    search = TopK(encoder.encode(list(held_out.queries.values()), "query"), depth)
    total = len(held_out.texts)
    for start in range(0, total, BLOCK_DOCUMENTS):
        texts = held_out.texts[start : start + BLOCK_DOCUMENTS]
        search.add(encoder.encode(texts, "document", _part(advance, start / total, len(texts) / total)), start)
    rankings = [[held_out.documents[position] for position in row] for row in search.positions]
    return measure_rankings(rankings, held_out, k=k)


def _part(advance: Callable[[float], None] | None, begin: float, width: float) -> Callable[[float], None] | None:
    return (lambda share: advance(begin + share * width)) if advance else None


def measure_rankings(rankings: list[list[str]], held_out: HeldOut, *, k: int = 10) -> Measured:
    """Every measure for given rankings, one a query in the order of `held_out.queries`."""
    judged = [held_out.grades[query] for query in held_out.queries]
    return Measured(
        {
            name: np.array([measure(ranked, grades, k) for ranked, grades in zip(rankings, judged, strict=True)])
            for name, measure in MEASURES.items()
        },
        rankings,
    )


def intervals(
    candidate: Measured, other: Measured, held_out: HeldOut, *, resamples: int, seed: int
) -> dict[str, Interval]:
    """95% intervals of candidate minus other by measure, named as in the contract's JSON."""
    documents = held_out.clusters()
    return {
        camel(name): interval(values - other.per_query[name], documents, resamples=resamples, seed=seed)
        for name, values in candidate.per_query.items()
    }


def camel(name: str) -> str:
    """The JSON name of a metric field."""
    alias = RetrievalMetrics.model_fields[name].alias
    return alias or name
