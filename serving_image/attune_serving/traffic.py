"""How many queries came, and how many distinct ones, by the hour: what `kubectl attune test plan` asks for. Pure: no I/O, no clock.

`saw` is called for every query that could take part in a test, so it costs about a microsecond: a number goes up, and one hash is
compared with the largest that the sketch keeps (a k-minimum-values sketch; sources and format: `attune.contract.traffic`).
"""

from bisect import bisect_left

from attune.contract.traffic import HASH_BITS, HOUR_SECONDS, HOURS, SMALLEST, HourOfTraffic, TrafficReport

_SHIFT = 64 - HASH_BITS
_EVERY_HASH = 1 << HASH_BITS


class _Hour:
    """One hour: requests, and the smallest hashes in order."""

    __slots__ = ("limit", "requests", "smallest")

    def __init__(self) -> None:
        self.requests = 0
        self.smallest: list[int] = []
        self.limit = _EVERY_HASH
        """Hashes from here on cannot be among the smallest."""

    def take(self, value: int) -> None:
        """A hash below the limit."""
        place = bisect_left(self.smallest, value)
        if place < len(self.smallest) and self.smallest[place] == value:
            return
        self.smallest.insert(place, value)
        if len(self.smallest) > SMALLEST:
            self.smallest.pop()
        if len(self.smallest) == SMALLEST:
            self.limit = self.smallest[-1]


class Traffic:
    """The last HOURS hours of one replica. Times are seconds since 1970; not safe across threads."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._hours: dict[int, _Hour] = {}
        self._hour = _Hour()
        self._from = self._until = 0.0

    def saw(self, unit: int, now: float) -> None:
        """A query was asked. `unit`: 64-bit hash of its normalized text, uniform, the same in every replica and test."""
        if not self._from <= now < self._until:
            self._turn(now)
        hour = self._hour
        hour.requests += 1
        value = unit >> _SHIFT
        if value < hour.limit:
            hour.take(value)

    def report(self, now: float) -> TrafficReport:
        """What was seen. Hours without a query are left out."""
        oldest = self._forget(now)
        return TrafficReport(
            since=min(max(self._since, oldest), now),
            at=now,
            hours=tuple(
                HourOfTraffic(start=start, requests=hour.requests, smallest=tuple(hour.smallest))
                for start, hour in sorted(self._hours.items())
                if hour.requests
            ),
        )

    def _turn(self, now: float) -> None:
        """Another hour has begun, or the clock was set."""
        self._forget(now)
        start = _start(now)
        self._hour = self._hours.setdefault(start, _Hour())
        self._from, self._until = start, start + HOUR_SECONDS

    def _forget(self, now: float) -> int:
        """Hours that are not of the last ones leave, also those of a clock that was ahead. The start of the oldest that may stay."""
        newest = _start(now)
        oldest = newest - (HOURS - 1) * HOUR_SECONDS
        self._hours = {start: hour for start, hour in self._hours.items() if oldest <= start <= newest}
        if self._from not in self._hours:
            self._until = self._from
        return oldest


def _start(now: float) -> int:
    return int(now) // HOUR_SECONDS * HOUR_SECONDS
