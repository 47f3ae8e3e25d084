"""Durations, patterns, and the short texts of `kubectl get`."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.api import display, parse_duration
from attune.api.rules import immutable, matches, quoted
from attune.api.values import CRON_PATTERN


@pytest.mark.parametrize(
    ("text", "seconds"), [("15m", 900), ("168h", 604800), ("1h30m", 5400), ("90s", 90), ("1500ms", 1.5), ("0s", 0)]
)
def test_a_duration_is_read_as_go_reads_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "15", "1d", "-5m", "1.5h", "m", "15m ", "1h 30m"])
def test_what_the_api_server_refuses_is_refused_here_too(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@given(st.integers(0, 999), st.integers(0, 999), st.integers(0, 999))
def test_hours_minutes_and_seconds_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert parse_duration(f"{hours}h{minutes}m{seconds}s") == timedelta(hours=hours, minutes=minutes, seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        "0 2 * * 0",
        "*/5 * * * *",
        "0 2 1 * *",
        "0,30 9-17 * * mon-fri",
        "@weekly",
        "5 4 31 12 7",
        "0  2 * * 0",
        "0 0 1-7/2 * *",
    ],
)
def test_a_schedule_has_five_fields_or_a_name(text: str) -> None:
    assert re.match(CRON_PATTERN, text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 32 * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "@often",
        "a b c d e",
        "*/0 * * * *",
    ],
)
def test_what_cron_does_not_know_is_no_schedule(text: str) -> None:
    assert not re.match(CRON_PATTERN, text)


@given(st.tuples(st.integers(0, 59), st.integers(0, 23), st.integers(1, 31), st.integers(1, 12), st.integers(0, 7)))
def test_every_point_in_time_is_a_schedule(point: tuple[int, ...]) -> None:
    assert re.match(CRON_PATTERN, " ".join(map(str, point)))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0, "0s"),
        (45.4, "45s"),
        (119, "119s"),
        (133, "2m13s"),
        (1333, "22m"),
        (12000, "3h20m"),
        (190800, "2d5h"),
    ],
)
def test_a_span_of_time_has_two_units_at_most(seconds: float | None, text: str | None) -> None:
    assert display.span(seconds) == text


def test_numbers_are_shown_short_and_missing_ones_not_at_all() -> None:
    assert [display.percent(v) for v in (None, 0.0, 4.26, 43.2, 100)] == [None, "0%", "4.3%", "43%", "100%"]
    assert [display.change(v) for v in (None, 12.49, -3.0)] == [None, "+12.5%", "-3.0%"]
    assert [display.score(v) for v in (None, 0.87314)] == [None, "0.873"]


def test_a_cel_literal_is_escaped() -> None:
    assert quoted(r"a'b\d") == r"'a\'b\\d'"
    assert matches("^a$", "is wrong; use a").as_schema() == {
        "rule": "self.matches('^a$')",
        "message": "is wrong; use a",
        "messageExpression": "'\"' + self + '\" is wrong; use a'",
    }


def test_immutable_also_means_not_set_and_not_unset_later() -> None:
    (rule,) = immutable("make another", "baseModel")
    assert rule.rule.startswith("has(self.baseModel) == has(oldSelf.baseModel) && ")
    assert rule.path == ".baseModel"
