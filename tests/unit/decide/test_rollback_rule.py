"""The rule that takes a version back: tables of counts, and what holds for all of them."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attune.decide.rollback.rule import (
    TAIL,
    Baseline,
    Limits,
    binomial_tail,
    chance,
    excess,
    grown,
    lost_by_chance,
    poisson_tail,
    quantile,
    slowness,
)
from attune.observation import Count

LIMITS = Limits()
ONE_PERCENT = Baseline(0.01, 18_000)


@pytest.mark.parametrize(
    ("requests", "failures", "baseline", "fires"),
    [
        (99, 99, ONE_PERCENT, False),  # fewer than minRequests
        (100, 100, ONE_PERCENT, True),
        (100, 3, ONE_PERCENT, False),  # three times as many, and chance alone does that in 8% of windows
        (100, 8, ONE_PERCENT, False),
        (100, 11, ONE_PERCENT, True),
        (1_000, 30, ONE_PERCENT, False),
        (1_000, 45, ONE_PERCENT, True),
        (18_000, 539, ONE_PERCENT, False),  # less than three times
        (18_000, 541, ONE_PERCENT, True),
        (10_000, 0, ONE_PERCENT, False),
        (10_000, 99, Baseline(0.0, 10_000), False),  # below minErrorRate
        (10_000, 101, Baseline(0.0, 10_000), True),
        (18_000, 200, Baseline(0.0, 100), False),  # a hundred requests without a failure prove no rate of zero
        (300, 150, Baseline(0.0, 100), True),
        (1_000, 29, Baseline(0.01), False),  # not known: minErrorRate stands for it
        (1_000, 46, Baseline(0.01), True),
        (1_000, 700, Baseline(0.4, 10_000), False),  # three times 40% cannot be; successes shrank to a third
        (1_000, 810, Baseline(0.4, 10_000), True),
    ],
)
def test_what_fires_and_what_does_not(requests: int, failures: int, baseline: Baseline, fires: bool) -> None:
    found = excess([Count(60, requests, failures)], baseline, LIMITS)
    assert (found is not None) is fires
    if found is not None:
        assert found.p_value < TAIL
        assert found.count.rate >= found.threshold


def test_the_first_window_that_is_too_bad_is_named() -> None:
    calm, outage, long = Count(15, 300, 3), Count(60, 1_200, 300), Count(600, 12_000, 420)
    found = excess([calm, outage, long], ONE_PERCENT, LIMITS)
    assert found is not None
    assert found.count is outage
    assert found.threshold == pytest.approx(0.03)


@given(
    requests=st.integers(1, 50_000),
    share=st.floats(0, 1),
    rate=st.floats(0, 0.6),
    counted=st.integers(100, 50_000) | st.none(),
)
def test_more_failures_never_speak_less_against_a_version(
    requests: int, share: float, rate: float, counted: int | None
) -> None:
    failures = int(share * requests)
    baseline = Baseline(rate, counted)
    assert chance(Count(60, requests, failures), baseline, LIMITS) >= chance(
        Count(60, requests, min(requests, failures + 1)), baseline, LIMITS
    ) * (1 - 1e-9)


@given(
    requests=st.integers(100, 50_000), share=st.floats(0, 1), rate=st.floats(0, 0.3), counted=st.integers(100, 50_000)
)
def test_a_rate_that_did_not_grow_is_never_a_reason(requests: int, share: float, rate: float, counted: int) -> None:
    failures = int(share * rate * requests)
    assert excess([Count(60, requests, failures)], Baseline(rate, counted), LIMITS) is None


@given(rate=st.floats(0, 1), factor=st.floats(1.1, 100))
def test_a_grown_rate_is_a_rate(rate: float, factor: float) -> None:
    assert rate * (1 - 1e-12) <= grown(rate, factor) <= 1


@pytest.mark.parametrize(("at_least", "mean"), [(1, 0.5), (11, 1.5), (40, 18.0), (0, 3.0)])
def test_tails_are_those_of_scipy_stats(at_least: int, mean: float) -> None:
    assert poisson_tail(at_least, mean) == pytest.approx(stats.poisson.sf(at_least - 1, mean))
    assert binomial_tail(at_least, 50, 0.3) == pytest.approx(stats.binom.sf(at_least - 1, 50, 0.3))


def durations(**at_most: int) -> dict[float, int]:
    bounds = {"ms50": 0.05, "ms100": 0.1, "ms250": 0.25, "ms500": 0.5}
    found = {bounds[name]: count for name, count in at_most.items() if name in bounds}
    return {**found, inf: at_most["all"]}


def test_slow_answers_are_compared_with_the_next_bound_that_the_histogram_has() -> None:
    good = Count(60, 1_000, 0, durations(ms50=980, ms100=995, ms250=999, ms500=1_000, all=1_000))
    bad = Count(60, 1_000, 0, durations(ms50=300, ms100=500, ms250=900, ms500=990, all=1_000))
    assert slowness([good], 0.06, 3, 100) is None
    assert slowness([good, bad], 0.06, 3, 100) == (bad, 100, 0.25)
    assert slowness([bad], 0.06, 3, 2_000) is None
    few = Count(60, 1_000, 0, durations(ms50=900, ms100=950, ms250=985, ms500=1_000, all=1_000))
    assert slowness([few], 0.06, 3, 100) is None, "1.5% beyond may be chance"
    assert slowness([bad], 0.4, 3, 100) is None, "beyond the last bound nothing is known"


def test_quantiles_are_interpolated_as_prometheus_does() -> None:
    count = Count(60, 1_000, 0, durations(ms50=500, ms100=900, ms250=1_000, all=1_000))
    assert quantile(count, 0.5) == pytest.approx(0.05)
    assert quantile(count, 0.7) == pytest.approx(0.075)
    assert quantile(count, 0.99) == pytest.approx(0.1 + 0.15 * 0.9)
    assert quantile(Count(60, 0, 0), 0.99) is None
    assert quantile(Count(60, 10, 0, durations(ms50=5, all=10)), 0.99) is None


@pytest.mark.parametrize(("lost", "won", "p"), [(10, 0, 2**-10), (3, 3, 42 / 64), (0, 0, 1.0)])
def test_the_sign_test_is_exact(lost: int, won: int, p: float) -> None:
    assert lost_by_chance(lost, won) == pytest.approx(p)
