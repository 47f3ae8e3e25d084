"""Corrections for several metrics, against published examples and their own definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.decide.experiment.statistics.multiplicity import bonferroni, corrected, holm, interval_alpha

P = st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 1), min_size=1)


def test_holm_is_that_of_rs_p_adjust() -> None:
    """`p.adjust(c(0.01, 0.02, 0.03, 0.005), "holm")` in R."""
    p = {"a": 0.01, "b": 0.02, "c": 0.03, "d": 0.005}
    assert holm(p, 4) == pytest.approx({"a": 0.03, "b": 0.04, "c": 0.04, "d": 0.02})
    assert bonferroni(p, 4) == pytest.approx({"a": 0.04, "b": 0.08, "c": 0.12, "d": 0.02})


def test_a_metric_without_values_still_costs_its_share() -> None:
    assert holm({"a": 0.03}, 2) == {"a": 0.06}
    assert bonferroni({"a": 0.03}, 2) == {"a": 0.06}
    assert corrected({"a": 0.03}, 1, "holm") == corrected({"a": 0.03}, 1, "bonferroni") == {"a": 0.03}


@given(P, st.integers(0, 3))
def test_holm_is_never_stricter_than_bonferroni_and_keeps_the_order(p: dict[str, float], missing: int) -> None:
    family = len(p) + missing
    by_holm, by_bonferroni = holm(p, family), bonferroni(p, family)
    assert all(p[name] <= by_holm[name] <= by_bonferroni[name] + 1e-12 <= 1 + 1e-12 for name in p)
    in_order = sorted(p, key=lambda name: p[name])
    assert [by_holm[name] for name in in_order] == sorted(by_holm.values())


def test_intervals_hold_together() -> None:
    assert interval_alpha(0.05, 4) == 0.0125
