"""Scheduled times as instants: daylight saving time in both directions, against a search of every minute, and what names no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune.decide.gates import Problem
from attune.decide.schedule.ticks import due, is_late
from attune.decide.schedule.timetable import Timetable, read
from cron_oracle import MINUTE, Fields, instants

FIELD = "spec.training.schedule"
CHANGES = {
    "Europe/Berlin": ("2026-03-29", "2026-10-25"),
    "America/New_York": ("2026-03-08", "2026-11-01"),
    "Australia/Lord_Howe": ("2026-04-05", "2026-10-04"),
    "America/St_Johns": ("2026-03-08", "2026-11-01"),
    "Africa/Casablanca": ("2026-02-15", "2026-03-22"),
    "Asia/Kolkata": ("2026-03-29", "2026-10-25"),
    "UTC": ("2026-03-29", "2026-02-28"),
}
"""Days on which clocks change (or, in the last two zones, do not)."""


def table(cron: str, zone: str = "UTC") -> Timetable:
    found = read(cron, zone, FIELD)
    assert isinstance(found, Timetable), found
    return found


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def times(found: Timetable, start: str, count: int) -> list[str]:
    """The next so many, as `told`."""
    told, now = [], at(start)
    for _ in range(count):
        coming = found.next_after(now)
        assert coming is not None
        told.append(found.told(coming))
        now = coming
    return told


@pytest.mark.parametrize(
    ("zone", "cron", "start", "expected"),
    [
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-03-28T00:00Z",
            ["Sat 2026-03-28 02:30 CET", "Sun 2026-03-29 03:00 CEST", "Mon 2026-03-30 02:30 CEST"],
        ),
        (
            "Europe/Berlin",
            "30 2 * * *",
            "2026-10-24T00:00Z",
            ["Sat 2026-10-24 02:30 CEST", "Sun 2026-10-25 02:30 CEST", "Mon 2026-10-26 02:30 CET"],
        ),
        (
            "America/New_York",
            "0 2 * * 0",
            "2026-03-01T12:00Z",
            ["Sun 2026-03-08 03:00 EDT", "Sun 2026-03-15 02:00 EDT"],
        ),
        (
            "America/New_York",
            "15 1 1 * *",
            "2026-10-02T00:00Z",
            ["Sun 2026-11-01 01:15 EDT", "Tue 2026-12-01 01:15 EST"],
        ),
        (
            "Australia/Lord_Howe",
            "15 2 * * *",
            "2026-10-02T20:00Z",
            ["Sun 2026-10-04 02:30 +11", "Mon 2026-10-05 02:15 +11"],
        ),
        (
            "Australia/Lord_Howe",
            "45 1 * * *",
            "2026-04-03T20:00Z",
            ["Sun 2026-04-05 01:45 +11", "Mon 2026-04-06 01:45 +1030"],
        ),
    ],
)
def test_a_time_that_is_left_out_is_the_next_one_there_is_and_one_that_comes_twice_is_the_first(
    zone: str, cron: str, start: str, expected: list[str]
) -> None:
    assert times(table(cron, zone), start, len(expected)) == expected


def test_times_that_become_one_instant_are_one_time() -> None:
    """02:00, 02:20 and 02:40 do not exist; all are 03:00, which is a time of the schedule anyway."""
    told = times(table("*/20 * * * *", "Europe/Berlin"), "2026-03-29T00:30Z", 3)
    assert told == ["Sun 2026-03-29 01:40 CET", "Sun 2026-03-29 03:00 CEST", "Sun 2026-03-29 03:20 CEST"]


def test_an_hour_that_comes_twice_has_its_times_once() -> None:
    found = table("*/30 * * * *", "Europe/Berlin")
    assert times(found, "2026-10-25T00:00Z", 2) == ["Sun 2026-10-25 02:30 CEST", "Sun 2026-10-25 03:00 CET"]
    second_time = at("2026-10-25T01:10Z")  # 02:10 for the second time: 02:30 has been
    assert found.latest(second_time) == at("2026-10-25T00:30Z")


def test_a_day_that_a_country_left_out_has_its_times_at_its_end() -> None:
    """Samoa had no 30 December 2011."""
    assert times(table("0 12 30 * *", "Pacific/Apia"), "2011-12-01T00:00Z", 2) == [
        "Sat 2011-12-31 00:00 +14",
        "Mon 2012-01-30 12:00 +14",
    ]


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 2 31 2 *", "bad day-of-month"),
        ("0 2 30 2 *", "bad day-of-month"),
        ("0 2 31 4,6,9,11 *", "bad day-of-month"),
        ("0 5-1 * * *", "bad hour"),
        ("0 2 * * fri-mon", "bad day-of-week"),
        ("0 0 2 1 * *", "6 fields instead of five"),
        ("@reboot", "1 fields instead of five"),
        ("", "0 fields instead of five"),
        ("a b c d e", "bad minute"),
    ],
)
def test_a_schedule_that_names_no_time_is_a_problem_with_the_way_out(cron: str, words: str) -> None:
    problem = read(cron, "UTC", FIELD)
    assert isinstance(problem, Problem)
    assert problem.reason == "InvalidSchedule"
    assert problem.message.startswith(f"{FIELD}: {cron!r} names no time")
    assert words in problem.message
    assert "such as '0 2 1 * *'" in problem.message


@pytest.mark.parametrize("zone", ["Mars/Phobos", "", "Europe", "../etc/passwd", "02:00", "Europe/Berlin/Mitte", "a\0b"])
def test_a_zone_that_is_unknown_here_is_a_problem_with_the_way_out(zone: str) -> None:
    problem = read("0 2 * * 0", zone, FIELD)
    assert isinstance(problem, Problem)
    assert problem.reason == "UnknownTimeZone"
    assert repr(zone) in problem.message
    assert "Europe/Berlin" in problem.message


@pytest.mark.parametrize(
    ("alias", "cron"),
    [("@weekly", "0 0 * * 0"), ("@Monthly", "0 0 1 * *"), ("@hourly", "0 * * * *"), ("@yearly", "0 0 1 1 *")],
)
def test_aliases_are_what_cron_says(alias: str, cron: str) -> None:
    assert table(alias) == table(cron)


def test_leap_days_are_found_over_the_years_without_one() -> None:
    assert times(table("0 0 29 2 *"), "2097-01-01T00:00Z", 1) == ["Fri 2104-02-29 00:00 UTC"]


def test_a_minute_schedule_after_years_is_found_at_once() -> None:
    found = table("* * * * *", "Europe/Berlin")
    assert due(found, at("2019-01-01T00:00Z"), at("2026-07-01T10:00:30Z")) == at("2026-07-01T10:00Z")


# ---- any schedule, in any zone, around any change of clocks

SETS = {"minutes": (0, 59), "hours": (0, 23), "days": (1, 31), "months": (1, 12), "weekdays": (0, 6)}


@st.composite
def field(draw: st.DrawFn, name: str) -> tuple[str, frozenset[int]]:
    """One field as text and as numbers."""
    low, high = SETS[name]
    form = draw(st.sampled_from(["every", "step", "list", "range"]))
    if form == "every":
        return "*", frozenset(range(low, high + 1))
    if form == "step":
        step = draw(st.integers(2, 30))
        if name == "weekdays":  # in cron it has an eighth day, 7, which is Sunday again
            return f"*/{step}", frozenset(n % 7 for n in range(0, 8, step))
        return f"*/{step}", frozenset(range(low, high + 1, step))
    if form == "list":
        some = draw(st.sets(st.integers(low, high), min_size=1, max_size=4))
        return ",".join(map(str, sorted(some))), frozenset(some)
    first = draw(st.integers(low, high))
    last = draw(st.integers(first, high))
    return f"{first}-{last}", frozenset(range(first, last + 1))


@st.composite
def schedules(draw: st.DrawFn) -> Fields:
    texts, numbers = zip(*(draw(field(name)) for name in SETS), strict=True)
    either = not texts[2].startswith("*") and not texts[4].startswith("*")
    return Fields(" ".join(texts), *numbers, either_day=either)


@st.composite
def windows(draw: st.DrawFn) -> tuple[str, datetime]:
    """A zone, and the beginning of a day before its clocks change."""
    zone = draw(st.sampled_from(sorted(CHANGES)))
    return zone, at(f"{draw(st.sampled_from(CHANGES[zone]))}T00:00Z") - timedelta(days=1)


@given(schedules(), windows())
@settings(max_examples=150)
def test_the_times_of_any_schedule_are_those_that_a_search_of_every_minute_finds(
    fields: Fields, window: tuple[str, datetime]
) -> None:
    zone, start = window
    end = start + timedelta(days=3)
    found = read(fields.text, zone, FIELD)
    expected = instants(fields, zone, start, end)
    if isinstance(found, Problem):
        assert expected == []
        return
    listed, now = [], start
    while (coming := found.next_after(now)) is not None and coming <= end:
        listed.append(coming)
        now = coming
    assert listed == expected


@given(schedules(), windows(), st.integers(0, 3 * 24 * 60))
@settings(max_examples=150)
def test_the_newest_time_that_has_come_is_the_last_of_them(
    fields: Fields, window: tuple[str, datetime], minutes: int
) -> None:
    zone, start = window
    found, now = read(fields.text, zone, FIELD), start + minutes * MINUTE
    if isinstance(found, Problem):
        return
    expected = instants(fields, zone, start, now)
    assert found.latest(now, after=start) == (expected[-1] if expected else None)


@given(
    schedules(), windows(), st.lists(st.integers(1, 900), min_size=1, max_size=40), st.sampled_from([None, 60, 7200])
)
@settings(max_examples=150)
def test_whenever_one_looks_each_time_is_due_at_most_once_and_none_is_lost_that_the_deadline_allows(
    fields: Fields, window: tuple[str, datetime], pauses: list[int], deadline: int | None
) -> None:
    """The operator looks, is away for some minutes, looks again."""
    zone, start = window
    found = read(fields.text, zone, FIELD)
    if isinstance(found, Problem):
        return
    cursor, now, fired, looks = start, start, [], []
    for pause in pauses:
        now = min(now + pause * MINUTE, start + timedelta(days=3))
        looks.append(now)
        tick = due(found, cursor, now)
        if tick is not None:
            cursor = tick
            if not is_late(tick, deadline, now):
                fired.append(tick)
    expected = instants(fields, zone, start, now)
    assert fired == sorted(set(fired))
    assert set(fired) <= set(expected)
    for tick in expected:
        seen_at = next(look for look in looks if look >= tick)
        newest = max(t for t in expected if t <= seen_at)  # many that were missed are made up for by one
        assert newest in fired or is_late(newest, deadline, seen_at)
