"""Method `groupSequential`: a few planned looks among which alpha is spent, most of it late. Called by `decide.look` and `planning`.

Alpha is spent by the calendar (the share of maxDuration that is over), which is known without looking at any outcome; how the looks
depend on each other follows from the queries that were counted by each (Lan & DeMets 1989, Group sequential procedures: calendar
versus information time). A look that could not be taken in time is taken later, with the share that is over by then.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from attune.decide.experiment.statistics.distributions import (
    legendre,
    normal_densities,
    normal_quantile,
    normal_tail,
    normal_tails,
)

if TYPE_CHECKING:
    from attune.decide.experiment.statistics.distributions import Array

_NEGLIGIBLE = 1e-6
"""Share of alpha that early looks may spend before they are followed exactly."""
_LEAST_GROWTH = 1.01
_FARTHEST = 37.0
"""Boundary of a look that may spend nothing; a normal tail beyond it is no number."""
_SMALLEST = 1e-12
"""p-values are not told apart below this."""


@dataclass(frozen=True, slots=True)
class SpendingLook:
    """One planned look: the share of maxDuration that is over (0 to 1), and the distinct queries of both arms by then."""

    fraction: float
    information: float


def spent(fraction: float, alpha: float) -> float:
    """Of a two-sided `alpha`, what one side has spent when `fraction` of the time is over; alpha/2 at the end.

    Lan & DeMets (1983), Biometrika 70, the function of O'Brien-Fleming type for the one-sided level alpha/2:
    2(1 - Φ(z / √t)) with z the upper alpha/4 quantile.
    """
    if fraction <= 0:
        return 0.0
    return 2 * normal_tail(normal_quantile(alpha / 4) / math.sqrt(min(fraction, 1.0)))


def boundaries(looks: Sequence[SpendingLook], alpha: float) -> tuple[float, ...]:
    """For each look, how many standard errors the difference must be away from 0 to be significant at a two-sided `alpha`.

    The boundary times the standard error is half the width of the repeated confidence interval (Jennison & Turnbull, Group
    Sequential Methods (2000), chapter 9). `looks` in order of time; one with less than 1% more queries than the look before is taken
    for one with 1% more: the less two looks have in common, the larger the boundary.
    """
    return _followed(looks, alpha)[0]


def repeated_p_value(z: float, looks: Sequence[SpendingLook]) -> float:
    """The smallest two-sided alpha at which a difference of `z` standard errors is significant at the last of `looks`.

    Jennison & Turnbull (2000), chapter 9. The root is found on the scale of normal quantiles, where the boundary is almost a
    straight line, by the secant method; it lies between p = 1 and the p-value of a test that looks once.
    """

    def beyond(quantile: float) -> float:
        return boundaries(looks, 2 * normal_tail(quantile))[-1] - abs(z)

    low, high = 0.0, min(abs(z), normal_quantile(_SMALLEST / 2))
    if beyond(low) >= 0:
        return 1.0
    before, at_before = high, beyond(high)
    if at_before <= 0:
        return 2 * normal_tail(high)
    quantile = high * abs(z) / (abs(z) + at_before)
    for _ in range(30):
        at = beyond(quantile)
        if abs(at) < 1e-5:
            break
        low, high = (low, quantile) if at > 0 else (quantile, high)
        following = quantile - at * (quantile - before) / (at - at_before) if at != at_before else low
        before, at_before = quantile, at
        quantile = following if low < following < high else (low + high) / 2
    return 2 * normal_tail(quantile)


def power(looks: Sequence[SpendingLook], alpha: float, drift: float) -> float:
    """Probability that a test is significant at one of `looks` if the expectation of z at the last one is `drift`."""
    bounds, step = _followed(looks, alpha)
    return _found(step.within(bounds[-1], 1.0), drift)


def drift_for(looks: Sequence[SpendingLook], alpha: float, power: float) -> float:
    """The expectation of z at the last look that gives this power; by bisection."""
    bounds, step = _followed(looks, alpha)
    unended = step.within(bounds[-1], 1.0)
    low, high = 0.0, 2 * (normal_quantile(alpha / 2) + normal_quantile(1 - power))
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (low, middle) if _found(unended, middle) >= power else (middle, high)
    return high


def _found(unended: "tuple[Array, Array]", drift: float) -> float:
    """Share of tests that ended as significant, from where z is on the others if there is no drift.

    With a drift, the density of z on tests that have not ended is the one without it times exp(drift·z - drift²/2), because z is
    sufficient (Jennison & Turnbull 2000, chapter 19).
    """
    nodes, masses = unended
    ratios = (normal_densities(drift - nodes) + normal_densities(drift + nodes)) / normal_densities(nodes)
    return 1 - float(masses @ ratios)


# ---- the distribution of z from look to look


@dataclass(frozen=True, slots=True)
class _Step:
    """z at a look, given what was left of tests at the look before: at |z| = node a mass on each side. None: all tests."""

    root: float = 0.0
    """Square root of information before over information now: how much of z is carried over."""
    left: "tuple[Array, Array] | None" = None
    """Nodes, and masses there."""

    @property
    def fresh(self) -> float:
        """Standard deviation of what is new in z."""
        return math.sqrt(1 - self.root * self.root)

    def tail(self, bound: float) -> float:
        """P(not ended before, z > bound)."""
        if self.left is None:
            return normal_tail(bound)
        nodes, masses = self.left
        carried = self.root * nodes
        tails = normal_tails((bound - carried) / self.fresh) + normal_tails((bound + carried) / self.fresh)
        return float(masses @ tails)

    def density(self, at: "Array") -> "Array":
        """Of z, on tests that had not ended before."""
        if self.left is None:
            return normal_densities(at)
        return self._arriving(at[:, None]) @ self.left[1]

    def _arriving(self, at: "Array | float") -> "Array":
        """Density of z there, from each node and its mirror image."""
        assert self.left is not None
        carried = self.root * self.left[0]
        return (
            normal_densities((at - carried) / self.fresh) + normal_densities((at + carried) / self.fresh)
        ) / self.fresh

    def bound(self, tail: float) -> float:
        """The bound beyond which `tail` is left on each side: Newton's method on the logarithm, which is concave."""
        bound = normal_quantile(tail)
        if self.left is None:
            return bound
        masses = self.left[1]
        for _ in range(50):
            remaining = self.tail(bound)
            if remaining <= 0:
                return bound
            step = math.log(remaining / tail) * remaining / float(self._arriving(bound) @ masses)
            bound += step
            if abs(step) < 1e-7:
                break
        return max(bound, 0.0)

    def within(self, bound: float, next_fresh: float) -> "tuple[Array, Array]":
        """What is left between the bounds, at nodes close enough for a convolution with a normal of that standard deviation."""
        bound = min(bound, 9.0)
        needed = 12 + 2.2 * bound / min(self.fresh, next_fresh)
        nodes, weights = legendre(8 * math.ceil(needed / 8))
        return bound * nodes, bound * weights * self.density(bound * nodes)


