"""What a replica says of its queries: exact where it can be, merging without loss, bounded, cheap, and unmoved by clocks."""

from __future__ import annotations

import random
from time import perf_counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.contract import TrafficReport
from attune.contract.traffic import HOUR_SECONDS, HOURS, SMALLEST
from attune_serving.assign import unit_of
from attune_serving.traffic import Traffic

NOON = 1_773_576_000.0
"""2026-03-15T12:00:00Z, the start of an hour."""
HOUR = float(HOUR_SECONDS)


def units(number: int, seed: int = 0) -> list[int]:
    chosen = random.Random(seed)
    return [chosen.getrandbits(64) for _ in range(number)]


def smallest(some: list[int]) -> tuple[int, ...]:
    return tuple(sorted({unit >> 11 for unit in some})[:SMALLEST])


def test_requests_are_counted_as_often_as_they_come_and_queries_once() -> None:
    traffic = Traffic(NOON)
    for unit in [*units(5), *units(5), units(5)[0]]:
        traffic.saw(unit, NOON + 10)
    (hour,) = traffic.report(NOON + 60).hours
    assert (hour.start, hour.requests, hour.smallest) == (int(NOON), 11, smallest(units(5)))


def test_one_hour_keeps_the_smallest_hashes_of_all_its_queries_in_whatever_order_they_come() -> None:
    many = units(3000)
    forwards, backwards = Traffic(NOON), Traffic(NOON)
    for unit in many:
        forwards.saw(unit, NOON)
    for unit in sorted(many, reverse=True):
        backwards.saw(unit, NOON)
    assert forwards.report(NOON).hours[0].smallest == smallest(many)
    assert backwards.report(NOON).hours == forwards.report(NOON).hours


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 1)), max_size=600), st.integers(0, 9))
@settings(max_examples=40)
def test_the_sketch_of_two_replicas_is_the_smallest_of_both_sketches(seen: list[tuple[int, int]], more: int) -> None:
    replicas, together = (Traffic(NOON), Traffic(NOON)), Traffic(NOON)
    for unit, replica in [*seen, *((unit, n % 2) for n, unit in enumerate(units(200 * more)))]:
        replicas[replica].saw(unit, NOON)
        together.saw(unit, NOON)
    hashes = {h for one in replicas for hour in one.report(NOON).hours for h in hour.smallest}
    both = [hour.smallest for hour in together.report(NOON).hours]
    assert both == ([tuple(sorted(hashes)[:SMALLEST])] if hashes else [])


def test_hours_are_apart_and_the_oldest_one_leaves() -> None:
    traffic = Traffic(NOON)
    for hour, unit in enumerate(units(30)):
        traffic.saw(unit, NOON + hour * HOUR)
    told = traffic.report(NOON + 29 * HOUR + 1)
    assert [hour.start for hour in told.hours] == [int(NOON + hour * HOUR) for hour in range(6, 30)]
    assert [hour.smallest for hour in told.hours] == [smallest([unit]) for unit in units(30)[6:]]
    assert told.since == NOON + 6 * HOUR, "what came before is not in it any more"


def test_what_a_replica_has_seen_begins_with_its_start_and_quiet_hours_are_left_out() -> None:
    traffic = Traffic(NOON + 600)
    traffic.saw(units(1)[0], NOON + 3 * HOUR)
    told = traffic.report(NOON + 4 * HOUR)
    assert (told.since, told.seconds, told.requests) == (NOON + 600, 4 * HOUR - 600, 1)
    assert len(told.hours) == 1
    assert Traffic(NOON).report(NOON + 5).hours == ()


def test_after_a_day_of_silence_nothing_is_left_and_counting_goes_on() -> None:
    traffic = Traffic(NOON)
    traffic.saw(units(1)[0], NOON)
    late = NOON + HOURS * HOUR
    assert traffic.report(late).hours == ()
    traffic.saw(units(1)[0], late)
    assert traffic.report(late).requests == 1


def test_a_clock_that_is_set_back_or_was_ahead_loses_its_own_hours_only() -> None:
    traffic = Traffic(NOON)
    traffic.saw(units(1)[0], NOON)
    traffic.saw(units(1)[0], NOON + 1000 * HOUR)
    traffic.saw(units(1)[0], NOON + 10)
    told = traffic.report(NOON + 20)
    assert (told.requests, told.seconds) == (1, 20.0)
    assert Traffic(NOON).report(NOON - 5).seconds == 0


def test_the_report_survives_json_and_stays_small() -> None:
    traffic = Traffic(NOON)
    for number, unit in enumerate(units(24 * 300)):
        traffic.saw(unit, NOON + (number % HOURS) * HOUR)
    told = traffic.report(NOON + 23 * HOUR)
    text = told.to_json()
    assert TrafficReport.from_json(text) == told
    assert len(text) < 130_000
    assert all(value < 2**53 for hour in told.hours for value in hour.smallest), "exact in every reader of JSON"


def test_spellings_of_a_query_are_one_query() -> None:
    traffic = Traffic(NOON)
    for query in ("How do payment channels work", "  how do  PAYMENT channels work "):
        traffic.saw(unit_of("", query), NOON)
    (hour,) = traffic.report(NOON).hours
    assert (hour.requests, len(hour.smallest)) == (2, 1)


@pytest.mark.parametrize("distinct", [100, 20_000])
def test_a_query_costs_about_a_microsecond(distinct: int) -> None:
    stock = units(distinct)
    asked = random.Random(1).choices(stock, k=20_000)
    best = float("inf")
    for _ in range(3):
        traffic = Traffic(NOON)
        began = perf_counter()
        for unit in asked:
            traffic.saw(unit, NOON)
        best = min(best, perf_counter() - began)
    assert best / len(asked) < 10e-6, "an order of magnitude of room for a busy machine"
