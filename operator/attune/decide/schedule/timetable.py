"""Scheduled times of a cron expression in a time zone, as instants. Pure: the zones are a table that comes with the process.

The fields of the expression are cronsim's, that is Debian's cron. What daylight saving time does to them is ours, since cron programs
differ in it: the local times of the expression are listed as if clocks never changed, and each is one instant.

- A local time that does not exist (clocks go forward) is the next instant that does: 02:30 becomes 03:00, where 02:00 to 03:00 is left out.
- A local time that exists twice (clocks go back) is the first of the two.

Both keep the order of time, so two local times may become one instant, and never change places.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from attune.decide.gates import Problem

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
SECOND = timedelta(seconds=1)
_PROBE = datetime(2024, 1, 1)  # noqa: DTZ001  a local time without a zone


@dataclass(frozen=True, slots=True)
class Timetable:
    """A schedule that names times. Made by `read`."""

    cron: str
    zone: ZoneInfo

    def next_after(self, at: datetime) -> datetime | None:
        """The first scheduled instant after `at`; None where there is none within 50 years."""
        return next((tick for local in self._locals(at) if (tick := self._instant(local)) > at), None)

    def latest(self, until: datetime, after: datetime | None = None) -> datetime | None:
        """The last scheduled instant that is not after `until`, and after `after`; None where there is none."""
        wall = _wall(until.astimezone(self.zone))
        backwards = CronSim(self.cron, wall + SECOND, reverse=True)
        local = next(backwards, None)
        if local is None:
            return None
        found = self._instant(local)
        for later in CronSim(
            self.cron, local
        ):  # in an hour that comes twice, times ahead of the clock have passed already
            if (tick := self._instant(later)) > until:
                break
            found = tick
        return found if after is None or found > after else None

    def told(self, at: datetime) -> str:
        """`Sun 2026-03-15 02:00 CET`."""
        return f"{at.astimezone(self.zone):%a %Y-%m-%d %H:%M %Z}"

    def _locals(self, at: datetime) -> Iterator[datetime]:
        """Local times later than the one that the clock shows at `at`."""
        return iter(CronSim(self.cron, _wall(at.astimezone(self.zone))))

    def _instant(self, local: datetime) -> datetime:
        first, second = (local.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if _wall(first.astimezone(self.zone)) == local:
            return first
        return _change(self.zone, second, first)


def read(cron: str, zone: str, field: str) -> Timetable | Problem:
    """The timetable, or why there is none; `field` is where the expression stands in the spec."""
    try:
        known = ZoneInfo(zone)
    except (KeyError, OSError, ValueError):  # not there; a folder; a name that leaves the database
        return _no_zone(zone)
    plain = ALIASES.get(cron.strip().lower(), cron)
    if len(plain.split()) != 5:  # cronsim takes a sixth one, of seconds
        return _no_schedule(cron, field, f"{len(plain.split())} fields instead of five")
    try:
        never = next(CronSim(plain, _PROBE), None) is None
    except CronSimError as error:
        return _no_schedule(cron, field, str(error).lower())
    if never:
        return _no_schedule(cron, field, "no such day comes within 50 years")
    return Timetable(plain, known)


def _no_zone(zone: str) -> Problem:
    return Problem(
        "UnknownTimeZone",
        f"spec.timeZone: {zone!r} is not in the operator's time zone database; use a name of the IANA database, such as UTC, "
        "Europe/Berlin or America/New_York",
    )


def _no_schedule(cron: str, field: str, why: str) -> Problem:
    return Problem(
        "InvalidSchedule",
        f"{field}: {cron!r} names no time ({why}); write minute hour day-of-month month day-of-week, each range upwards, such as "
        "'0 2 1 * *' (the first of each month at 02:00)",
    )


def _wall(at: datetime) -> datetime:
    """What a clock on the wall shows: the local time without its zone."""
    return at.replace(tzinfo=None, fold=0)


def _change(zone: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The instant between two at which the clocks of the zone change."""
    offset = before.astimezone(zone).utcoffset()
    while after - before > SECOND:
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after