def _followed(looks: Sequence[SpendingLook], alpha: float) -> tuple[tuple[float, ...], _Step]:
    """Boundaries, and z at the last look before its boundary is applied.

    Armitage, McPherson & Rowe (1969), JRSS A 132: the density of z on tests that go on is that of the look before, cut off at its
    boundary and convolved with what is new (Jennison & Turnbull 2000, chapter 19), here by Gauss-Legendre quadrature on the half-line,
    as all of it is symmetric. Looks before which next to nothing is spent cut next to nothing off: their bound is that of a test
    that looks once, which spends no more than it may.
    """
    information = _growing([look.information for look in looks])
    bounds: list[float] = []
    before, step = 0.0, _Step()
    for k, look in enumerate(looks):
        now = max(spent(look.fraction, alpha), before)
        allowed = now - before
        if allowed < 1e-300:
            bounds.append(_FARTHEST)
        elif step.left is None and now < _NEGLIGIBLE * alpha / 2:
            bounds.append(normal_quantile(allowed))
        else:
            bounds.append(step.bound(allowed))
        if k + 1 < len(looks) and now >= _NEGLIGIBLE * alpha / 2:
            root = math.sqrt(information[k] / information[k + 1])
            step = _Step(root, step.within(bounds[-1], math.sqrt(1 - root * root)))
        before = now
    return tuple(bounds), step


def _growing(information: Sequence[float]) -> list[float]:
    grown: list[float] = []
    for each in information:
        grown.append(max(each, 1.0, _LEAST_GROWTH * grown[-1] if grown else 0.0))
    return grown
