"""One-line builders of A/B tests and of what was measured of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from attune.api import ABTest, ABTestStatus
from attune.decide.experiment.look import Reading
from attune.observation import ArmSamples, Samples, Stratum, Sums

START = datetime(2026, 3, 15, 12, tzinfo=UTC)
GUARDRAIL = {"name": "latency", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.1}
ERRORS = {"name": "error", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.01}
SUCCESS = {"name": "accepted", "role": "success"}


def sums_of(values: Iterable[float]) -> Sums:
    kept = [float(v) for v in values]
    return Sums(len(kept), math.fsum(kept), math.fsum(v * v for v in kept))


def spread(count: int, mean: float, sd: float) -> Sums:
    """As many values with this mean and this sample standard deviation."""
    return Sums(count, count * mean, (count - 1) * sd * sd + count * mean * mean)


def shares(count: int, ones: int) -> Sums:
    """Zeros and ones."""
    return Sums(count, float(ones), float(ones))


def milliseconds(count: int, typical: float, sd: float = 0.5) -> Sums:
    """Latencies with this geometric mean."""
    return spread(count, math.log(typical), sd)


def stratum(a: Sums, b: Sums, metric: str = "click", fraction: float = 0.5) -> Stratum:
    """One metric; every unit has a value of it."""
    return Stratum(fraction, ArmSamples(a.count, {metric: a}), ArmSamples(b.count, {metric: b}))


def measured(*strata: Stratum, hours: float = 24, **more: Any) -> Samples:
    """Samples so many hours after the start."""
    at = START + timedelta(hours=hours)
    return Samples(strata, at, at, **more)


def both(fraction: float = 0.2, units: tuple[int, int] = (4000, 1000), **metrics: tuple[Sums, Sums]) -> Stratum:
    """`both(click=(a, b), latency=(a, b))`."""
    a, b = ({name: pair[arm] for name, pair in metrics.items()} for arm in (0, 1))
    return Stratum(fraction, ArmSamples(units[0], a), ArmSamples(units[1], b))


def a_test(*others: dict[str, Any], status: dict[str, Any] | None = None, **spec: Any) -> ABTest:
    """A running test of `click`, with these metrics besides; minSamples 100, 168 hours."""
    return ABTest.model_validate(
        {
            "metadata": {"name": "news-v3", "namespace": "team", "uid": "5f1b2c3d-0000-4000-8000-000000000000"},
            "spec": {
                "retriever": "news",
                "modelB": "emb-v3",
                "metrics": [{"name": "click", "role": "primary"}, *others],
                **spec,
            },
            "status": {"phase": "Running", "modelA": "emb-v2", "startedAt": START, **(status or {})},
        }
    )


def after(reading: Reading, test: ABTest) -> ABTest:
    """The test with the status that this look leaves, written and read back."""
    status = test.status.model_copy(
        update={
            "metrics_a": reading.metrics_a,
            "metrics_b": reading.metrics_b,
            "p_values": reading.p_values,
            "lowest_p_values": reading.lowest_p_values,
            "intervals": reading.intervals,
            "planned_looks": reading.planned_looks or None,
        }
    )
    return test.model_copy(update={"status": ABTestStatus.from_json(status.to_json())})
