"""The stratified difference of means, against scipy and against what pooling would have said."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attune.decide.experiment.statistics.effect import effect_of, smoothed_variance, variance
from attune.observation import Sums
from measured import measured, shares, spread, stratum, sums_of

VALUES = st.lists(st.floats(-1000, 1000, allow_nan=False), min_size=3, max_size=40)


@given(VALUES, VALUES)
def test_with_one_stratum_it_is_welchs_test(a: list[float], b: list[float]) -> None:
    effect = effect_of(measured(stratum(sums_of(a), sums_of(b))), "click")
    assert effect is not None
    assert effect.difference == pytest.approx(np.mean(b) - np.mean(a), abs=1e-9)
    if min(np.std(a), np.std(b)) < 1e-3 * (1 + max(map(abs, a + b))):
        return
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert effect.z == pytest.approx(expected.statistic, rel=1e-6, abs=1e-9)
    assert effect.degrees_of_freedom == pytest.approx(expected.df, rel=1e-6)
    assert effect.a.standard_error == pytest.approx(stats.sem(a), rel=1e-6)


def test_a_raised_split_does_not_turn_the_sign_as_pooling_would() -> None:
    """The evening clicks less than the morning, and B was given more of the evening."""
    morning = stratum(spread(900, 0.60, 0.3), spread(100, 0.62, 0.3), fraction=0.1)
    evening = stratum(spread(500, 0.20, 0.3), spread(500, 0.22, 0.3), fraction=0.5)
    samples = measured(morning, evening)
    effect = effect_of(samples, "click")
    a, b = (sum((getattr(s, arm).metrics["click"] for s in samples.strata), Sums(0, 0, 0)) for arm in ("a", "b"))
    assert b.total / b.count < a.total / a.count
    assert effect is not None
    assert effect.difference == pytest.approx(0.02)
    assert effect.a.mean == pytest.approx(0.40)
    assert effect.count == 2000
    expected = 0.25 * 0.3**2 * (1 / 900 + 1 / 100 + 1 / 500 + 1 / 500)
    assert effect.standard_error == pytest.approx(math.sqrt(expected))


@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=4))
def test_the_difference_shown_is_that_of_the_means_shown(pairs: list[tuple[list[float], list[float]]]) -> None:
    effect = effect_of(measured(*(stratum(sums_of(a), sums_of(b)) for a, b in pairs)), "click")
    assert effect is not None
    weights = np.array([len(a) + len(b) for a, b in pairs])
    by_stratum = [np.mean(b) - np.mean(a) for a, b in pairs]
    assert effect.difference == pytest.approx(np.average(by_stratum, weights=weights), abs=1e-8)
    assert effect.count == weights.sum()


def test_a_stratum_with_one_value_of_an_arm_is_left_out() -> None:
    whole = stratum(spread(50, 0.5, 0.1), spread(50, 0.6, 0.1))
    effect = effect_of(measured(whole, stratum(spread(50, 9.0, 0.1), sums_of([5.0]))), "click")
    assert effect == effect_of(measured(whole), "click")
    assert effect_of(measured(stratum(spread(50, 9.0, 0.1), sums_of([5.0]))), "click") is None
    assert effect_of(measured(whole), "another") is None


def test_no_error_in_a_hundred_is_not_certainty() -> None:
    effect = effect_of(measured(stratum(shares(100, 0), shares(100, 0), "error")), "error")
    assert effect is not None
    assert effect.difference == 0
    assert effect.a.standard_error == pytest.approx(math.sqrt(1 / 102 * 101 / 102 / 100))


@given(st.integers(2, 10_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_smoothing_is_agrestis_and_fades(counts: tuple[int, int]) -> None:
    n, ones = counts
    p = (ones + 1) / (n + 2)
    assert smoothed_variance(shares(n, ones)) == pytest.approx(p * (1 - p))
    assert smoothed_variance(shares(n, ones)) == pytest.approx(variance(shares(n, ones)), abs=3 / n)


def test_every_metric_of_zeros_and_ones_is_smoothed() -> None:
    clicks = effect_of(measured(stratum(shares(100, 0), shares(100, 100))), "click")
    assert clicks is not None
    assert clicks.standard_error > 0
    constant = effect_of(measured(stratum(sums_of([0.1] * 100), sums_of([0.1] * 100))), "click")
    assert constant is not None
    assert constant.standard_error == 0


def test_spread_that_the_sums_cannot_show_is_none_rather_than_rounding() -> None:
    values = np.random.default_rng(1).normal(size=1000)
    assert variance(sums_of(1.7e9 + values)) == 0
    assert variance(sums_of(1e4 + values)) == pytest.approx(np.var(values, ddof=1), rel=1e-4)


def test_sums_that_overflowed_are_no_values() -> None:
    endless = stratum(Sums(50, math.inf, math.inf), spread(50, 0.6, 0.1))
    assert effect_of(measured(endless), "click") is None
