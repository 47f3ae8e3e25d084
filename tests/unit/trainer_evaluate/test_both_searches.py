"""What is compared twice: by vectors alone, and in the hybrid search, which serves. Rankings that a test writes down, no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from attune.contract import EvaluationConfig
from attune.contract.metrics import HYBRID_INTERVAL
from attune_retrieval.manifest import FileDigest, Manifest
from attune_trainer.evaluate.bootstrap import verdict
from attune_trainer.evaluate.compare import Candidate, Contenders, compare
from attune_trainer.evaluate.comparison import Beyond, Comparison, summarised
from attune_trainer.evaluate.reranking import Rerankers, compare_rerankers
from two_rankings import QUERIES, Known, held_out

CONFIG = EvaluationConfig(resamples=500)
CONFUSED = ("w58", "w59")
"""Two texts that a reranker takes for the answer to everything."""


class Reranker:
    """Relevance by whether a text has the word of the query, and by `confused`."""

    def __init__(self, right: float, confused: float = 0.0) -> None:
        self.right, self.confused = right, confused
        self.asked: list[tuple[str, str]] = []

    def score(self, pairs: Sequence[tuple[str, str]], advance: object = None) -> np.ndarray:
        self.asked += pairs
        return np.array([self._one(*pair) for pair in pairs], dtype=np.float32)

    def _one(self, query: str, text: str) -> float:
        if any(word in text.split() for word in CONFUSED):
            return self.confused
        return self.right if query.split()[1] in text.split() else 0.1


def reranked(candidate: Any, active: Any = None, *, encoder: bool = True) -> Comparison:
    """Words find every answer first, vectors none."""
    known = held_out(words_tell=True)
    first = Known(known, vectors_tell=False) if encoder else None
    contenders = Rerankers(candidate, active, first, dense_weight=0.1)
    return compare_rerankers(contenders, known, CONFIG, seed=1, report=lambda *_: lambda _: None)


def test_a_reranker_that_helps_the_vectors_and_harms_the_search_that_serves_is_seen() -> None:
    found = reranked(Reranker(right=0.8, confused=0.9))
    assert verdict(found.differences["ndcgAt10"]) == "better"
    assert found.hybrid is not None
    assert found.other_hybrid is not None
    assert found.other_hybrid.metrics().ndcg_at10 == 1.0, "as it was found"
    assert (found.hybrid.metrics().ndcg_at10 or 1) < 0.8
    assert found.differences[HYBRID_INTERVAL].high < 0
    told = summarised(found, Beyond(), CONFIG).metrics
    assert (told.hybrid, told.hybrid_baseline) == (found.hybrid.metrics(), found.other_hybrid.metrics())
    assert told.verdict == "better"


def test_beside_an_active_reranker_the_hybrid_search_is_that_with_it() -> None:
    found = reranked(Reranker(right=0.9), Reranker(right=0.8, confused=0.9))
    assert found.active is not None
    assert found.other_hybrid is not None
    assert (found.other_hybrid.metrics().ndcg_at10 or 1) < 0.8
    assert found.differences[HYBRID_INTERVAL].low > 0


def test_what_both_searches_found_is_scored_once() -> None:
    reranker = Reranker(right=0.9)
    reranked(reranker)
    assert len(reranker.asked) == len(set(reranker.asked))
    assert QUERIES * 50 < len(reranker.asked) <= QUERIES * 60


def test_without_an_active_embedding_version_there_is_no_hybrid_search() -> None:
    found = reranked(Reranker(right=0.9), encoder=False)
    assert (found.hybrid, found.other_hybrid) == (None, None)
    assert HYBRID_INTERVAL not in found.differences
    assert summarised(found, Beyond(), CONFIG).metrics.hybrid is None


def version(encoder: Known, dense_weight: float | None, *, files: str) -> Candidate:
    given = {"source": "training", "base_model": "tiny", "max_sequence_length": 64, "embedding_space": files}
    file = FileDigest(path="model.safetensors", bytes=1, sha256=files)
    return Candidate(encoder, Manifest(**given, dense_weight=dense_weight, files=(file,)))


def compared(candidate: Candidate, active: Candidate | None, base: Known) -> Comparison:
    contenders = Contenders(candidate, active, "tiny", lambda: base)
    known = held_out(words_tell=False)
    return compare(contenders, known, CONFIG, seed=1, report=lambda *_: lambda _: None)


def test_an_embedding_version_is_compared_in_the_hybrid_search_with_the_share_of_each() -> None:
    """Vectors are right, words wrong: the same vectors with a smaller share find less together with the words."""
    right = Known(held_out(words_tell=False))
    low, high = version(right, 0.2, files="a"), version(right, 0.9, files="a")
    worse = compared(low, high, right)
    assert verdict(worse.differences["ndcgAt10"]) == "notWorse"
    assert worse.differences[HYBRID_INTERVAL].high < 0
    beside_base = compared(high, None, right)
    assert beside_base.differences[HYBRID_INTERVAL].low > 0, "a base model has the default's share"


def test_the_same_version_with_the_same_share_is_measured_once() -> None:
    known = held_out(words_tell=False)
    encoder, base = Known(known), Known(known, vectors_tell=False)
    found = compared(version(encoder, 0.7, files="a"), version(encoder, 0.7, files="a"), base)
    assert len(encoder.encoded) == len(known.texts) + len(known.queries)
    assert found.hybrid is found.other_hybrid
    assert (found.differences[HYBRID_INTERVAL].low, found.differences[HYBRID_INTERVAL].high) == (0, 0)
