"""Ranking metrics against numbers worked out by hand or published, and the search against brute force."""

import numpy as np
import pytest

from attune_trainer.evaluate.bootstrap import interval, verdict
from attune_trainer.evaluate.ranking import TopK, context_precision, ndcg, recall, reciprocal_rank


def test_ndcg_agrees_with_the_published_example() -> None:
    # https://en.wikipedia.org/wiki/Discounted_cumulative_gain: DCG 6.861, ideal DCG (of 3,3,3,2,2,2,1,0) 8.740, nDCG 0.785
    grades = {"d1": 3, "d2": 2, "d3": 3, "d4": 0, "d5": 1, "d6": 2, "d7": 3, "d8": 2}
    ranked = ["d1", "d2", "d3", "d4", "d5", "d6"]
    assert ndcg(ranked, grades, 6) == pytest.approx(6.861 / 8.740, abs=5e-4)


def test_ndcg_agrees_with_scikit_learn_on_random_rankings() -> None:
    from sklearn.metrics import ndcg_score

    rng = np.random.default_rng(3)
    for _ in range(50):
        grades = rng.integers(0, 4, size=30)
        scores = rng.permutation(30).astype(float)
        if not grades.any():
            continue
        ranked = [str(i) for i in np.argsort(-scores)]
        judged = {str(i): int(grade) for i, grade in enumerate(grades)}
        assert ndcg(ranked, judged, 10) == pytest.approx(ndcg_score([grades], [scores], k=10))


@pytest.mark.parametrize(
    ("ranked", "expected"),
    [(["a"], 1.0), (["x", "a"], 1 / np.log2(3)), (["x"] * 10 + ["a"], 0.0), ([], 0.0)],
)
def test_ndcg_of_one_relevant_document_is_the_discount_of_its_rank(ranked: list[str], expected: float) -> None:
    assert ndcg(ranked, {"a": 1}, 10) == pytest.approx(expected)


def test_documents_judged_not_relevant_gain_nothing() -> None:
    assert ndcg(["bad", "good"], {"bad": -1, "good": 1}, 10) == ndcg(["unjudged", "good"], {"good": 1}, 10)
    assert recall(["bad"], {"bad": 0, "good": 1}) == 0
    assert reciprocal_rank(["bad", "good"], {"bad": 0, "good": 2}) == 0.5


def test_recall_is_a_share_of_all_relevant_documents() -> None:
    assert recall(["a", "x", "b"], {"a": 1, "b": 2, "c": 1, "d": 1}, 3) == 0.5


def test_context_precision_is_the_one_of_ragas() -> None:
    # Relevant at ranks 1 and 3: (1/1 + 2/3) / 2, over the relevant among the retrieved.
    assert context_precision(["a", "x", "b"], {"a": 1, "b": 1, "never-found": 1}, 3) == pytest.approx((1 + 2 / 3) / 2)
    assert context_precision(["x", "y"], {"a": 1}, 2) == 0


def test_the_search_by_blocks_finds_what_sorting_everything_finds() -> None:
    rng = np.random.default_rng(5)
    queries, documents = rng.normal(size=(7, 8)).astype(np.float32), rng.normal(size=(101, 8)).astype(np.float32)
    expected = np.argsort(-(queries @ documents.T), axis=1, kind="stable")[:, :10]
    for block in (1, 13, 101):
        search = TopK(queries, 10)
        for start in range(0, 101, block):
            search.add(documents[start : start + block], start)
        np.testing.assert_array_equal(search.positions, expected)


def test_equal_scores_are_ordered_by_position_whatever_the_blocks() -> None:
    query, documents = np.ones((1, 2), np.float32), np.ones((9, 2), np.float32)
    for block in (2, 4, 9):
        search = TopK(query, 3)
        for start in range(0, 9, block):
            search.add(documents[start : start + block], start)
        assert search.positions.tolist() == [[0, 1, 2]]


def test_a_difference_on_every_document_is_sure_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    documents = [f"d{i}" for i in range(200)]
    better = interval(rng.normal(0.1, 0.1, 200), documents, resamples=1000, seed=1)
    noise = interval(rng.normal(0.0, 0.3, 200), documents, resamples=1000, seed=1)
    assert verdict(better) == "better"
    assert verdict(noise) == "notWorse"
    assert verdict(interval(np.full(200, -0.1), documents, resamples=1000, seed=1)) == "worse"


def test_the_interval_has_the_width_that_theory_gives() -> None:
    difference = np.random.default_rng(2).normal(0, 1, 400)
    found = interval(difference, [str(i) for i in range(400)], resamples=5000, seed=0)
    standard_error = difference.std() / np.sqrt(400)
    assert found.high - found.low == pytest.approx(2 * 1.96 * standard_error, rel=0.06)


def test_queries_on_one_document_count_as_one_observation() -> None:
    difference = np.repeat(np.random.default_rng(4).normal(0, 1, 40), 10)
    apart = interval(difference, [str(i) for i in range(400)], resamples=2000, seed=0)
    together = interval(difference, [str(i // 10) for i in range(400)], resamples=2000, seed=0)
    assert together.high - together.low > 2.5 * (apart.high - apart.low)


def test_the_same_seed_gives_the_same_interval() -> None:
    difference, documents = np.linspace(-1, 1, 50), [str(i // 2) for i in range(50)]
    assert interval(difference, documents, resamples=500, seed=9) == interval(
        difference, documents, resamples=500, seed=9
    )
