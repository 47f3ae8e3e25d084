"""How many distinct queries come in days, foreseen from what serving replicas saw in hours. Pure; called by `traffic` and `planning`.

The sketches are exact parts of one sample of the distinct queries: those with the smallest hashes, with the hours in which each was
asked (`attune.contract.traffic`). What the hours say of growth holds for bursts too, as an hour counts a query once.
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from attune.contract import TrafficReport
from attune.contract.traffic import HASH_BITS, SMALLEST

DAY = 86400.0
LEAST_SECONDS = 3600.0
"""Less than that says nothing of growth."""
LONGEST_DAYS = 3650.0
_STARTED_SECONDS = 600.0
"""A replica that started a moment ago has no rate of its own yet: its requests are taken for those of so long."""
_SURE = 2.0
"""Standard errors of a count that are allowed for."""


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of all replicas together."""

    requests: int
    smallest: frozenset[int]


@dataclass(frozen=True, slots=True)
class Seen:
    """The traffic of all replicas. `seconds`: how long the one that has seen longest has seen."""

    replicas: int
    seconds: float
    requests_per_day: float
    hours: tuple[Hour, ...]

    @property
    def requests(self) -> int:
        return sum(hour.requests for hour in self.hours)


def merged(reports: Iterable[TrafficReport]) -> Seen:
    """Several replicas as one. Rates are added up, each over the time that its replica has seen."""
    known = list(reports)
    requests: dict[int, int] = {}
    hashes: dict[int, set[int]] = {}
    for report in known:
        for hour in report.hours:
            requests[hour.start] = requests.get(hour.start, 0) + hour.requests
            hashes.setdefault(hour.start, set()).update(hour.smallest)
    return Seen(
        replicas=len(known),
        seconds=max((report.seconds for report in known), default=0.0),
        requests_per_day=sum(DAY * r.requests / max(r.seconds, _STARTED_SECONDS) for r in known),
        hours=tuple(Hour(requests[s], frozenset(sorted(hashes[s])[:SMALLEST])) for s in sorted(requests)),
    )


@dataclass(frozen=True, slots=True)
class Growth:
    """What was seen of distinct queries, and how their number grows.

    By Heaps' law distinct = a · requests^exponent. The exponent is that of the end of what was seen; as it only falls with time where
    queries come from a finite stock, Heaps' law says the fewest days. Chao's estimator, from the queries that were asked in one hour
    only and in two, is a lower bound of what will be seen (Chao 1987, Biometrics 43; Colwell et al. 2012, Journal of Plant Ecology 5,
    eq. 18), so it says the most days.
    """

    requests: float
    distinct: float
    relative_error: float
    """Standard error of `distinct` as a share of it; 0 where all were counted."""
    exponent: float
    hours: int
    once: float
    """Share of the distinct queries that were asked in one of the hours only."""
    twice: float
    """Share of those that were asked in two; at least one of the sample, as none in the sample does not mean none."""

    def by_heaps(self, requests: float) -> float:
        """Distinct queries among so many requests."""
        return float(self.distinct * (requests / self.requests) ** self.exponent)

    def by_chao(self, requests: float) -> float:
        """A lower bound of them, beyond what was seen."""
        if requests <= self.requests:
            return self.by_heaps(requests)
        unseen = (self.hours - 1) / self.hours * self.once**2 / (2 * self.twice)
        if unseen == 0:
            return self.distinct
        more = self.hours * (requests / self.requests - 1)
        chao = self.distinct * (1 + unseen * (1 - (1 - self.once / (self.once + self.hours * unseen)) ** more))
        return float(min(chao, self.by_heaps(requests)))


def fitted(seen: Seen) -> Growth | None:
    """How distinct queries grow with requests; None where too little was seen to say."""
    hours = [hour for hour in seen.hours if hour.requests]
    if seen.seconds < LEAST_SECONDS or len(hours) < 2:
        return None
    sample, distinct = count(hours)
    error = 0.0 if len(sample) < SMALLEST else 1 / math.sqrt(SMALLEST - 2)
    times = Counter(unit for hour in hours for unit in hour.smallest.intersection(sample))
    once = {unit for unit, hours_of_it in times.items() if hours_of_it == 1}
    alone = [len(once & hour.smallest) / len(sample) for hour in hours]
    requests = sum(hour.requests for hour in hours)
    return Growth(
        requests=requests,
        distinct=distinct,
        relative_error=error,
        exponent=_exponent(alone, [hour.requests / requests for hour in hours]),
        hours=len(hours),
        once=len(once) / len(sample),
        twice=max(1, sum(n == 2 for n in times.values())) / len(sample),
    )


def count(hours: Iterable[Hour]) -> tuple[list[int], float]:
    """The smallest hashes of all hours, and how many distinct queries there were: (k - 1) / k-th smallest, or all that there are.

    Every hash up to the k-th smallest is in the sketch of each hour in which its query was asked: nothing is lost by merging.
    """
    smallest = sorted(set().union(*(hour.smallest for hour in hours)))[:SMALLEST]
    if len(smallest) < SMALLEST:
        return smallest, float(len(smallest))
    return smallest, (SMALLEST - 1) / (smallest[-1] / 2.0**HASH_BITS)


def _exponent(alone: list[float], shares: list[float]) -> float:
    """Heaps' exponent at the end: what leaving out an hour takes from the distinct queries, against what it takes from the requests.

    Under distinct = a · requests^b, ln(1 - share of queries of that hour alone) = b · ln(1 - its share of requests), for each hour.
    """
    if max(alone) >= 1 or max(shares) >= 1:
        return 1.0
    lost, left = sum(math.log1p(-q) for q in alone), sum(math.log1p(-s) for s in shares)
    return min(1.0, lost / left)


@dataclass(frozen=True, slots=True)
class Days:
    """How long until so many distinct queries have come: most likely, and from … to; None: longer than ten years, or never."""

    likely: float | None
    fewest: float
    most: float | None


def days_until(distinct: float, growth: Growth, requests_per_day: float) -> Days:
    """When that many distinct queries will have been asked. `likely` is by Heaps' law."""
    slack = 1 + _SURE * growth.relative_error

    def days(wanted: float, *, least: bool) -> float | None:
        reach = growth.by_chao if least else growth.by_heaps
        low, high = 0.0, LONGEST_DAYS
        if reach(high * requests_per_day) < wanted:
            return None
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if reach(middle * requests_per_day) < wanted else (low, middle)
        return high

    return Days(
        likely=days(distinct, least=False),
        fewest=days(distinct / slack, least=False) or LONGEST_DAYS,
        most=days(distinct * slack, least=True),
    )
