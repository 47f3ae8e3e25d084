"""Who won an A/B test, or why nobody has yet: a list of rules, the first that answers decides. Pure; called by `ab_test`."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from attune.api import ABTest, Metric, Winner
from attune.contract.counting import ERROR, LATENCY
from attune.contract.metrics import Interval
from attune.decide.experiment import recommendation as words
from attune.decide.experiment.look import Reading
from attune.decide.experiment.statistics.effect import Effect
from attune.decide.experiment.statistics.methods import planned_count
from attune.decide.experiment.statistics.multiplicity import interval_alpha
from attune.decide.experiment.statistics.sample_ratio import MISMATCH
from attune.decide.gates import Problem


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome, None while the test goes on; why, in one CamelCase word and in a sentence; and what to do, in a sentence."""

    winner: Winner | None
    reason: str
    message: str
    recommendation: str
    sample_ratio_mismatch: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """What the rules look at."""

    reading: Reading
    test: ABTest
    last: bool

    @property
    def primary(self) -> Metric:
        return next(m for m in self.test.spec.metrics if m.role == "primary")

    @property
    def success(self) -> tuple[Metric, ...]:
        return tuple(m for m in self.test.spec.metrics if m.role == "success")

    @property
    def guardrails(self) -> tuple[Metric, ...]:
        return tuple(m for m in self.test.spec.metrics if m.role == "guardrail")

    @property
    def alpha(self) -> float:
        return self.test.spec.analysis.alpha

    @property
    def mismatch(self) -> bool:
        return self.reading.sample_ratio is not None and self.reading.sample_ratio.is_mismatch

    def level(self, metric: Metric) -> float:
        """Of the metric's interval."""
        return 1 - (self.alpha if metric.role == "guardrail" else interval_alpha(self.alpha, 1 + len(self.success)))

    def significant(self, metric: Metric) -> bool:
        """Whether a difference is shown at alpha, corrected, by a look of the method."""
        p = self.reading.p_values.get(metric.name)
        return self.reading.decides and p is not None and p <= self.alpha and metric.name in self.reading.effects

    def better(self, metric: Metric) -> bool:
        return self.significant(metric) and _worsening(metric, self.reading.effects[metric.name].difference) < 0

    def worse(self, metric: Metric) -> bool:
        return self.significant(metric) and _worsening(metric, self.reading.effects[metric.name].difference) > 0


def verdict(reading: Reading, test: ABTest, *, last: bool) -> Verdict:
    """The outcome of a test at one look. `last`: maxDuration is over, so that a test that shows nothing ends as inconclusive."""
    case = Case(reading, test, last or reading.final)
    return next(found for rule in RULES if (found := rule(case)) is not None)


# ---- the rules


def too_few_samples(case: Case) -> Verdict | None:
    reading, least = case.reading, case.test.spec.min_samples
    if min(reading.samples_a, reading.samples_b) >= least:
        return None
    a, b = words.names(case.test)
    counts = (
        f"{reading.samples_a:,} distinct queries of {a} and {reading.samples_b:,} of {b}; {least:,} of each are needed"
    )
    if not case.last:
        return Verdict(None, "WaitingForSamples", f"{counts} (minSamples)", f"Wait: {counts}.")
    advice = "test again for longer (maxDuration), or with a larger trafficSplit"
    message = f"inconclusive: {counts} (minSamples)"
    return Verdict(Winner.INCONCLUSIVE, "TooFewSamples", message, f"Keep {a}: {counts}; {advice}.")


def sample_ratio_mismatch(case: Case) -> Verdict | None:
    """Such numbers promote nothing. Harm may be real all the same: then B goes, which is the safe side."""
    ratio = case.reading.sample_ratio
    if ratio is None or not case.mismatch:
        return None
    a, b = words.names(case.test)
    message = (
        f"{b} got {ratio.found:,} of {ratio.total:,} distinct queries, {ratio.expected:,.0f} were expected (sample-ratio "
        f"{words.probability(ratio.p_value)} < {MISMATCH:g}): the counts are not to be trusted. Look for a replica whose counts are "
        "missing or not scraped, a client that retries or caches by version, or a version that fails before it counts"
    )
    if (harmed := guardrail_harmed(case)) is not None:
        also = f"{harmed.message}. Besides, {message}"
        return Verdict(harmed.winner, harmed.reason, also, harmed.recommendation, sample_ratio_mismatch=True)
    if case.last:
        advice = f"Keep {a}: the arms did not get the queries that they should; find out why, and test again."
        return Verdict(Winner.INCONCLUSIVE, "SampleRatioMismatch", f"inconclusive: {message}", advice, True)
    return Verdict(None, "SampleRatioMismatch", message, f"Wait, and find out why: {message}.", True)


