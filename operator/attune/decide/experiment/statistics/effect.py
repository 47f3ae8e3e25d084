"""The difference of one metric between B and A, with its standard error, from sums. What every method of analysis begins with."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from attune.contract.counting import ERROR
from attune.observation import ArmSamples, Samples, Sums

_PRECISION = 2.0**-52
_NOTHING = Sums(0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class ArmMean:
    """Mean of one arm, its standard error, and the number of values behind it."""

    mean: float
    standard_error: float
    count: int


@dataclass(frozen=True, slots=True)
class Effect:
    """Both arms of one metric, in its own unit: ln(ms) for latency, errors per query for error."""

    a: ArmMean
    b: ArmMean
    degrees_of_freedom: float

    @property
    def difference(self) -> float:
        """B minus A."""
        return self.b.mean - self.a.mean

    @property
    def standard_error(self) -> float:
        """Of the difference. 0 where the values have no spread that sums can show: then nothing can be tested."""
        return math.hypot(self.a.standard_error, self.b.standard_error)

    @property
    def count(self) -> int:
        """Values of both arms."""
        return self.a.count + self.b.count

    @property
    def z(self) -> float:
        """The difference in standard errors; ZeroDivisionError without spread."""
        return self.difference / self.standard_error


def effect_of(samples: Samples, metric: str) -> Effect | None:
    """Stratified Welch difference of means; None where no stratum has two values of each arm.

    Queries are compared within the stratum (the split) of their first request. Once a split is raised, B has more of the late queries
    and A of the early ones, so pooled means would compare early with late (Simpson's paradox). With n_k of all N values in stratum k:

        mean of an arm = Σ n_k/N · mean_k,   variance of it = Σ (n_k/N)² · s²_k / count_k

    so the difference of the means shown is the sum over strata of n_k/N · (mean_Bk - mean_Ak): post-stratification, Cochran, Sampling
    Techniques (1977), section 5A.9. N times it is a sum over queries whose increments have mean 0 if there is no effect, whatever the
    split was at the time; that is what sequential tests need. Unequal variances: Welch (1947), degrees of freedom by Satterthwaite
    (1946), Σ extended over strata.
    """
    pairs = [(_sums(s.a, metric), _sums(s.b, metric)) for s in samples.strata]
    kept = [(a, b) for a, b in pairs if min(a.count, b.count) >= 2]
    if not kept:
        return None
    share = metric == ERROR or all(_zero_or_one(sums) for pair in kept for sums in pair)
    total = sum(a.count + b.count for a, b in kept)
    weights = [(a.count + b.count) / total for a, b in kept]
    arm_a = _Arm.of(zip(weights, (a for a, _ in kept), strict=True), share)
    arm_b = _Arm.of(zip(weights, (b for _, b in kept), strict=True), share)
    return Effect(arm_a.shown, arm_b.shown, _satterthwaite(arm_a, arm_b))


def pooled(arms: Iterable[ArmSamples], metric: str) -> Sums:
    """Everything that an arm has of a metric, added up; for showing it while the other arm has nothing yet."""
    return sum((_sums(arm, metric) for arm in arms), _NOTHING)


def variance(sums: Sums) -> float:
    """Unbiased sample variance of at least two values. 0 if it is below what sums of squares in 64 bits can show.

    Σx² - (Σx)²/n loses all digits when the mean is more than some 10⁷ standard deviations away from 0; what is left then is rounding,
    at most n · 2⁻⁵² of Σx² (Higham, Accuracy and Stability of Numerical Algorithms, sections 1.9 and 4.2), and is not taken for spread.
    """
    spread = sums.squares - sums.total * sums.total / sums.count
    if not spread > sums.count * _PRECISION * sums.squares:
        return 0.0
    return spread / (sums.count - 1)


def smoothed_variance(sums: Sums) -> float:
    """Variance of values that are 0 or 1, one success and one failure added: p(1 - p) with p = (x + 1)/(n + 2).

    Agresti & Caffo (2000), The American Statistician 54: without it no error in 100 queries would be "rate 0, certainly".
    """
    p = (sums.total + 1) / (sums.count + 2)
    return max(p * (1 - p), 0.0)


def _sums(arm: ArmSamples, metric: str) -> Sums:
    """Nothing, too, where values were so large that their sums are none."""
    sums = arm.metrics.get(metric, _NOTHING)
    return sums if math.isfinite(sums.total) and math.isfinite(sums.squares) else _NOTHING


def _zero_or_one(sums: Sums) -> bool:
    """Σx² = Σx: every value is 0 or 1, as clicks and acceptances are."""
    return sums.squares == sums.total and 0 <= sums.total <= sums.count


@dataclass(frozen=True, slots=True)
class _Arm:
    mean: float
    variance: float
    count: int
    unevenness: float
    """Satterthwaite's denominator: Σ (variance of a term)² / (its count - 1)."""

    @classmethod
    def of(cls, strata: Iterable[tuple[float, Sums]], share: bool) -> "_Arm":
        mean = spread = unevenness = 0.0
        count = 0
        for weight, sums in strata:
            term = weight * weight * (smoothed_variance(sums) if share else variance(sums)) / sums.count
            mean += weight * sums.total / sums.count
            spread += term
            unevenness += term * term / (sums.count - 1)
            count += sums.count
        return cls(mean, spread, count, unevenness)

    @property
    def shown(self) -> ArmMean:
        return ArmMean(self.mean, math.sqrt(self.variance), self.count)


def _satterthwaite(a: _Arm, b: _Arm) -> float:
    unevenness = a.unevenness + b.unevenness
    return (a.variance + b.variance) ** 2 / unevenness if unevenness > 0 else float(a.count + b.count - 2)
