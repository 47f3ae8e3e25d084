"""One look: which numbers count by which method, and what is carried from look to look."""

from __future__ import annotations

from typing import Any

import pytest
from scipy import stats

from attune.api import ABTest
from attune.decide.experiment.look import Reading, look_at
from attune.decide.experiment.statistics.methods import planned_count
from measured import GUARDRAIL, START, SUCCESS, a_test, after, both, measured, milliseconds, shares, spread

HIGHER = (spread(4000, 0.30, 0.4), spread(1000, 0.36, 0.4))
SAME = (spread(4000, 0.30, 0.4), spread(1000, 0.30, 0.4))
LOWER = (spread(4000, 0.30, 0.4), spread(1000, 0.29, 0.4))


def looks(test: ABTest, *readings: tuple[float, Any]) -> list[Reading]:
    """Look after look, each (hours, click), each with the status that the one before left."""
    found: list[Reading] = []
    for hours, click in readings:
        units = (round(100 * hours), round(25 * hours))
        found.append(look_at(measured(both(units=units, click=click), hours=hours), test))
        test = after(found[-1], test)
    return found


def test_a_reading_has_everything_that_status_shows() -> None:
    stratum = both(click=HIGHER, latency=(milliseconds(4000, 20), milliseconds(1000, 21)))
    reading = look_at(measured(stratum, p99_a=0.05, p99_b=0.055), a_test(GUARDRAIL))
    assert (reading.samples_a, reading.samples_b, reading.at) == (4000, 1000, reading.look.at)
    assert reading.metrics_b["click"].mean - reading.metrics_a["click"].mean == pytest.approx(0.06)
    assert reading.metrics_b["latency"].p99_milliseconds == pytest.approx(55)
    assert reading.metrics_b["click"].p99_milliseconds is None
    assert set(reading.p_values) == set(reading.lowest_p_values) == {"click"}
    assert set(reading.intervals) == {"click", "latency"}
    assert reading.confidence == 1 - reading.p_values["click"]
    assert reading.sample_ratio_p_value == 1
    assert reading.look.low == reading.intervals["click"].low < 0.06 < reading.intervals["click"].high


@pytest.mark.parametrize("method", ["sequential", "groupSequential", "fixedHorizon"])
def test_before_min_samples_numbers_are_shown_and_nothing_is_said(method: str) -> None:
    test = a_test(GUARDRAIL, analysis={"method": method}, minSamples=1001)
    reading = look_at(
        measured(both(click=HIGHER, latency=(milliseconds(4000, 20), milliseconds(1000, 90))), hours=168), test
    )
    assert reading.metrics_a["click"].mean == pytest.approx(0.3)
    assert set(reading.intervals) == {"click", "latency"}
    assert not reading.decides
    assert not reading.p_values
    assert not reading.proven
    assert not reading.harm
    assert not reading.planned_looks
    assert reading.confidence is None


def test_without_any_sample_there_is_a_reading_all_the_same() -> None:
    reading = look_at(measured(), a_test(minSamples=1))
    assert (reading.metrics_a, reading.p_values, reading.intervals, reading.sample_ratio_p_value) == ({}, {}, {}, None)


def test_a_metric_of_one_arm_only_is_shown_and_not_compared() -> None:
    reading = look_at(measured(both(click=(spread(50, 0.4, 0.1), spread(0, 0, 0)))), a_test())
    assert reading.metrics_a["click"].mean == pytest.approx(0.4)
    assert "click" not in reading.metrics_b
    assert not reading.p_values


def test_the_smallest_p_value_stays() -> None:
    first, second = looks(a_test(), (10, HIGHER), (20, (HIGHER[0], spread(1000, 0.31, 0.4))))
    assert first.p_values["click"] < 0.002
    assert second.p_values == first.p_values


def test_a_difference_that_changed_its_sign_begins_anew() -> None:
    _, turned, back = looks(a_test(), (10, HIGHER), (20, LOWER), (30, HIGHER))
    assert turned.p_values["click"] == 1
    assert back.p_values["click"] < 0.002


def test_p_values_are_corrected_and_intervals_simultaneous_for_the_family_only() -> None:
    metrics = {"click": HIGHER, "accepted": SAME, "latency": (milliseconds(4000, 20), milliseconds(1000, 20))}
    alone = look_at(measured(both(**metrics)), a_test(GUARDRAIL))
    family = look_at(measured(both(**metrics)), a_test(SUCCESS, GUARDRAIL))
    assert family.p_values["click"] == pytest.approx(2 * alone.p_values["click"])
    assert family.lowest_p_values["click"] == alone.lowest_p_values["click"]
    assert family.intervals["click"].low < alone.intervals["click"].low
    assert family.intervals["latency"] == alone.intervals["latency"]


