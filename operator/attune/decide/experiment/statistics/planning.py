"""How many distinct queries a test needs, before it is started. Called by `kubectl attune test plan`.

All of it is for one metric, whose values are independent and of about the same spread in both arms. With several metrics in the
family, plan with alpha divided by their number (`multiplicity.interval_alpha`).
"""

import math
from dataclasses import dataclass

from attune.api import MOST_LOOKS
from attune.decide.experiment.statistics import group_sequential, sequential
from attune.decide.experiment.statistics.distributions import normal_quantile
from attune.decide.experiment.statistics.effect import ArmMean, Effect

POWER = 0.8
_MOST_QUERIES = 10**12


@dataclass(frozen=True, slots=True)
class Design:
    """A test to be planned: the smallest effect that should be found, in standard deviations, and B's share of the queries."""

    effect: float
    split: float
    alpha: float = 0.05
    power: float = POWER

    def __post_init__(self) -> None:
        if not self.effect > 0:
            raise ValueError(f"effect {self.effect:g} must be above 0; it is the smallest change worth finding")
        for name, value in (("split", self.split), ("alpha", self.alpha), ("power", self.power)):
            if not 0 < value < 1:
                raise ValueError(f"{name} {value:g} must lie between 0 and 1")
        if self.power <= self.alpha:
            raise ValueError(f"power {self.power:g} must be above alpha {self.alpha:g}")


@dataclass(frozen=True, slots=True)
class Plan:
    """Distinct queries that each arm needs."""

    queries_a: int
    queries_b: int

    @property
    def total(self) -> int:
        return self.queries_a + self.queries_b


def standardized(relative: float, mean: float, sd: float) -> float:
    """A relative change as an effect: `relative` x |mean| / sd; 0.02 for 2%. ValueError unless sd > 0."""
    if not sd > 0:
        raise ValueError(f"standard deviation {sd:g} must be above 0")
    return abs(relative * mean) / sd


def standardized_latency(relative: float, log_sd: float) -> float:
    """A relative change of latency, whose metric is the logarithm: |ln(1 + relative)| / log_sd, log_sd that of ln(ms)."""
    if not log_sd > 0:
        raise ValueError(f"standard deviation {log_sd:g} must be above 0")
    return abs(math.log1p(relative)) / log_sd


def sd_of_share(share: float) -> float:
    """Standard deviation of values that are 0 or 1, such as clicks, with this mean."""
    return math.sqrt(share * (1 - share))


def fixed_horizon(design: Design) -> Plan:
    """Queries of a test that looks once: N = (z_{α/2} + z_β)² / (δ² f(1 - f)), with f the share of B.

    The normal approximation for two means with unequal allocation: Chow, Shao & Wang, Sample Size Calculations in Clinical Research
    (2008), section 3.2.
    """
    return _plan(_fixed(design), design)


def by_groups(design: Design, looks: int = MOST_LOOKS) -> Plan:
    """Queries by maxDuration of a test with `looks` planned looks, equally spaced; it ends earlier on average.

    `fixed_horizon` times the inflation factor of error spending tests (Jennison & Turnbull 2000, chapter 7): 1.05 for 20 looks.
    """
    return _plan(_fixed(design) * inflation(design.alpha, design.power, looks), design)


def by_confidence_sequence(design: Design) -> Plan:
    """Queries after which a sequential test has ended with this probability, at the latest.

    The smallest N at which half the width of the confidence sequence plus z_β standard errors is no more than the effect: looking at
    that one time alone, the interval excludes 0 with probability `power`. As a sequential test may end before, the power by then is
    somewhat larger, and the mean number of queries smaller.
    """
    r2 = sequential.mixture(design.alpha)
    z_beta = normal_quantile(1 - design.power)

    def reaches(total: int) -> bool:
        effect = _noise(total, design)
        return sequential.half_width(effect, design.alpha, r2) + z_beta * effect.standard_error <= design.effect

    low, high = 1, 2
    while not reaches(high):
        low, high = high, 2 * high
        if high > _MOST_QUERIES:
            raise ValueError(
                f"an effect of {design.effect:g} standard deviations needs more than {_MOST_QUERIES:,} queries"
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(middle) else (middle, high)
    return _plan(high, design)


def inflation(alpha: float, power: float, looks: int) -> float:
    """How many times as many queries a group sequential test needs by its last look as one that looks once, for the same power."""
    planned = [group_sequential.SpendingLook((k + 1) / looks, k + 1) for k in range(looks)]
    once = normal_quantile(alpha / 2) + normal_quantile(1 - power)
    return (group_sequential.drift_for(planned, alpha, power) / once) ** 2


def _fixed(design: Design) -> float:
    quantiles = normal_quantile(design.alpha / 2) + normal_quantile(1 - design.power)
    return (quantiles / design.effect) ** 2 / (design.split * (1 - design.split))


def _plan(total: float, design: Design) -> Plan:
    return Plan(math.ceil(total * (1 - design.split)), math.ceil(total * design.split))


def _noise(total: int, design: Design) -> Effect:
    """What `total` values of spread 1 and no difference look like."""
    arms = [
        ArmMean(0.0, 1 / math.sqrt(share * total), round(share * total)) for share in (1 - design.split, design.split)
    ]
    return Effect(arms[0], arms[1], total)
