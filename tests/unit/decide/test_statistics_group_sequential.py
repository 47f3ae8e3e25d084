"""Boundaries against published ones, probabilities against the multivariate normal, and the inverse."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from attune.decide.experiment.statistics.distributions import normal_tail
from attune.decide.experiment.statistics.group_sequential import (
    SpendingLook,
    boundaries,
    drift_for,
    power,
    repeated_p_value,
    spent,
)


def equally(count: int, of: int | None = None) -> list[SpendingLook]:
    return [SpendingLook((k + 1) / (of or count), 100 * (k + 1)) for k in range(count)]


UNEVEN = [SpendingLook(0.3, 500), SpendingLook(0.35, 900), SpendingLook(0.8, 920), SpendingLook(1.0, 3000)]


@pytest.mark.parametrize(
    ("looks", "published"),
    [
        (5, [4.8769, 3.3570, 2.6803, 2.2898, 2.0310]),  # Reboussin, DeMets, Kim & Lan (2000); gsDesign sfLDOF
        (3, [3.710, 2.511, 1.993]),  # rpact, typeOfDesign = "asOF"
        (2, [2.963, 1.969]),
        (1, [1.960]),
    ],
)
def test_boundaries_are_the_published_ones(looks: int, published: list[float]) -> None:
    assert boundaries(equally(looks), 0.05) == pytest.approx(published, abs=6e-4)


def test_all_of_alpha_is_spent_at_the_end_and_next_to_nothing_early() -> None:
    assert 2 * spent(1.0, 0.05) == pytest.approx(0.05)
    assert spent(0.05, 0.05) < 1e-20
    assert spent(0.0, 0.05) == 0


@pytest.mark.parametrize("looks", [equally(4), UNEVEN], ids=["equally spaced", "as they came"])
@pytest.mark.parametrize("drift", [0.0, 2.8])
def test_the_probability_of_being_called_is_that_of_the_multivariate_normal(
    looks: list[SpendingLook], drift: float
) -> None:
    bounds = np.array(boundaries(looks, 0.05))
    information = np.array([look.information for look in looks])
    root = np.sqrt(information / information[-1])
    correlation = np.minimum.outer(root, root) / np.maximum.outer(root, root)
    inside = stats.multivariate_normal(drift * root, correlation, abseps=1e-7).cdf(
        bounds, lower_limit=-bounds, rng=np.random.default_rng(1)
    )
    assert power(looks, 0.05, drift) == pytest.approx(1 - inside, abs=2e-5)
    if drift == 0:
        assert 1 - inside == pytest.approx(0.05, abs=2e-5)


def test_simulated_tests_of_twenty_looks_keep_alpha() -> None:
    increments = np.random.default_rng(20260315).normal(size=(40_000, 20))
    z = np.cumsum(increments, axis=1) / np.sqrt(np.arange(1, 21))
    called = np.any(np.abs(z) >= boundaries(equally(20), 0.05), axis=1).mean()
    assert called == pytest.approx(0.05, abs=0.004)


def test_a_look_without_new_queries_does_not_cost_alpha() -> None:
    """The same z is tested twice; taking it for a slightly different one must not cost alpha."""
    stale = [*equally(3, of=4), SpendingLook(1.0, 300)]
    z = np.random.default_rng(1).normal(size=(200_000, 3)).cumsum(axis=1) / np.sqrt([1, 2, 3])
    bounds = np.array(boundaries(stale, 0.05))
    assert np.any(np.abs(np.column_stack([z, z[:, 2]])) >= bounds, axis=1).mean() <= 0.0515


@given(st.floats(0, 8), st.integers(1, 20))
@settings(max_examples=25)
def test_p_is_the_level_whose_boundary_the_difference_just_reaches(z: float, taken: int) -> None:
    looks = equally(taken, of=20)
    p = repeated_p_value(z, looks)
    assert 2 * normal_tail(z) <= p * (1 + 1e-6) or p < 1e-11
    if 1e-11 < p < 1:
        assert boundaries(looks, p)[-1] == pytest.approx(z, abs=1e-4)
    assert repeated_p_value(-z, looks) == p


def test_one_look_at_the_end_is_the_test_that_looks_once() -> None:
    assert repeated_p_value(2.5, equally(1)) == pytest.approx(2 * stats.norm.sf(2.5), rel=1e-4)


def test_power_and_drift_are_inverse_to_each_other() -> None:
    assert power(equally(20), 0.05, drift_for(equally(20), 0.05, 0.8)) == pytest.approx(0.8, abs=1e-6)


def test_the_last_of_twenty_looks_takes_less_than_a_tenth_of_a_second() -> None:
    repeated_p_value(2.0, equally(20))
    started = time.thread_time()
    repeated_p_value(2.1, equally(20))
    boundaries(equally(20), 0.05)
    assert time.thread_time() - started < 0.1
