"""Method `fixedHorizon`: Welch's t-test, at one look that was fixed before the test. Called by `decide.look`."""

import math

from attune.decide.experiment.statistics.distributions import normal_quantile, t_quantile, t_tail
from attune.decide.experiment.statistics.effect import Effect

_SMALLEST = 1e-300


def p_value(effect: Effect) -> float:
    """Two-sided p-value of "no difference": Welch (1947), Biometrika 34. ZeroDivisionError without spread."""
    return min(1.0, 2 * t_tail(abs(effect.z), effect.degrees_of_freedom))


def half_width(effect: Effect, alpha: float) -> float:
    """Half the width of the confidence interval of the difference at level 1 - `alpha`; in the metric's unit."""
    return t_quantile(alpha / 2, effect.degrees_of_freedom) * effect.standard_error


def score(effect: Effect) -> float:
    """The standard normal score whose p-value is that of the t-test, with the sign of the difference."""
    tail = t_tail(abs(effect.z), effect.degrees_of_freedom)
    return math.copysign(normal_quantile(min(max(tail, _SMALLEST), 0.5)), effect.difference)
