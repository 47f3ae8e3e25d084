"""When a version fails too often, or too slowly, to be left in place. Pure arithmetic on counts; called by `triggers`.

A share of failures is too high when it is (1) of enough requests, (2) above an absolute floor, (3) at least `multiplier` times the one
before, and (4) not explained by chance. The last is the strict one: with 100 requests at a baseline of 1%, chance alone shows three times
as many in 8% of windows. So the count must be in the tail below 1e-5 against 1.5 times the rate before, and that rate is itself a count:
the two are compared by the conditional test of two Poisson means (Przyborowski & Wilenski, Biometrika 31, 1940).
Errors of both kinds, through this code: benchmarks/rollback_errors.py.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, inf

from attune.observation import Count

TAIL = 1e-5
"""Of chance, at one look over one window. A watch of 15 minutes looks 180 times, over three windows."""
HARMLESS = 1.5
"""A rate that grew by this factor is no reason; what is to be proven is more than that."""
SLOW_SHARE = 0.01
"""Beyond the 99th percentile."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The share of failures before. Without `requests` it was not counted: it is what stands for it."""

    rate: float
    requests: int | None = None

    @property
    def failures(self) -> int:
        return round(self.rate * (self.requests or 0))


@dataclass(frozen=True, slots=True)
class Limits:
    """What the Retriever's spec.rollback says."""

    multiplier: float = 3.0
    min_requests: int = 100
    min_rate: float = 0.01


@dataclass(frozen=True, slots=True)
class Excess:
    """A window in which too much failed."""

    count: Count
    threshold: float
    p_value: float


def excess(counts: Iterable[Count], baseline: Baseline, limits: Limits) -> Excess | None:
    """The first window with too many failures; None while there is none."""
    return next((found for count in counts if (found := _excess(count, baseline, limits))), None)


def threshold_of(baseline: Baseline, limits: Limits) -> float:
    """The share of failures from which on a version is suspected."""
    return max(limits.min_rate, grown(baseline.rate, limits.multiplier))


def grown(rate: float, factor: float) -> float:
    """`factor` times the rate; where that would be most of all requests, the rate at which successes shrank by the factor.

    So a version that follows one with 40% failures can still be found to be worse.
    """
    return min(rate * factor, 1 - (1 - rate) / factor)


def _excess(count: Count, baseline: Baseline, limits: Limits) -> Excess | None:
    threshold = threshold_of(baseline, limits)
    if count.requests < limits.min_requests or count.rate < threshold or not count.failures:
        return None
    p_value = chance(count, baseline, limits)
    return Excess(count, threshold, p_value) if p_value < TAIL else None


def chance(count: Count, baseline: Baseline, limits: Limits) -> float:
    """Probability of so many failures if the rate had grown by HARMLESS only, the larger of two tails.

    Against the rate as it was counted, with the uncertainty of that count; and against a rate that is never below
    min_rate / multiplier, since what grows from less stays below the floor.
    """
    least = max(baseline.rate, limits.min_rate / limits.multiplier)
    known = poisson_tail(count.failures, grown(least, HARMLESS) * count.requests)
    if baseline.requests is None or known >= TAIL:
        return known
    factor = grown(baseline.rate, HARMLESS) / baseline.rate if baseline.rate else HARMLESS
    weight = factor * count.requests
    share = weight / (weight + baseline.requests)
    return max(known, binomial_tail(count.failures, count.failures + baseline.failures, share))


def slowness(
    counts: Iterable[Count], p99_before: float, multiplier: float, min_requests: int
) -> tuple[Count, int, float] | None:
    """(window, slow attempts, bound in seconds) of the first window whose 99th percentile is beyond `multiplier` times the one before.

    The bound is the next one that the histogram has. More than 1% of the attempts must be beyond it, and chance must not explain that.
    """
    for count in counts:
        bound = min((b for b in count.durations if b >= p99_before * multiplier), default=inf)
        slow = count.requests - count.durations.get(bound, count.requests)
        if count.requests < min_requests or bound == inf or slow <= SLOW_SHARE * count.requests:
            continue
        if poisson_tail(slow, HARMLESS * SLOW_SHARE * count.requests) < TAIL:
            return count, slow, bound
    return None


def quantile(count: Count, share: float) -> float | None:
    """The duration within which so large a share of the attempts ended, in seconds, interpolated within its bucket as Prometheus does.

    None where nothing was counted, or where it lies beyond the last bound.
    """
    total = count.durations.get(inf, 0)
    if not total:
        return None
    wanted, lower, below = share * total, 0.0, 0
    for bound, upto in sorted(count.durations.items()):
        if upto >= wanted:
            return None if bound == inf else lower + (bound - lower) * (wanted - below) / max(1, upto - below)
        lower, below = bound, upto
    return None


def lost_by_chance(lost: int, won: int) -> float:
    """Probability that of the queries on which two versions differ, `lost` or more go against the new one, if neither is better.

    The exact sign test on discordant pairs (McNemar, Psychometrika 12, 1947).
    """
    return binomial_tail(lost, lost + won, 0.5)


def poisson_tail(at_least: int, mean: float) -> float:
    """P(X ≥ at_least) of a Poisson count."""
    from scipy.special import pdtrc

    return 1.0 if at_least <= 0 else float(pdtrc(at_least - 1, mean))


def binomial_tail(at_least: int, of: int, share: float) -> float:
    """P(X ≥ at_least) of a binomial count."""
    from scipy.special import bdtrc

    return 1.0 if at_least <= 0 else float(bdtrc(ceil(at_least) - 1, of, share))
