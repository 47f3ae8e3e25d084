"""When an ABTest is looked at, when it ends, and which looks are kept. Pure; used by `ab_test` and by the look's own observation."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from attune.api import MOST_LOOKS, ABTest, Look, parse_duration

SLACK = timedelta(milliseconds=500)
SHORTEST_GRACE = timedelta(minutes=5)
GRACE_LOOKS = 10
"""So many intervals after its end a test still waits for metrics that cannot be read; at least SHORTEST_GRACE."""


def interval(test: ABTest) -> timedelta:
    """Time between two looks (spec.analysis.interval)."""
    return parse_duration(test.spec.analysis.interval)


def ends_at(test: ABTest) -> datetime:
    """When maxDuration is over. Only for a test that has started."""
    assert test.status.started_at is not None
    return test.status.started_at + parse_duration(test.spec.max_duration)


def grace(test: ABTest) -> timedelta:
    """How long, after its end and since they went away, its metrics are waited for."""
    return max(SHORTEST_GRACE, GRACE_LOOKS * interval(test))


def next_look(test: ABTest, now: datetime) -> datetime:
    """When it is to be looked at: an interval after the last look, and once at its end. After a clock that was ahead: now."""
    assert test.status.started_at is not None
    last = test.status.looked_at or test.status.started_at
    if last > now:
        return now
    due, end = last + interval(test), ends_at(test)
    return end if last < end < due else due


def is_due(test: ABTest, now: datetime) -> bool:
    """Whether a running test is to be looked at now."""
    return test.status.started_at is not None and now + SLACK >= next_look(test, now)


def until_next(test: ABTest, now: datetime) -> timedelta:
    """Time until the next look; never negative."""
    return max(timedelta(), next_look(test, now) - now)


def thinned(looks: Iterable[Look]) -> tuple[Look, ...]:
    """At most MOST_LOOKS: when there are too many, the one that is closest to its neighbours goes; the first and the last stay."""
    kept = list(looks)
    while len(kept) > MOST_LOOKS:
        gaps = [kept[n + 1].at - kept[n - 1].at for n in range(1, len(kept) - 1)]
        kept.pop(1 + gaps.index(min(gaps)))
    return tuple(kept)
