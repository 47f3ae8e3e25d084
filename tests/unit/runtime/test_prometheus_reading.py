"""What is asked of Prometheus, and how its answers become samples: the pure part. The real one: test_prometheus_reader.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.contract import counting as names
from attune.observation import SamplesQuery
from attune.telemetry import promql
from attune.telemetry.prometheus import shown
from attune.telemetry.promql import Point, UnreadableError

AT = datetime(2026, 3, 15, 12, tzinfo=UTC)
QUERY = SamplesQuery(
    url="http://prometheus", run='u"1', since=AT - timedelta(hours=2), at=AT, processes=frozenset({"p1", "p2"})
)


@pytest.mark.parametrize(
    ("values", "total"),
    [
        ([], 0),
        ([5], 5),
        ([1, 2, 2, 9], 9),
        ([100, 30, 70, 20], 190),
        ([100, 100, 1], 101),
        ([10, 0, 0, 4], 14),
        ([10, 12], 12),  # a reset that went past the last value between two samples is invisible
    ],
)
def test_a_counter_counts_what_it_had_before_each_fall(values: list[float], total: float) -> None:
    assert promql.total_over_resets(values) == total


@given(st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=6), max_size=5))
def test_increments_of_several_lives_add_up_when_each_begins_below_the_last(lives: list[list[int]]) -> None:
    seen: list[float] = []
    expected = 0
    for steps in lives:
        values, value = [], 0
        for step in steps:
            value += step
            values.append(float(value))
        if seen and values[0] >= seen[-1]:
            values[0] = 0.0
            values = sorted(values)
        if seen and values[0] >= seen[-1]:
            continue  # nobody can see this reset
        expected += int(values[-1])
        seen += values
    assert promql.total_over_resets(seen) == expected


def test_the_extrapolating_functions_are_never_asked_and_the_uid_is_quoted() -> None:
    texts = promql.queries(QUERY).values()
    assert not any("increase(" in text or "rate(" in text for text in texts)
    assert all('run="u\\"1"' in text for text in texts)
    assert all("[7260s]" in text for name, text in promql.queries(QUERY).items() if name != "newest")


def test_names_of_processes_are_no_patterns() -> None:
    assert 'process=~"a\\\\.b|c"' in promql.raw(QUERY, ["a.b", "c"])


def test_windows_of_a_young_test_and_of_no_patience_are_not_empty() -> None:
    texts = promql.queries(SamplesQuery(url="http://p", run="u", since=AT, at=AT, patience=0.0)).values()
    assert not any("[0s" in text or ":0s]" in text for text in texts)


def point(name: str, value: float, **labels: str) -> Point:
    known = {"__name__": name, "split": "0.2", "arm": "A", "process": "p1", "ledger": "first"}
    return Point(known | labels, value)


def answers(*totals: Point, **more: tuple[Point, ...]) -> dict[str, tuple[Point, ...]]:
    fresh = tuple(Point({"process": p}, AT.timestamp() - 5) for p in ("p1", "p2"))
    return {"totals": totals, "newest": fresh, "full": (), "unconfirmed": (), "p99": (), **more}


def test_processes_add_up_and_what_falls_is_taken_away() -> None:
    found = promql.samples(
        QUERY,
        answers(
            point(names.UNITS, 10),
            point(names.UNITS, 5, process="p2"),
            point(names.VALUES, 4, metric="rating"),
            point(names.SUM, 7, metric="rating", sign="plus"),
            point(names.SUM, 9, metric="rating", sign="minus"),
            point(names.SQUARES, 40, metric="rating"),
            p99=(Point({"arm": "A"}, 0.02), Point({"arm": "B"}, float("nan"))),
        ),
        AT,
    )
    (stratum,) = found.strata
    rating = stratum.a.metrics["rating"]
    assert (stratum.a.units, stratum.b.units) == (15, 0)
    assert (rating.count, rating.total, rating.squares) == (4, -2, 40)
    assert (found.p99_a, found.p99_b, found.notes) == (0.02, None, ())


def test_what_a_reader_should_know_is_noted() -> None:
    old = (Point({"process": "p1"}, AT.timestamp() - 5), Point({"process": "p2"}, AT.timestamp() - 500))
    found = promql.samples(
        QUERY,
        answers(point(names.UNITS, 10), newest=old, full=(Point({"process": "p1"}, 1),), unconfirmed=(Point({}, 3),)),
        AT,
    )
    assert found.notes[0] == "1 of 2 replicas are not scraped: process p2"
    assert "ATTUNE_MAX_TEST_UNITS" in found.notes[1]
    assert found.notes[2].startswith("3 units were counted while a replica did not answer")


def test_counters_that_fell_are_noted() -> None:
    fell = (Point({"process": "serving"}, 2), Point({}, 1))
    found = promql.samples(QUERY, answers(point(names.UNITS, 10), resets=fell), AT)
    assert promql.fallen(answers(resets=fell)) == ["", "serving"]
    assert found.notes[0].startswith("counters fell, 3 times in all: their label process was changed on the way")


def test_replicas_that_cannot_be_told_apart_are_refused() -> None:
    promql.refuse_nameless(answers())
    promql.refuse_nameless(answers(nameless=(Point({}, 1),)))
    with pytest.raises(UnreadableError, match="2 targets have no label process"):
        promql.refuse_nameless(answers(nameless=(Point({}, 2),)))


def row(name: str, *values: float, **more: str) -> dict[str, object]:
    labels = {"__name__": name, "split": "0.2", "arm": "A", "process": "p1", "ledger": "first", **more}
    return {"metric": labels, "values": [[AT.timestamp() + n, str(value)] for n, value in enumerate(values)]}


def test_raw_samples_are_summed_over_resets_and_once_for_two_jobs() -> None:
    rows = [row(names.UNITS, 100, 30, 70, job="one"), row(names.UNITS, 100, 30, 69, job="two")]
    (found,) = promql.ranges({"resultType": "matrix", "result": rows})
    assert (found.value, found.labels["arm"], "job" in found.labels) == (170, "A", False)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_counters_that_are_none_are_unreadable(value: float) -> None:
    with pytest.raises(UnreadableError):
        promql.samples(QUERY, answers(point(names.UNITS, value)), AT)


@pytest.mark.parametrize(
    "labels", [{"split": "half"}, {"split": ""}, {"split": "nan"}, {"split": "1.5"}, {"arm": "C"}, {"__name__": "up"}]
)
def test_series_without_their_labels_are_unreadable(labels: dict[str, str]) -> None:
    with pytest.raises(UnreadableError, match="must keep the labels"):
        promql.samples(QUERY, answers(Point({**point(names.UNITS, 1).labels, **labels}, 1)), AT)


def test_sums_and_times_beyond_all_numbers_are_unreadable() -> None:
    with pytest.raises(UnreadableError, match="no number"):
        promql.samples(QUERY, answers(point(names.UNITS, 1e308), point(names.UNITS, 1e308, process="p2")), AT)
    with pytest.raises(UnreadableError, match="second 1e\\+300"):
        promql.newest(answers(newest=(Point({}, 1e300),)))


def vector(*rows: object) -> dict[str, object]:
    return {"resultType": "vector", "result": list(rows)}


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"resultType": "scalar"},
        {"resultType": "vector", "result": None},
        vector({"metric": {}}),
        vector({"metric": [], "value": [1, "1"]}),
        vector({"metric": {"arm": []}, "value": [1, "1"]}),
        vector({"metric": {}, "value": [1, "many"]}),
        vector({"metric": {}, "value": [1, 10**400]}),
    ],
)
def test_what_is_no_vector_is_unreadable(answer: object) -> None:
    with pytest.raises(UnreadableError):
        promql.points(answer)
    with pytest.raises(UnreadableError):
        promql.ranges(answer)


def test_credentials_are_not_shown() -> None:
    assert shown("https://me:secret@prometheus:9090/x?token=secret") == "https://prometheus:9090/x"
    assert "secret" not in shown("https://me:secret@[::1")
    assert "token" not in repr(SamplesQuery(url="http://p", run="u", since=AT, at=AT, token="s3cret"))