def guardrail_harmed(case: Case) -> Verdict | None:
    """All of the interval lies beyond the margin."""
    a, b = words.names(case.test)
    for metric in case.guardrails:
        effect = case.reading.effects.get(metric.name)
        for interval in (case.reading.harm.get(metric.name), case.reading.proven.get(metric.name)):
            if effect is not None and interval is not None and _best(metric, interval) > margin(metric, effect):
                told = (
                    f"{words.compared(metric.name, effect)}, {_change(case, metric, interval)} on {effect.count:,} queries, "
                    f"not {words.allowed(metric, margin(metric, effect))}"
                )
                message, advice = f"{b} harms a guardrail: {told}", f"Keep {a}: with {b}, {told}."
                return Verdict(Winner.A, "GuardrailHarmed", message, advice)
    return None


def primary_better(case: Case) -> Verdict | None:
    """The primary metric is better, and nothing stands against B."""
    if any(hurdle(case) is not None for hurdle in HURDLES):
        return None
    _, b = words.names(case.test)
    passed = [_passed(case, metric) for metric in case.guardrails]
    told = "; ".join((_shown(case, case.primary), *passed))
    message = f"{b} is better: {_tested(case, case.primary)}" + "".join(f"; {p}" for p in passed)
    return Verdict(Winner.B, "Better", message, f"Promote {b}: {told}.")


def primary_worse(case: Case) -> Verdict | None:
    if not case.worse(case.primary):
        return None
    a, b = words.names(case.test)
    message = f"{b} is worse: {_tested(case, case.primary)}"
    return Verdict(Winner.A, "Worse", message, f"Keep {a}: with {b}, {_shown(case, case.primary)}.")


def time_is_over(case: Case) -> Verdict | None:
    if not case.last:
        return None
    problem = _hurdle(case)
    a, b = words.names(case.test)
    reason = "Inconclusive" if problem.reason == "Running" else problem.reason
    advice = f"Keep {a}: {NOT_SHOWN.get(problem.reason, NOT_SHOWN['Running']).format(b)}: {problem.message}."
    return Verdict(Winner.INCONCLUSIVE, reason, f"inconclusive: {problem.message}", advice)


def goes_on(case: Case) -> Verdict | None:
    problem = _hurdle(case)
    return Verdict(None, problem.reason, problem.message, f"Wait: {problem.message}.")


RULES: tuple[Callable[[Case], Verdict | None], ...] = (
    too_few_samples,
    sample_ratio_mismatch,
    guardrail_harmed,
    primary_better,
    primary_worse,
    time_is_over,
    goes_on,
)


# ---- what stands between B and winning


def no_values(case: Case) -> Problem | None:
    """Of the primary metric: without values, nothing is decided."""
    name = case.primary.name
    if name in case.reading.proven or not case.reading.decides:
        return None
    return Problem("NoValues", _missing(case, name))


def not_better(case: Case) -> Problem | None:
    if case.better(case.primary):
        return None
    if not case.reading.decides:
        return Problem("Running", f"{_shown(case, case.primary)}; {_next_look(case)}")
    return Problem(
        "Running",
        f"{_tested(case, case.primary)}, not yet a difference" if not case.last else _tested(case, case.primary),
    )


def contradicted(case: Case) -> Problem | None:
    for metric in case.success:
        if case.worse(metric):
            return Problem("Contradicted", f"{_tested(case, case.primary)}, but {_tested(case, metric)}")
    return None


def guardrail_open(case: Case) -> Problem | None:
    """Not yet shown to be within its margin."""
    for metric in case.guardrails:
        effect, interval = case.reading.effects.get(metric.name), case.reading.proven.get(metric.name)
        if effect is None or interval is None:
            return Problem("GuardrailOpen", f"{_tested(case, case.primary)}, but {_missing(case, metric.name)}")
        if not _worst(metric, interval) < margin(metric, effect):
            told = f"{words.compared(metric.name, effect)}, {_change(case, metric, interval)}"
            still = f"is not shown to be {words.allowed(metric, margin(metric, effect))}"
            return Problem("GuardrailOpen", f"{_tested(case, case.primary)}, but {told}, {still}")
    return None


