"""Scheduled times found by looking at every minute, to check those that are computed. Knows nothing of cron expressions' text.

Every minute of real time shows some local time; the first one that shows it is its instant. A local time that no minute shows is the
next one that is shown.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
EVERY = frozenset(range(100))


@dataclass(frozen=True)
class Fields:
    """The fields of a schedule as sets of numbers; `text` is the same as a cron expression."""

    text: str
    minutes: frozenset[int] = EVERY
    hours: frozenset[int] = EVERY
    days: frozenset[int] = EVERY
    months: frozenset[int] = EVERY
    weekdays: frozenset[int] = EVERY
    either_day: bool = False
    """Both kinds of day are restricted: one that fits is enough."""

    def fits(self, local: datetime) -> bool:
        if local.minute not in self.minutes or local.hour not in self.hours or local.month not in self.months:
            return False
        day, weekday = local.day in self.days, local.isoweekday() % 7 in self.weekdays
        return day or weekday if self.either_day else day and weekday


@cache
def _clock(zone: str, start: datetime, end: datetime) -> tuple[list[datetime], list[datetime]]:
    """Local times that clocks show, ascending, and the first instant of each."""
    known, at, first = ZoneInfo(zone), start, {}
    while at <= end:
        first.setdefault(at.astimezone(known).replace(tzinfo=None, fold=0), at)
        at += MINUTE
    shown = sorted(first)
    return shown, [first[local] for local in shown]


def instants(fields: Fields, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """All scheduled instants after `start` and not after `end`."""
    shown, first = _clock(zone, start.astimezone(UTC) - timedelta(hours=2), end.astimezone(UTC) + timedelta(hours=2))
    found, local = set(), shown[0]
    while local <= shown[-1]:
        if fields.fits(local):
            found.add(first[bisect_left(shown, local)])
        local += MINUTE
    return sorted(at for at in found if start < at <= end)
