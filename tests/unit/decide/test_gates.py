"""The gates between an evaluated candidate and `staged`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from attune.contract import EvaluationMetrics, EvaluationSummary
from attune.decide.gates import GATES, REASONS, Candidate, compared, first_problem


def candidate(threshold: float = 0.85, **metrics: Any) -> Candidate:
    known: dict[str, Any] = {
        "score": 0.9,
        "score_metric": "contextPrecision",
        "queries": 678,
        "verdict": "better",
        **metrics,
    }
    return Candidate(EvaluationSummary(metrics=EvaluationMetrics(**known)), threshold)


def test_a_good_candidate_passes_every_gate() -> None:
    assert first_problem(candidate()) is None


def test_below_the_threshold_names_both_numbers_and_the_queries() -> None:
    problem = first_problem(candidate(score=0.71))
    assert problem is not None
    assert (problem.reason, problem.message) == (
        "BelowThreshold",
        "contextPrecision 0.710 < 0.85 (evalThreshold), on 678 queries",
    )


def test_a_score_equal_to_the_threshold_passes() -> None:
    assert first_problem(candidate(score=0.85)) is None


def test_worse_than_the_active_version_fails_even_above_the_threshold() -> None:
    problem = first_problem(
        candidate(verdict="worse", ndcg_at10=0.7, baseline={"ndcgAt10": 0.8}, improvement_percent=-12.5)
    )
    assert problem is not None
    assert problem.reason == "WorseThanActive"
    assert "nDCG@10 0.800 (active) → 0.700 (-12.5%) on 678 queries" in problem.message


def test_not_worse_passes() -> None:
    assert first_problem(candidate(verdict="notWorse")) is None


def test_a_score_that_was_not_measured_is_a_problem_and_never_zero() -> None:
    unmeasured = Candidate(
        EvaluationSummary(metrics=EvaluationMetrics(), not_measured={"faithfulness": "no judge"}), 0.85
    )
    problem = first_problem(unmeasured)
    assert problem is not None
    assert problem.reason == "NotMeasured"
    assert "faithfulness: no judge" in problem.message


def a_general(base: float, mine: float, low: float, high: float) -> dict[str, Any]:
    numbers = {"ndcg_at10": mine, "base": base, "drop": base - mine, "interval": {"low": low, "high": high}}
    return {"name": "docstrings", "queries": 300, "documents": 400, **numbers}


def forgetful(limit: float, base: float, mine: float, low: float, high: float) -> Candidate:
    return replace(candidate(general=a_general(base, mine, low, high)), max_general_drop=limit)


def test_a_candidate_that_forgot_fails_with_the_numbers() -> None:
    problem = first_problem(forgetful(0.05, 0.68, 0.6, -0.11, -0.05))
    assert problem is not None
    assert problem.reason == "ForgotGeneral"
    assert problem.message.startswith(
        "nDCG@10 on the general set (docstrings) 0.680 (base) → 0.600, a drop of 0.080 > 0.05 (evaluation.maxGeneralDrop), "
        "95% CI -0.110 to -0.050, on 300 queries"
    )


@pytest.mark.parametrize(
    ("limit", "mine", "low", "high"),
    [(0.05, 0.64, -0.06, -0.02), (0.05, 0.60, -0.20, 0.01), (1.0, 0.10, -0.7, -0.5), (0.05, 0.75, 0.02, 0.1)],
    ids=["within the limit", "may be chance", "guard switched off", "better"],
)
def test_what_was_not_forgotten_passes(limit: float, mine: float, low: float, high: float) -> None:
    assert first_problem(forgetful(limit, 0.68, mine, low, high)) is None


def in_hybrid_search(low: float, high: float, before: float = 0.607, after: float = 0.596, **more: Any) -> Candidate:
    """Better by itself, on candidates that the vectors alone find."""
    alone = {"ndcg_at10": 0.559, "base": {"ndcgAt10": 0.532}, "improvement_percent": 5.1}
    fused = {"hybrid": {"ndcgAt10": after}, "hybrid_baseline": {"ndcgAt10": before}}
    bounds = {"ndcgAt10": {"low": 0.014, "high": 0.041}, "hybridNdcgAt10": {"low": low, "high": high}}
    return candidate(**{**alone, **fused, "intervals": bounds, **more})


def test_better_alone_and_worse_in_the_search_that_serves_fails_with_the_numbers() -> None:
    problem = first_problem(in_hybrid_search(-0.02, -0.002))
    assert problem is not None
    assert problem.reason == "WorseInHybridSearch"
    assert problem.message.startswith(
        "worse in the search that serves: hybrid search 0.607 (base) → 0.596 (95% CI -0.020 to -0.002); add pairs"
    )
    beside_active = first_problem(in_hybrid_search(-0.02, -0.002, baseline={"ndcgAt10": 0.54}))
    assert beside_active is not None
    assert "hybrid search 0.607 (active) → 0.596" in beside_active.message


@pytest.mark.parametrize(("low", "high"), [(-0.02, 0.0), (-0.02, 0.001), (0.006, 0.03)])
def test_what_may_be_chance_in_the_search_that_serves_passes(low: float, high: float) -> None:
    assert first_problem(in_hybrid_search(low, high)) is None


def test_a_retriever_that_searches_by_vectors_alone_does_not_ask_for_the_hybrid_search() -> None:
    assert first_problem(replace(in_hybrid_search(-0.02, -0.002), serves_hybrid=False)) is None


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: gate.__name__)
def test_every_gate_closes_for_some_candidate(gate: Any) -> None:
    bad = [
        candidate(score=None),
        candidate(score=0.1),
        candidate(verdict="worse"),
        forgetful(0.05, 0.68, 0.6, -0.11, -0.05),
        in_hybrid_search(-0.02, -0.002),
    ]
    problems = [problem for c in bad if (problem := gate(c)) is not None]
    assert problems
    assert {problem.reason for problem in problems} <= REASONS
    assert gate(candidate()) is None


def test_compared_says_only_what_was_measured() -> None:
    assert compared(EvaluationSummary(metrics=EvaluationMetrics())) == "nDCG@10 was not measured"
    assert (
        compared(EvaluationSummary(metrics=EvaluationMetrics(ndcg_at10=0.7, queries=3))) == "nDCG@10 0.700 on 3 queries"
    )
    assert compared(in_hybrid_search(0.006, 0.03, after=0.625).evaluation) == (
        "nDCG@10 0.532 (base) → 0.559 (+5.1%, 95% CI +0.014 to +0.041) on 678 queries; "
        "hybrid search 0.607 (base) → 0.625 (95% CI +0.006 to +0.030)"
    )
