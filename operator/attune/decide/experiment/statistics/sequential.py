"""Method `sequential`: intervals and p-values that hold at every look, however often one looks. Called by `decide.look`."""

import math

from attune.decide.experiment.statistics.effect import Effect

TUNED_FOR = 5000
"""N*: the number of values of both arms at which the interval is to be narrowest."""


def mixture(alpha: float, tuned_for: int = TUNED_FOR) -> float:
    """r² of the mixing normal, so that the interval at level 1 - `alpha` is (almost) as narrow as can be at `tuned_for` values.

    Waudby-Smith, Arbour, Sinha, Kennedy & Ramdas, Time-uniform central limit theory and asymptotic confidence sequences
    (arXiv 2103.06476), appendix on the choice of ρ: r² = (-2 ln α + ln(-2 ln α + 1)) / N*. One test has one r², whatever level its
    intervals are at, so that p <= α holds exactly when the interval at level 1 - α excludes 0.
    """
    doubled = -2 * math.log(alpha)
    return (doubled + math.log(doubled + 1)) / tuned_for


def half_width(effect: Effect, alpha: float, r2: float) -> float:
    """Half the width of the asymptotic confidence sequence of the difference at level 1 - `alpha`; in the metric's unit.

    arXiv 2103.06476, theorem 2.2, with σ = se·√N for the standard deviation and N for the time:

        se·√N · √(2(N r² + 1) / (N² r²) · ln(√(N r² + 1) / α))

    Proposition 2.5 there has it for values whose variance changes, as it does when the split is raised.
    """
    time = effect.count * r2
    return effect.standard_error * math.sqrt(2 * (time + 1) / time * math.log(math.sqrt(time + 1) / alpha))


def p_value(effect: Effect, r2: float) -> float:
    """Always-valid two-sided p-value of "no difference": the alpha at which `half_width` is just the difference, at most 1.

    One over the e-value of Robbins' normal mixture: √(N r² + 1) · exp(-z²/2 · N r² / (N r² + 1)). ZeroDivisionError without spread.
    """
    time = effect.count * r2
    return math.exp(min(0.0, 0.5 * math.log(time + 1) - 0.5 * effect.z**2 * time / (time + 1)))
