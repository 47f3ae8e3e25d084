"""The words of a verdict: metrics, differences and margins with their numbers. Pure; called by `verdict`."""

import math
from collections.abc import Callable

from attune.api import ABTest, ArmMetric, Metric
from attune.contract.counting import ERROR, LATENCY
from attune.contract.metrics import Interval
from attune.decide.experiment.look import Reading
from attune.decide.experiment.statistics.effect import Effect

_FAR_FROM_ZERO = 3.0
"""A's mean must be so many standard errors away from 0 before a difference is told as a share of it."""


def value(metric: str, mean: float) -> str:
    """`21.4 ms` (the geometric mean), `0.52%`, or the number."""
    if metric == LATENCY:
        milliseconds = math.exp(mean)
        return f"{milliseconds:.1f} ms" if milliseconds < 1000 else f"{milliseconds:,.0f} ms"
    return f"{100 * mean:.2f}%" if metric == ERROR else f"{mean:.4g}"


def change(metric: str, effect: Effect, interval: Interval | None, level: float) -> str:
    """`+4.1% (95% CI +1.2% to +7.0%)`: relative to A's mean; where that is almost 0, and for error, in the metric's unit."""
    told = _scale(metric, effect)
    if interval is None:
        return told(effect.difference)
    return f"{told(effect.difference)} ({100 * level:.3g}% CI {told(interval.low)} to {told(interval.high)})"


def compared(metric: str, effect: Effect) -> str:
    """`latency 21.4 ms against 20.0 ms`: B first."""
    return f"{metric} {value(metric, effect.b.mean)} against {value(metric, effect.a.mean)}"


def allowed(metric: Metric, margin: float) -> str:
    """The margin of a guardrail: `within 10%`; for error, which tells its differences in points, `within +1.00 points`."""
    if metric.name == ERROR:
        return f"within {100 * margin:+.2f} points"
    return f"within {100 * (metric.non_inferiority_margin or 0):.3g}%"


def p99(metric: str, reading: Reading) -> str:
    """` (p99 48 ms against 45 ms)` behind a latency; empty if it is not known."""
    b, a = (_p99(arms.get(LATENCY)) for arms in (reading.metrics_b, reading.metrics_a))
    return f" (p99 {b} against {a})" if metric == LATENCY and a and b else ""


def probability(p: float) -> str:
    """`p 0.0031`, `p < 0.0001`."""
    return f"p {p:.2g}" if p >= 0.0001 else "p < 0.0001"


def names(test: ABTest) -> tuple[str, str]:
    """The versions: A, B."""
    return test.status.model_a or test.spec.model_a or "A", test.spec.model_b


def _p99(arm: ArmMetric | None) -> str | None:
    return f"{arm.p99_milliseconds:,.0f} ms" if arm is not None and arm.p99_milliseconds is not None else None


def _scale(metric: str, effect: Effect) -> Callable[[float], str]:
    """How a difference of this metric is told."""
    mean = abs(effect.a.mean)
    if metric == LATENCY:
        return lambda difference: f"{100 * math.expm1(difference):+.1f}%"
    if metric == ERROR:
        return lambda difference: f"{100 * difference:+.2f} points"
    if mean > _FAR_FROM_ZERO * effect.a.standard_error:
        return lambda difference: f"{100 * difference / mean:+.1f}%"
    return lambda difference: f"{difference:+.3g}"
