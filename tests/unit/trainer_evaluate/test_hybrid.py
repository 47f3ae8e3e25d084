"""The fused search of a held-out set: as serving fuses, and the weight that a set asks for."""

from __future__ import annotations

import numpy as np
import pytest

from attune_retrieval.index.fusion import weighted_z_scores
from attune_trainer.data.bm25 import Bm25
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.hybrid import BothRankings, ByWords, Candidates, rankings
from attune_trainer.evaluate.measure import measure_with_words
from attune_trainer.evaluate.reranking import hybrid_search
from attune_trainer.train.search_weights import DENSE_WEIGHTS, best_weight, mean_ndcg
from two_rankings import COUNT, NAMES, QUERIES, Known, held_out, vectors


def found(known: HeldOut, *, vectors_tell: bool, block: int = COUNT, depth: int = 100) -> BothRankings:
    queries, documents = vectors(vectors_tell=vectors_tell)
    search = BothRankings(queries, ByWords.over(known, depth), depth)
    for start in range(0, COUNT, block):
        search.add(documents[start : start + block], start)
    return search


def chosen(candidates: list[Candidates], known: HeldOut) -> float:
    return best_weight({w: mean_ndcg(rankings(candidates, known, w, 10), known) for w in DENSE_WEIGHTS})


@pytest.mark.parametrize(
    ("words_tell", "vectors_tell", "low", "high"),
    [(False, True, 0.6, 0.9), (True, False, 0.2, 0.5), (True, True, 0.5, 0.5)],
)
def test_the_side_that_is_right_gets_the_weight(words_tell: bool, vectors_tell: bool, low: float, high: float) -> None:
    known = held_out(words_tell=words_tell)
    candidates = found(known, vectors_tell=vectors_tell).candidates()
    weight = chosen(candidates, known)
    assert low <= weight <= high
    assert [row[0] for row in rankings(candidates, known, weight, 1)] == list(NAMES[:QUERIES])


def test_everything_is_scored_as_serving_scores_it() -> None:
    """Every candidate has its exact cosine and its BM25 score, whichever side found it; blocks make no difference."""
    known = held_out(words_tell=False)
    queries, documents = vectors(vectors_tell=True)
    cosines = (queries @ documents.T).astype(np.float64)
    index = Bm25(known.texts)
    whole = found(known, vectors_tell=True, depth=5).candidates()
    for number, (query, one) in enumerate(zip(known.queries.values(), whole, strict=True)):
        places, scores = index.search([query], 5)
        by_words = {int(p): float(s) for p, s in zip(places[0], scores[0], strict=True) if s > 0}
        nearest = set(np.argsort(-cosines[number], kind="stable")[:5].tolist())
        assert one.positions.tolist() == sorted(nearest | set(by_words))
        assert np.allclose(one.dense, cosines[number][one.positions], atol=1e-6)
        assert one.words.tolist() == [by_words.get(int(p), 0.0) for p in one.positions]
        expected = one.positions[np.argsort(-weighted_z_scores(one.dense, one.words, 0.7), kind="stable")]
        assert one.ranked(0.7, 3).tolist() == expected[:3].tolist()
    in_blocks = found(known, vectors_tell=True, block=7, depth=5).candidates()
    assert all(
        np.allclose(a.dense, b.dense) and (a.positions == b.positions).all()
        for a, b in zip(whole, in_blocks, strict=True)
    )


def test_a_query_without_a_known_word_is_answered_by_vectors() -> None:
    known = held_out(words_tell=True)
    strange = HeldOut(known.documents, known.texts, dict.fromkeys(known.queries, "zzz"), known.grades)
    ranked = rankings(found(strange, vectors_tell=True).candidates(), strange, 0.2, 1)
    assert [row[0] for row in ranked] == list(NAMES[:QUERIES])


def test_both_are_measured_with_every_text_encoded_once() -> None:
    known = held_out(words_tell=False)
    encoder = Known(known)
    found = measure_with_words(encoder, known, ByWords.over(known), 0.2)
    assert found.alone.metrics().ndcg_at10 == 1.0
    assert (found.hybrid.metrics().ndcg_at10 or 1.0) < 0.9
    assert sorted(encoder.encoded) == sorted([*known.texts, *known.queries.values()])


@pytest.mark.parametrize("share", [0.2, 0.9])
def test_candidates_for_a_reranker_are_those_that_the_fused_search_finds(share: float) -> None:
    known = held_out(words_tell=False)
    by_hand = rankings(found(known, vectors_tell=True).candidates(), known, share, 7)
    candidates = hybrid_search(Known(known), share, known, lambda _: None, depth=7)
    assert [[NAMES[p] for p in one.positions] for one in candidates] == by_hand
    assert all(list(one.scores) == sorted(one.scores, reverse=True) for one in candidates)


def test_without_an_active_version_words_alone_find_the_candidates() -> None:
    known = held_out(words_tell=True)
    candidates = hybrid_search(None, 0.5, known, lambda _: None, depth=7)
    assert [NAMES[one.positions[0]] for one in candidates] == list(NAMES[:QUERIES])
