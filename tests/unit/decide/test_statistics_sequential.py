"""The confidence sequence: the closed form, its inverse, and that looking often does no harm."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.decide.experiment.statistics.effect import ArmMean, Effect
from attune.decide.experiment.statistics.sequential import half_width, mixture, p_value


def an_effect(difference: float, count: int, sd: float = 1.0) -> Effect:
    arm = ArmMean(0.0, sd * math.sqrt(2 / count), count // 2)
    return Effect(arm, ArmMean(difference, arm.standard_error, count // 2), count - 2)


def test_the_closed_form_is_that_of_the_paper() -> None:
    r2 = (-2 * math.log(0.05) + math.log(-2 * math.log(0.05) + 1)) / 5000
    assert mixture(0.05) == pytest.approx(r2)
    n, sigma = 2000, 2 * 1.5
    radius = sigma * math.sqrt(2 * (n * r2 + 1) / (n**2 * r2) * math.log(math.sqrt(n * r2 + 1) / 0.05))
    assert half_width(an_effect(0.1, n, 1.5), 0.05, mixture(0.05)) == pytest.approx(radius)


def test_it_is_about_narrowest_where_it_is_tuned_for() -> None:
    widths = {at: half_width(an_effect(0, 5000), 0.05, mixture(0.05, at)) for at in range(500, 50_001, 500)}
    assert widths[5000] == pytest.approx(min(widths.values()), rel=0.002)
    assert widths[5000] / an_effect(0, 5000).standard_error == pytest.approx(3.0, abs=0.05)


@given(
    st.floats(-1, 1).filter(lambda d: abs(d) > 1e-6),
    st.integers(10, 10**7),
    st.sampled_from([0.01, 0.05, 0.2]),
    st.floats(1e-6, 0.5),
)
def test_p_is_at_most_alpha_exactly_when_the_interval_excludes_zero(
    d: float, n: int, tuned: float, alpha: float
) -> None:
    effect, r2 = an_effect(d, n), mixture(tuned)
    p, half = p_value(effect, r2), half_width(effect, alpha, r2)
    assert 0 <= p <= 1
    if abs(half / abs(d) - 1) > 1e-9:
        assert (p <= alpha) == (half <= abs(d))
    if 1e-300 < p < 1:
        assert half_width(effect, p, r2) == pytest.approx(abs(d), rel=1e-6)


def test_no_difference_is_p_1_and_a_huge_one_p_0() -> None:
    assert p_value(an_effect(0, 1000), mixture(0.05)) == 1
    assert p_value(an_effect(1e6, 1000), mixture(0.05)) == 0


def significant_at_any_of(looks: int, shift: float, tests: int) -> float:
    """Share of simulated tests, split 80:20, skewed values, that a look of many calls."""
    rng = np.random.default_rng(20260315)
    called, step = 0, 60
    for _ in range(tests):
        is_b = rng.random(looks * step) < 0.2
        values = rng.exponential(size=looks * step) + shift * is_b
        at = np.arange(1, looks + 1) * step - 1
        (na, sa, qa), (nb, sb, qb) = (
            [np.cumsum(np.where(arm, v, 0.0))[at] for v in (np.ones_like(values), values, values**2)]
            for arm in (~is_b, is_b)
        )
        for look in range(2, looks):
            arms = [
                ArmMean(s / n, math.sqrt((q - s * s / n) / (n - 1) / n), int(n))
                for n, s, q in ((na[look], sa[look], qa[look]), (nb[look], sb[look], qb[look]))
            ]
            if arms[1].count >= 30 and p_value(Effect(arms[0], arms[1], 1.0), mixture(0.05)) <= 0.05:
                called += 1
                break
    return called / tests


def test_a_hundred_looks_call_no_more_than_alpha_of_tests_without_a_difference() -> None:
    assert significant_at_any_of(looks=100, shift=0.0, tests=300) <= 0.05


def test_a_difference_of_a_fifth_of_a_standard_deviation_is_found() -> None:
    assert significant_at_any_of(looks=100, shift=0.2, tests=60) >= 0.9
