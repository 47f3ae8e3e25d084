"""How many queries a test needs, against textbooks and against simulated tests."""

import math

import numpy as np
import pytest

from attune.decide.experiment.statistics import planning
from attune.decide.experiment.statistics.group_sequential import SpendingLook, boundaries
from attune.decide.experiment.statistics.planning import Design
from attune.decide.experiment.statistics.sequential import mixture


def test_a_small_effect_in_equal_arms_needs_the_number_of_the_textbooks() -> None:
    """Cohen (1988), table 2.4.1: d = 0.2, alpha 0.05 two-sided, power 0.8: 393 a group."""
    plan = planning.fixed_horizon(Design(effect=0.2, split=0.5))
    assert plan == planning.Plan(393, 393)


def test_an_uneven_split_costs_queries() -> None:
    even, uneven = (planning.fixed_horizon(Design(0.1, split)) for split in (0.5, 0.2))
    assert uneven.queries_a == pytest.approx(4 * uneven.queries_b, abs=4)
    assert uneven.total / even.total == pytest.approx(0.25 / 0.16, rel=0.002)


def test_effects_are_in_standard_deviations() -> None:
    assert planning.standardized(0.02, mean=-30, sd=12) == pytest.approx(0.05)
    assert planning.standardized_latency(0.1, log_sd=0.5) == pytest.approx(math.log(1.1) / 0.5)
    assert planning.sd_of_share(0.3) == pytest.approx(math.sqrt(0.21))


def test_planned_looks_cost_a_few_percent_and_a_single_one_nothing() -> None:
    assert planning.inflation(0.05, 0.8, 1) == pytest.approx(1.0, abs=1e-5)
    assert planning.inflation(0.05, 0.8, 3) == pytest.approx(1.013, abs=0.001)
    design = Design(0.1, 0.2)
    assert planning.by_groups(design).total / planning.fixed_horizon(design).total == pytest.approx(1.046, abs=0.002)


def test_simulated_group_sequential_tests_of_that_size_find_the_effect_as_often_as_planned() -> None:
    looks = [SpendingLook((k + 1) / 20, k + 1) for k in range(20)]
    total = planning.by_groups(Design(0.1, 0.5)).total
    drift = 0.1 * math.sqrt(total) / 2
    rng = np.random.default_rng(20260315)
    z = np.cumsum(drift / math.sqrt(20) + rng.normal(size=(20_000, 20)), axis=1) / np.sqrt(np.arange(1, 21))
    assert np.any(np.abs(z) >= boundaries(looks, 0.05), axis=1).mean() == pytest.approx(0.8, abs=0.01)


def test_simulated_sequential_tests_of_that_size_have_at_least_the_planned_power() -> None:
    design, looks = Design(0.1, 0.5), 168
    total = planning.by_confidence_sequence(design).total
    n = np.linspace(total / looks, total, looks)
    rng = np.random.default_rng(20260315)
    steps = rng.normal(size=(4000, looks)) * math.sqrt(total / looks) + design.effect / 2 * total / looks
    z, time = np.cumsum(steps, axis=1) / np.sqrt(n), n * mixture(0.05)
    called = 0.5 * np.log(time + 1) - 0.5 * z**2 * time / (time + 1) <= math.log(0.05)
    assert 0.79 <= called.any(axis=1).mean() <= 0.88
    assert called[:, -1].mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"effect": 0.0, "split": 0.2}, "effect 0 must be above 0"),
        ({"effect": 0.1, "split": 1.0}, "split 1 must lie between 0 and 1"),
        ({"effect": 0.1, "split": 0.2, "power": 0.01}, "power 0.01 must be above alpha 0.05"),
    ],
)
def test_a_design_that_cannot_be_is_refused(arguments: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Design(**arguments)


def test_an_effect_that_no_traffic_would_show_is_refused() -> None:
    with pytest.raises(ValueError, match="needs more than"):
        planning.by_confidence_sequence(Design(1e-7, 0.2))