NOT_SHOWN = {
    "Running": "it was not shown that {} is better",
    "Contradicted": "the metrics of {} contradict each other",
    "GuardrailOpen": "it was not shown that {} harms nothing",
}
"""What a test lacks that ends without a winner, by the reason of its hurdle."""

HURDLES: tuple[Callable[[Case], Problem | None], ...] = (no_values, not_better, contradicted, guardrail_open)


def _hurdle(case: Case) -> Problem:
    return next(problem for hurdle in HURDLES if (problem := hurdle(case)) is not None)


# ---- margins


def margin(metric: Metric, effect: Effect) -> float:
    """How much worse B may be, in the metric's unit: a share of A's mean.

    latency is a logarithm, so the share is ln(1 + margin); of an error rate of 0 every share is 0, so it is a share of A's successes.
    """
    share = metric.non_inferiority_margin or 0.0
    if metric.name == LATENCY:
        return math.log1p(share)
    if metric.name == ERROR:
        return share * (1 - effect.a.mean)
    return share * abs(effect.a.mean)


def _worsening(metric: Metric, difference: float) -> float:
    """Positive: B is worse."""
    return difference if metric.direction == "decrease" else -difference


def _best(metric: Metric, interval: Interval) -> float:
    """The least worsening in the interval."""
    return interval.low if metric.direction == "decrease" else -interval.high


def _worst(metric: Metric, interval: Interval) -> float:
    """The largest worsening in the interval."""
    return interval.high if metric.direction == "decrease" else -interval.low


# ---- words


def _change(case: Case, metric: Metric, interval: Interval | None) -> str:
    return words.change(metric.name, case.reading.effects[metric.name], interval, case.level(metric))


def _shown(case: Case, metric: Metric) -> str:
    """`clickThrough +4.1% (95% CI +1.2% to +7.0%) on 1,312 queries`."""
    effect = case.reading.effects.get(metric.name)
    if effect is None:
        return _missing(case, metric.name)
    interval = case.reading.proven.get(metric.name) or case.reading.intervals.get(metric.name)
    return f"{metric.name} {_change(case, metric, interval)} on {effect.count:,} queries"


def _tested(case: Case, metric: Metric) -> str:
    """The same with the p-value, as far as there is one, against alpha."""
    p = case.reading.p_values.get(metric.name)
    if p is None:
        return _shown(case, metric)
    sign = "<=" if p <= case.alpha else ">"
    return f"{_shown(case, metric)}, {words.probability(p)} {sign} {case.alpha:g} (alpha)"


def _passed(case: Case, metric: Metric) -> str:
    """`latency 21.0 ms, within 10% of 20.0 ms`."""
    effect = case.reading.effects[metric.name]
    if metric.name == ERROR:
        return f"{words.compared(metric.name, effect)}, {words.allowed(metric, margin(metric, effect))}"
    b, a = words.value(metric.name, effect.b.mean), words.value(metric.name, effect.a.mean)
    return f"{metric.name} {b}, {words.allowed(metric, margin(metric, effect))} of {a}{words.p99(metric.name, case.reading)}"


def _missing(case: Case, name: str) -> str:
    a, b = case.reading.metrics_a.get(name), case.reading.metrics_b.get(name)
    counts = f"{a.samples if a else 0:,} and {b.samples if b else 0:,} values (A and B)"
    if name in case.reading.effects:
        return f"{name} has the same value everywhere ({counts}), which cannot be tested"
    return f"{name} has {counts}, too few to compare"


def _next_look(case: Case) -> str:
    analysis = case.test.spec.analysis
    if analysis.method == "groupSequential":
        return f"the next of {planned_count(case.test)} planned looks decides ({len(case.reading.planned_looks)} taken)"
    at = f"as soon as both arms have {analysis.samples:,} distinct queries, or " if analysis.samples else ""
    return f"fixedHorizon looks once, {at}when maxDuration ({case.test.spec.max_duration}) is over"
