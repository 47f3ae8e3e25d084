"""One look at a running A/B test: all numbers that go into its status, and into its verdict. Pure; called by `ab_test`."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from attune.api import ABTest, ArmMetric, Look, PlannedLook
from attune.contract.counting import ERROR, LATENCY
from attune.contract.metrics import Interval
from attune.decide.experiment.statistics.effect import ArmMean, Effect, effect_of, pooled
from attune.decide.experiment.statistics.methods import METHODS, Evidence, Measured, always_valid
from attune.decide.experiment.statistics.multiplicity import corrected
from attune.decide.experiment.statistics.sample_ratio import SampleRatio, sample_ratio
from attune.observation import Samples


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look showed. Metrics by name; an absent one has no values yet, or nothing can be said of it."""

    at: datetime
    samples_a: int
    samples_b: int
    """Distinct queries."""
    effects: Mapping[str, Effect]
    metrics_a: dict[str, ArmMetric]
    metrics_b: dict[str, ArmMetric]
    lowest_p_values: dict[str, float]
    """Of primary and success metrics: smallest of all looks since the difference last changed its sign, not corrected."""
    p_values: dict[str, float]
    """The same, corrected for the number of metrics."""
    intervals: dict[str, Interval]
    """Of B minus A, for reading: by the method at its last look, as the p-values are; before its first one valid at any time."""
    proven: dict[str, Interval]
    """By the method at this very look, of metrics with values enough: what a verdict may rest on. Empty where it does not look now."""
    harm: dict[str, Interval]
    """Of guardrails, valid at any time: a B that breaks something ends the test whatever the method."""
    sample_ratio: SampleRatio | None
    planned_looks: tuple[PlannedLook, ...]
    look: Look
    decides: bool
    """Whether this is a look of the method."""
    final: bool
    """Whether it is the method's only look, so that the test ends with it."""
    confidence: float | None = None

    @property
    def sample_ratio_p_value(self) -> float | None:
        return self.sample_ratio.p_value if self.sample_ratio else None


def look_at(samples: Samples, test: ABTest) -> Reading:
    """All numbers of one look, at the time `samples.at`. Raises nothing: what cannot be said is absent."""
    names = dict.fromkeys((*(m.name for m in test.spec.metrics), LATENCY, ERROR))
    effects = {name: effect for name in names if (effect := effect_of(samples, name)) is not None}
    measured = Measured(test, samples.at, samples.units_a, samples.units_b, effects)
    evidence = METHODS[test.spec.analysis.method](measured)
    lowest = _lowest(measured, evidence)
    p_values = corrected(lowest, len(measured.family), test.spec.analysis.correction)
    of_the_test = {m.name: effects[m.name] for m in test.spec.metrics if m.name in effects}
    now = {**always_valid(measured, of_the_test), **evidence.intervals}
    last = (test.status.intervals or {}) if evidence.planned_looks and not evidence.decides else {}
    guardrails = {n: e for n, e in measured.testable.items() if n not in measured.family}
    primary = next((m.name for m in test.spec.metrics if m.role == "primary"), "")
    return Reading(
        at=samples.at,
        samples_a=samples.units_a,
        samples_b=samples.units_b,
        effects=effects,
        metrics_a=_arm(samples, effects, names, "a"),
        metrics_b=_arm(samples, effects, names, "b"),
        lowest_p_values=lowest,
        p_values=p_values,
        intervals={**now, **last},
        proven=dict(evidence.intervals),
        harm=always_valid(measured, guardrails) if measured.enough else {},
        sample_ratio=sample_ratio(samples.strata),
        planned_looks=evidence.planned_looks,
        look=_look(samples, effects.get(primary), now.get(primary)),
        decides=evidence.decides,
        final=evidence.final,
        confidence=1 - p_values[primary] if primary in p_values else None,
    )


def _lowest(measured: Measured, evidence: Evidence) -> dict[str, float]:
    """The running minimum of each p-value. It begins anew when the difference changes its sign.

    A two-sided p-value says that there is a difference, not which; only so does a small one speak for the direction that is seen now.
    The sign at the last look is that of the means in status.
    """
    lowest: dict[str, float] = {}
    for name in measured.family:
        effect = measured.effects.get(name)
        before = (measured.test.status.lowest_p_values or {}).get(name)
        if before is not None and effect is not None and effect.difference * _last_difference(measured.test, name) <= 0:
            before = None
        known = [p for p in (before, evidence.p_values.get(name)) if p is not None]
        if known:
            lowest[name] = min(known)
    return lowest


def _last_difference(test: ABTest, name: str) -> float:
    a, b = (test.status.metrics_a or {}).get(name), (test.status.metrics_b or {}).get(name)
    return b.mean - a.mean if a is not None and b is not None else 0.0


def _arm(samples: Samples, effects: Mapping[str, Effect], names: Mapping[str, None], arm: str) -> dict[str, ArmMetric]:
    """Means as the difference is made of them; of a metric that cannot be compared yet, the mean of what there is."""
    arms, p99 = (
        ([s.a for s in samples.strata], samples.p99_a) if arm == "a" else ([s.b for s in samples.strata], samples.p99_b)
    )
    shown: dict[str, ArmMetric] = {}
    for name in names:
        effect, sums = effects.get(name), pooled(arms, name)
        if effect is None and sums.count == 0:
            continue
        mean: ArmMean | None = None if effect is None else effect.a if arm == "a" else effect.b
        shown[name] = ArmMetric(
            mean=mean.mean if mean else sums.total / sums.count,
            samples=mean.count if mean else sums.count,
            standard_error=mean.standard_error if mean else None,
            p99_milliseconds=1000 * p99 if name == LATENCY and p99 is not None else None,
        )
    return shown


def _look(samples: Samples, effect: Effect | None, interval: Interval | None) -> Look:
    return Look(
        at=samples.at,
        samples_a=samples.units_a,
        samples_b=samples.units_b,
        difference=effect.difference if effect else None,
        low=interval.low if interval else None,
        high=interval.high if interval else None,
    )
