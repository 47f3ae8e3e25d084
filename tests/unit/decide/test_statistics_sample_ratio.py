"""The check of the counts, against scipy's chi-square test."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attune.decide.experiment.statistics.sample_ratio import sample_ratio
from attune.observation import ArmSamples, Stratum


def counts(a: int, b: int, fraction: float) -> Stratum:
    return Stratum(fraction, ArmSamples(a), ArmSamples(b))


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.floats(0.01, 0.99))
def test_one_split_is_pearsons_test(a: int, b: int, fraction: float) -> None:
    found = sample_ratio([counts(a, b, fraction)])
    expected = stats.chisquare([a, b], [(1 - fraction) * (a + b), fraction * (a + b)])
    assert found is not None
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-300)
    assert (found.found, found.total) == (b, a + b)


def test_each_split_is_held_to_its_own_share() -> None:
    found = sample_ratio([counts(900, 100, 0.1), counts(480, 520, 0.5)])
    assert found is not None
    assert found.p_value == pytest.approx(stats.chi2.sf(20**2 / 250, 2))
    assert found.expected == 600
    assert not found.is_mismatch


def test_two_errors_that_cancel_in_the_sum_are_still_seen() -> None:
    found = sample_ratio([counts(800, 200, 0.1), counts(600, 400, 0.5)])
    assert found is not None
    assert found.found == found.expected
    assert found.is_mismatch


def test_splits_without_queries_and_without_chance_do_not_count() -> None:
    one = sample_ratio([counts(90, 10, 0.1)])
    assert sample_ratio([counts(90, 10, 0.1), counts(0, 0, 0.5), counts(70, 0, 0.0)]) == one
    assert sample_ratio([]) is None
    assert sample_ratio([counts(0, 0, 0.5)]) is None
