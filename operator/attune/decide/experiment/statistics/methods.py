"""What the test's method says at one look: p-values and intervals, or that it does not look now. Called by `decide.look`."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from attune.api import MOST_LOOKS, ABTest, PlannedLook, parse_duration
from attune.contract.metrics import Interval
from attune.decide.experiment.statistics import fixed_horizon, sequential
from attune.decide.experiment.statistics.distributions import normal_tail
from attune.decide.experiment.statistics.effect import Effect
from attune.decide.experiment.statistics.group_sequential import SpendingLook, boundaries, repeated_p_value
from attune.decide.experiment.statistics.multiplicity import interval_alpha


@dataclass(frozen=True, slots=True)
class Measured:
    """A test and what was measured of it by the time of a look."""

    test: ABTest
    at: datetime
    units_a: int
    units_b: int
    effects: Mapping[str, Effect]

    @property
    def alpha(self) -> float:
        return self.test.spec.analysis.alpha

    @property
    def family(self) -> tuple[str, ...]:
        """The metrics that share alpha: primary and success."""
        return tuple(m.name for m in self.test.spec.metrics if m.role != "guardrail")

    @property
    def enough(self) -> bool:
        """Whether both arms have minSamples distinct queries."""
        return min(self.units_a, self.units_b) >= self.test.spec.min_samples

    @property
    def testable(self) -> dict[str, Effect]:
        """Metrics of the test that have two values of each arm, and spread."""
        return {
            m.name: effect
            for m in self.test.spec.metrics
            if (effect := self.effects.get(m.name)) is not None and effect.standard_error > 0
        }

    def elapsed(self, at: datetime) -> float:
        """Share of maxDuration that was over at a time, 0 to 1; in whole seconds, as status keeps times."""
        if self.test.status.started_at is None:
            return 0.0
        started = self.test.status.started_at.replace(microsecond=0)
        whole = int(parse_duration(self.test.spec.max_duration).total_seconds())
        return min(1.0, max(0.0, (at.replace(microsecond=0) - started).total_seconds() / whole))

    def alpha_of(self, metric: str) -> float:
        """1 minus the level of the metric's interval: guardrails do not share alpha."""
        return interval_alpha(self.alpha, len(self.family)) if metric in self.family else self.alpha


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a method says at this look. `decides` is false where it does not look now; `final` is true where it never looks again."""

    decides: bool = False
    final: bool = False
    p_values: Mapping[str, float] = field(default_factory=dict)
    """Of the family, not corrected."""
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    planned_looks: tuple[PlannedLook, ...] = ()


def always_valid(measured: Measured, effects: Mapping[str, Effect]) -> dict[str, Interval]:
    """Sequential intervals of these effects: they hold at every look, whatever the test's method."""
    r2 = sequential.mixture(measured.alpha)
    spread = {name: effect for name, effect in effects.items() if effect.standard_error > 0}
    return _around(spread, lambda name, effect: sequential.half_width(effect, measured.alpha_of(name), r2))


def by_confidence_sequence(measured: Measured) -> Evidence:
    """`sequential`: every look counts once both arms have minSamples."""
    if not measured.enough:
        return Evidence()
    r2 = sequential.mixture(measured.alpha)
    testable = measured.testable
    return Evidence(
        decides=True,
        p_values={n: sequential.p_value(e, r2) for n, e in testable.items() if n in measured.family},
        intervals=always_valid(measured, testable),
    )


def by_spending(measured: Measured) -> Evidence:
    """`groupSequential`: a look counts when one of the planned times has passed since the last that was taken.

    Boundaries are those of normal scores; a Welch t is turned into the score with the same p-value, and back (the significance level
    approach, Jennison & Turnbull 2000, chapter 3), which matters where a metric has few values.
    """
    taken = measured.test.status.planned_looks or ()
    if not measured.enough or not _is_due(measured, taken):
        return Evidence(planned_looks=taken)
    planned = (*taken, PlannedLook(at=measured.at, samples=measured.units_a + measured.units_b))
    looks = [SpendingLook(measured.elapsed(look.at), look.samples) for look in planned]
    testable = measured.testable
    bounds = {alpha: boundaries(looks, alpha)[-1] for alpha in {measured.alpha_of(name) for name in testable}}

    def half_width(name: str, effect: Effect) -> float:
        return fixed_horizon.half_width(effect, 2 * normal_tail(bounds[measured.alpha_of(name)]))

    return Evidence(
        decides=True,
        p_values={
            n: repeated_p_value(fixed_horizon.score(e), looks) for n, e in testable.items() if n in measured.family
        },
        intervals=_around(testable, half_width),
        planned_looks=planned,
    )


def by_t_test(measured: Measured) -> Evidence:
    """`fixedHorizon`: one look, at maxDuration, or as soon as both arms have `analysis.samples`."""
    samples = measured.test.spec.analysis.samples
    reached = samples is not None and min(measured.units_a, measured.units_b) >= samples
    if not measured.enough or not (reached or measured.elapsed(measured.at) >= 1):
        return Evidence()
    testable = measured.testable
    return Evidence(
        decides=True,
        final=True,
        p_values={n: fixed_horizon.p_value(e) for n, e in testable.items() if n in measured.family},
        intervals=_around(testable, lambda n, e: fixed_horizon.half_width(e, measured.alpha_of(n))),
    )


METHODS: Mapping[str, Callable[[Measured], Evidence]] = {
    "sequential": by_confidence_sequence,
    "groupSequential": by_spending,
    "fixedHorizon": by_t_test,
}


def planned_count(test: ABTest) -> int:
    """How many looks `groupSequential` plans, equally spaced up to maxDuration: 20, or as many as the interval allows."""
    allowed = parse_duration(test.spec.max_duration) // parse_duration(test.spec.analysis.interval)
    return max(1, min(MOST_LOOKS, allowed))


def _is_due(measured: Measured, taken: tuple[PlannedLook, ...]) -> bool:
    """A planned time has passed; and there is something new to see, unless it is the last one."""
    elapsed, count = measured.elapsed(measured.at), planned_count(measured.test)
    passed = int(count * elapsed + 1e-9)
    if not taken:
        return passed >= 1
    if passed <= int(count * measured.elapsed(taken[-1].at) + 1e-9):
        return False
    return elapsed >= 1 or measured.units_a + measured.units_b >= 1.01 * taken[-1].samples


def _around(effects: Mapping[str, Effect], half_width: Callable[[str, Effect], float]) -> dict[str, Interval]:
    """Interval by metric; none where it would be endless, as it is with two values far before the end."""
    widths = {name: half_width(name, effect) for name, effect in effects.items()}
    return {
        name: Interval(low=effects[name].difference - width, high=effects[name].difference + width)
        for name, width in widths.items()
        if math.isfinite(width)
    }
