"""`attune test plan`: how many distinct queries a test needs, and how many days the Retriever's traffic takes for them. Pure.

What is asked comes in the words of a metric (`Goal`); statistics think in standard deviations. Called by `commands`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from attune.cli.ab_tests.traffic import Found
from attune.cli.session import Problem
from attune.decide.experiment.statistics.multiplicity import interval_alpha
from attune.decide.experiment.statistics.planning import (
    Design,
    Plan,
    by_confidence_sequence,
    by_groups,
    fixed_horizon,
    sd_of_share,
)
from attune.views.retrievers import View

EVEN = 0.5
DEFAULT_DAYS, LONGEST_DAYS = 7.0, 90.0
"""maxDuration of an ABTest that does not say, and the longest that one may have."""
METHODS: Mapping[str, Callable[[Design], Plan]] = {
    "sequential": by_confidence_sequence,
    "groupSequential": by_groups,
    "fixedHorizon": fixed_horizon,
}


@dataclass(frozen=True, slots=True)
class Goal:
    """The smallest effect that is to be found, in the words of a metric."""

    effect: float
    metric_sd: float | None = None
    baseline: float | None = None
    relative: bool = False

    @property
    def target(self) -> float | None:
        """Rate of B, where `baseline` is the rate of A."""
        if self.baseline is None:
            return None
        return self.baseline * (1 + self.effect) if self.relative else self.baseline + self.effect

    @property
    def deviations(self) -> float:
        """The effect in standard deviations of the metric. Raises Problem for what makes no sense together."""
        self._check()
        if self.baseline is None:
            return abs(self.effect) / (self.metric_sd or 1.0)
        assert self.target is not None
        middle = (self.baseline + self.target) / 2
        return abs(self.target - self.baseline) / sd_of_share(middle)

    def _check(self) -> None:
        if self.effect == 0 or not math.isfinite(self.effect):
            raise Problem(f"--effect {self.effect:g} is no effect; give the smallest one that matters, such as 0.05")
        if self.baseline is not None and self.metric_sd is not None:
            raise Problem("--baseline is a rate, whose standard deviation follows from it; leave --metric-sd out")
        if self.relative and self.baseline is None:
            raise Problem("--relative is a share of the rate of A: give that with --baseline")
        if self.target is not None and not 0 < self.target < 1:
            how = "--relative" if self.relative else "points"
            raise Problem(
                f"--effect {self.effect:g} ({how}) on --baseline {self.baseline:g} is a rate of {self.target:g}; rates are between 0 and 1"
            )


# ---- the plan


@dataclass(frozen=True, slots=True)
class Asked:
    """A goal, and how the test is to be decided. `metrics`: primary and success metrics, which share alpha."""

    goal: Goal
    method: str = "sequential"
    split: float = 0.2
    alpha: float = 0.05
    power: float = 0.8
    metrics: int = 1

    def needed(self, split: float) -> Plan:
        """Distinct queries of each arm. Raises Problem for values that make no sense."""
        try:
            each = interval_alpha(self.alpha, self.metrics)
            return METHODS[self.method](Design(self.goal.deviations, split, each, self.power))
        except ValueError as error:
            raise Problem(f"such a test cannot be planned: {error}") from error

    def check(self) -> None:
        """Before anybody is asked anything."""
        self.needed(self.split)


def plan_view(asked: Asked, found: Found) -> View:
    """Queries and days for this goal; `evenly`: the same if both arms got half of the queries."""
    goal = asked.goal
    return {
        "goal": {
            "effect": goal.effect,
            "metricSd": goal.metric_sd,
            "baseline": goal.baseline,
            "target": goal.target,
            "deviations": goal.deviations,
        },
        "method": asked.method,
        "split": asked.split,
        "alpha": asked.alpha,
        "metrics": asked.metrics,
        "power": asked.power,
        **_needed(asked.needed(asked.split), found),
        "evenly": None if asked.split == EVEN else _needed(asked.needed(EVEN), found),
        "traffic": found.view(),
    }


def _needed(plan: Plan, found: Found) -> View:
    samples = {"a": plan.queries_a, "b": plan.queries_b, "total": plan.total}
    return {"samples": samples, "days": found.days(plan.total)}


def max_duration(days: View | None) -> str | None:
    """What to do about spec.maxDuration where the default is too short; None where it is not, or nobody can say."""
    most = days and (days["most"] or days["likely"] or days["fewest"])
    if not most or most <= DEFAULT_DAYS:
        return None
    if most > LONGEST_DAYS:
        return f"even the longest maxDuration, {24 * LONGEST_DAYS:.0f}h, may be too short: look for a larger --effect"
    return f"set maxDuration: {math.ceil(most) * 24}h; the default of 168h is too short"
