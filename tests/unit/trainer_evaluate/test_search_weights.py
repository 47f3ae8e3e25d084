"""How much a reranker counts beside the search whose candidates it orders."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune_retrieval.weighing import blended
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.reranking import Candidates, hybrid_search
from attune_trainer.train.search_weights import (
    RERANK_WEIGHTS,
    RERANKED_DEPTH,
    Scored,
    best_weight,
    careful_weight,
    ndcg_of,
    rerank_weight,
)

COUNT = 60
SET = HeldOut(
    tuple(f"d{n:02}" for n in range(COUNT)),
    tuple(f"word{n} text" for n in range(COUNT)),
    {f"q{n:02}": f"text word{n}" for n in range(COUNT)},
    {f"q{n:02}": {f"d{n:02}": 1} for n in range(COUNT)},
)


def by_words(asked: HeldOut) -> list[Candidates]:
    return hybrid_search(None, 0.0, asked, lambda _: None, depth=RERANKED_DEPTH)


Numbers = st.lists(st.floats(-50, 50, allow_nan=False), min_size=2, max_size=30, unique=True)


def order(scores: np.ndarray) -> list[int]:
    return np.argsort(-scores, kind="stable").tolist()


@given(Numbers, st.randoms())
def test_weight_1_is_the_reranker_alone_and_weight_0_the_search_alone(first: list[float], random: object) -> None:
    relevance = np.random.default_rng(len(first)).permutation(np.linspace(0.01, 0.99, len(first)))
    assert blended(first, relevance, 1.0).tolist() == relevance.tolist()
    by_search = order(blended(first, relevance, 0.0))
    ranked = [first[n] for n in by_search]
    assert all(a >= b - 1e-9 * max(1, abs(a)) for a, b in itertools.pairwise(ranked))


def test_near_certainty_still_differs() -> None:
    """Of relevances 0.999 and 0.99999 the second is much better: their difference must not drown."""
    scores = blended([0.5, 0.5, 0.5], [0.999, 0.99999, 0.5], 0.5)
    assert scores[1] - scores[0] > 0.3 * (scores[0] - scores[2])
    assert np.isfinite(blended([0.1, 0.2], [0.0, 1.0], 0.5)).all()


def candidates(*, search_tells: bool, reranker_tells: bool) -> list[Scored]:
    """20 candidates a query; who tells gives the right one the best score, else chance decides."""
    rng = np.random.default_rng(5)
    made = []
    for grades in SET.grades.values():
        (right,) = grades
        names = [right, *[d for d in SET.documents if d != right][:19]]
        first, relevance = rng.uniform(0, 0.9, 20), rng.uniform(0.1, 0.8, 20)
        first[0] = 1.0 if search_tells else first[0]
        relevance[0] = 0.95 if reranker_tells else relevance[0]
        made.append(Scored(tuple(names), tuple(first), tuple(relevance)))
    return made


def test_the_best_weight_wins_and_of_those_as_good_the_one_nearest_to_a_half() -> None:
    assert best_weight({0.2: 0.70, 0.5: 0.72, 0.9: 0.74}) == 0.9
    assert best_weight({0.2: 0.7405, 0.6: 0.7399, 0.9: 0.7400}) == 0.6


@pytest.mark.parametrize(
    ("search_tells", "reranker_tells", "low", "high"),
    [(True, False, 0.1, 0.4), (False, True, 0.6, 1.0), (True, True, 0.1, 0.1)],
)
def test_who_is_right_gets_the_weight(search_tells: bool, reranker_tells: bool, low: float, high: float) -> None:
    found = candidates(search_tells=search_tells, reranker_tells=reranker_tells)
    weight = careful_weight({w: ndcg_of([one.ranked(w) for one in found], SET) for w in RERANK_WEIGHTS})
    assert low <= weight <= high


def test_a_reranker_has_no_more_weight_than_the_validation_set_tells_from_chance() -> None:
    """Paired: 0.6 is better than 0.3 on most queries by a little, or on few queries by much."""
    weak = np.linspace(0.2, 0.8, 100)
    better_on_most = weak + np.where(np.arange(100) % 4, 0.02, 0.0)
    better_on_few = weak + np.where(np.arange(100) == 0, 0.5, np.where(np.arange(100) == 1, -0.2, 0.0))
    assert careful_weight({0.3: weak, 0.6: better_on_most, 0.9: weak - 0.1}) == 0.6
    assert careful_weight({0.3: weak, 0.6: better_on_few, 0.9: weak - 0.1}) == 0.3
    assert careful_weight({0.3: weak, 0.6: weak}) == 0.3


def test_it_is_found_on_the_candidates_of_the_search_itself() -> None:
    """BM25 finds by word; the reranker is asked about nothing else, and is always wrong."""
    asked: list[tuple[str, str]] = []

    def wrong(pairs: object) -> list[float]:
        asked.extend(pairs)  # type: ignore[arg-type]
        return [0.1 if query.split()[1] in text else 0.9 for query, text in pairs]  # type: ignore[attr-defined]

    weight = rerank_weight(wrong, by_words, SET, lambda: None)
    assert weight is not None
    assert weight <= 0.5
    assert {query for query, _ in asked} == set(SET.queries.values())
    assert len(asked) <= 20 * COUNT


def test_too_few_queries_tell_nothing() -> None:
    few = HeldOut(SET.documents, SET.texts, dict(list(SET.queries.items())[:49]), SET.grades)
    assert rerank_weight(lambda pairs: [0.5] * len(pairs), by_words, few, lambda: None) is None
    assert rerank_weight(lambda pairs: [0.5] * len(pairs), by_words, None, lambda: None) is None


def test_a_stop_is_heard_between_two_queries() -> None:
    class Stop(Exception):
        pass

    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) > 5:
            raise Stop

    with pytest.raises(Stop):
        rerank_weight(lambda pairs: [0.5] * len(pairs), by_words, SET, check)