def test_planned_looks_are_twenty_or_as_many_as_the_interval_allows() -> None:
    group = {"method": "groupSequential"}
    assert planned_count(a_test(analysis=group)) == 20
    assert planned_count(a_test(analysis={**group, "interval": "24h"})) == 7
    assert planned_count(a_test(analysis={**group, "interval": "10m"}, maxDuration="5m")) == 1


def test_group_sequential_changes_p_at_planned_looks_only() -> None:
    test = a_test(analysis={"method": "groupSequential"})
    before, at, between, late, end = looks(test, (8, HIGHER), (84, HIGHER), (90, SAME), (110, HIGHER), (168, HIGHER))
    assert (before.decides, before.p_values, before.planned_looks) == (False, {}, ())
    assert (at.decides, len(at.planned_looks)) == (True, 1)
    assert 0 < at.p_values["click"] < 0.05
    assert not between.decides
    assert (between.planned_looks, between.intervals) == (at.planned_looks, at.intervals)
    assert between.look.low != at.look.low
    assert [look.samples for look in late.planned_looks] == [10500, 13750]
    assert late.p_values["click"] < at.p_values["click"]
    assert len(end.planned_looks) == 3


def test_twenty_looks_are_taken_of_a_test_that_is_looked_at_every_hour() -> None:
    test = a_test(analysis={"method": "groupSequential"})
    readings = looks(test, *((hours, SAME) for hours in range(1, 169)))
    assert sum(r.decides for r in readings) == len(readings[-1].planned_looks) == 20
    assert readings[-1].decides


def test_a_planned_look_waits_for_new_queries_but_not_at_the_end() -> None:
    test = a_test(analysis={"method": "groupSequential"})
    for hours, decides in ((10, True), (20, False), (168, True)):
        reading = look_at(measured(both(click=SAME), hours=hours), test)
        assert reading.decides == decides, hours
        test = after(reading, test)


def test_the_interval_of_a_planned_look_excludes_zero_as_p_says() -> None:
    test = a_test(analysis={"method": "groupSequential"})
    for mean in (0.31, 0.32, 0.33, 0.335, 0.34, 0.35, 0.36):
        reading = look_at(measured(both(click=(SAME[0], spread(1000, mean, 0.4))), hours=100), test)
        assert (reading.p_values["click"] <= 0.05) == (reading.intervals["click"].low > 0)


def test_fixed_horizon_looks_once_at_the_end() -> None:
    test = a_test(analysis={"method": "fixedHorizon"})
    middle, end = looks(test, (167, HIGHER), (168, HIGHER))
    assert (middle.decides, middle.final, middle.p_values) == (False, False, {})
    assert (end.decides, end.final) == (True, True)
    expected = stats.ttest_ind_from_stats(0.36, 0.4, 1000, 0.30, 0.4, 4000, equal_var=False)
    assert end.p_values["click"] == pytest.approx(expected.pvalue)


def test_fixed_horizon_looks_as_soon_as_both_arms_have_the_samples() -> None:
    test = a_test(analysis={"method": "fixedHorizon", "samples": 1000})
    early, then = looks(test, (39, HIGHER), (40, HIGHER))
    assert not early.decides
    assert then.final


def test_harm_is_watched_whatever_the_method() -> None:
    slow = both(click=SAME, latency=(milliseconds(4000, 20), milliseconds(1000, 60)))
    readings = [
        look_at(measured(slow, hours=2), a_test(GUARDRAIL, analysis={"method": method}))
        for method in ("sequential", "groupSequential", "fixedHorizon")
    ]
    assert readings[0].harm == readings[1].harm == readings[2].harm
    assert readings[0].harm["latency"] == readings[0].proven["latency"]


def test_values_that_are_all_the_same_are_shown_and_not_tested() -> None:
    reading = look_at(measured(both(click=(spread(4000, 0.5, 0), spread(1000, 0.5, 0)))), a_test())
    assert reading.metrics_a["click"].standard_error == 0
    assert (reading.p_values, reading.intervals) == ({}, {})
    clicks = look_at(measured(both(click=(shares(4000, 0), shares(1000, 0)))), a_test())
    assert clicks.p_values == {"click": 1}


def test_a_test_that_has_not_started_has_no_planned_look() -> None:
    test = a_test(analysis={"method": "groupSequential"}, status={"startedAt": None})
    assert not look_at(measured(both(click=HIGHER), hours=168), test).decides
    assert a_test().status.started_at == START
