"""Measures one model on a held-out set, and compares two measurements. Called by the evaluate stage and the CLI."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attune.contract.metrics import HYBRID_INTERVAL, Interval, RetrievalMetrics
from attune_retrieval.encoding import Encoder, Vectors
from attune_trainer.evaluate.bootstrap import interval
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.hybrid import BothRankings, ByWords, rankings
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


@dataclass(frozen=True, slots=True)
class Searched:
    """The same queries twice: by vectors alone, and in the hybrid search."""

    alone: Measured
    hybrid: Measured


def measure_encoder(
    encoder: Encoder, held_out: HeldOut, *, k: int = 10, advance: Callable[[float], None] | None = None
) -> Measured:
    """Search the whole corpus for every query, a block of documents at a time."""
    search = TopK(encoder.encode(list(held_out.queries.values()), "query"), max(k, 10))
    for start, vectors in _blocks(encoder, held_out, advance):
        search.add(vectors, start)
    return _of_positions(search.positions, held_out, k)


def measure_with_words(
    encoder: Encoder,
    held_out: HeldOut,
    words: ByWords,
    dense_weight: float,
    *,
    k: int = 10,
    advance: Callable[[float], None] | None = None,
) -> Searched:
    """By vectors alone, and fused with BM25; `dense_weight` is the share of the former. Every document is encoded once."""
    search = BothRankings(encoder.encode(list(held_out.queries.values()), "query"), words)
    for start, vectors in _blocks(encoder, held_out, advance):
        search.add(vectors, start)
    fused = rankings(search.candidates(), held_out, dense_weight, max(k, 10))
    dense = _of_positions(search.dense.positions[:, : max(k, 10)], held_out, k)
    return Searched(dense, measure_rankings(fused, held_out, k=k))


def _blocks(
    encoder: Encoder, held_out: HeldOut, advance: Callable[[float], None] | None
) -> Iterator[tuple[int, Vectors]]:
    total = len(held_out.texts)
    for start in range(0, total, BLOCK_DOCUMENTS):
        texts = held_out.texts[start : start + BLOCK_DOCUMENTS]
        yield start, encoder.encode(texts, "document", _part(advance, start / total, len(texts) / total))


def _of_positions(positions: NDArray[np.int64], held_out: HeldOut, k: int) -> Measured:
    return measure_rankings([[held_out.documents[position] for position in row] for row in positions], held_out, k=k)


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


def hybrid_intervals(
    candidate: Measured, other: Measured, held_out: HeldOut, *, resamples: int, seed: int
) -> dict[str, Interval]:
    """The one of nDCG@10 in the hybrid search, under its name in the contract's `intervals`."""
    difference = candidate.per_query["ndcg_at10"] - other.per_query["ndcg_at10"]
    return {HYBRID_INTERVAL: interval(difference, held_out.clusters(), resamples=resamples, seed=seed)}


def camel(name: str) -> str:
    """The JSON name of a metric field."""
    alias = RetrievalMetrics.model_fields[name].alias
    return alias or name
