"""What is stored of a look, as short as it may be: six digits of a number, some hundred characters of a sentence. Pure; used by `ab_test`.

An object stays under 10 kB, with ten metrics and all its lists full.
"""

from collections.abc import Mapping

from attune.api import ArmMetric, Look
from attune.contract.metrics import Interval

SENTENCE = 480


def number(value: float) -> float:
    """Six significant digits."""
    return float(f"{value:.6g}")


def numbers(values: Mapping[str, float]) -> dict[str, float] | None:
    return {name: number(value) for name, value in values.items()} or None


def arm(metrics: Mapping[str, ArmMetric]) -> dict[str, ArmMetric] | None:
    return {name: metric.model_copy(update=_floats(metric)) for name, metric in metrics.items()} or None


def intervals(found: Mapping[str, Interval]) -> dict[str, Interval] | None:
    return {name: one.model_copy(update=_floats(one)) for name, one in found.items()} or None


def look(found: Look) -> Look:
    return found.model_copy(update=_floats(found))


def sentence(text: str) -> str:
    return text if len(text) <= SENTENCE else text[: SENTENCE - 1] + "…"


def _floats(thing: ArmMetric | Interval | Look) -> dict[str, float]:
    return {name: number(value) for name, value in thing if isinstance(value, float)}
