"""Welch's test from sums, against scipy."""

import numpy as np
import pytest
from scipy import stats

from attune.decide.experiment.statistics import fixed_horizon
from attune.decide.experiment.statistics.effect import Effect, effect_of
from measured import measured, stratum, sums_of

RNG = np.random.default_rng(7)
A, B = RNG.gamma(2.0, size=40), RNG.gamma(2.0, 1.3, size=15)


def effect() -> Effect:
    found = effect_of(measured(stratum(sums_of(A), sums_of(B))), "click")
    assert found is not None
    return found


def test_p_and_interval_are_welchs() -> None:
    expected = stats.ttest_ind(B, A, equal_var=False)
    low, high = expected.confidence_interval(0.9)
    assert fixed_horizon.p_value(effect()) == pytest.approx(expected.pvalue)
    assert 2 * fixed_horizon.half_width(effect(), 0.1) == pytest.approx(high - low)


def test_the_score_has_the_p_value_of_the_t_test_and_the_sign_of_the_difference() -> None:
    score = fixed_horizon.score(effect())
    assert 2 * stats.norm.sf(abs(score)) == pytest.approx(fixed_horizon.p_value(effect()))
    assert score * effect().difference > 0
    assert abs(score) < abs(effect().z)
