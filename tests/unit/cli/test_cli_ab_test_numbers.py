"""What `attune test` says of a metric: what it means for the decision, and its numbers in words."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ab_test_objects import mean, metric, running, shown
from attune.cli.ab_tests import words
from attune.views import ab_tests as views


def meaning(given: dict[str, Any], a: float | None, b: float | None, low: float, high: float, p: float | None) -> str:
    name = given["name"]
    arms = {key: {name: mean(value)} for key, value in (("metricsA", a), ("metricsB", b)) if value is not None}
    p_values = {} if p is None else {"pValues": {name: p}}
    return str(
        shown(running(given, **arms, intervals={name: {"low": low, "high": high}}, **p_values))["metrics"][0]["meaning"]
    )


@pytest.mark.parametrize(
    ("direction", "b", "p", "expected"),
    [
        ("increase", 0.35, 0.04, "better"),
        ("increase", 0.25, 0.04, "worse"),
        ("decrease", 0.25, 0.04, "better"),
        ("decrease", 0.35, 0.04, "worse"),
        ("increase", 0.35, 0.06, "open"),
        ("increase", 0.3, 0.04, "open"),
    ],
)
def test_a_primary_metric_is_called_by_its_corrected_p_value_and_the_good_direction(
    direction: str, b: float, p: float, expected: str
) -> None:
    assert meaning(metric("m", direction=direction), 0.3, b, -1, 1, p) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.01, 0.1, "better"), (-0.1, -0.01, "worse"), (-0.1, 0.1, "open")]
)
def test_without_a_p_value_its_interval_says_it(low: float, high: float, expected: str) -> None:
    assert meaning(metric("m"), 0.3, 0.3 + (low + high) / 2, low, high, None) == expected


@pytest.mark.parametrize(
    ("given", "a", "low", "high", "expected"),
    [
        (metric("m", "guardrail", nonInferiorityMargin=0.1), 0.5, -0.049, 0.2, "withinMargin"),
        (metric("m", "guardrail", nonInferiorityMargin=0.1), 0.5, -0.051, 0.2, "open"),
        (metric("m", "guardrail", nonInferiorityMargin=0.1), 0.5, -0.2, -0.049, "open"),
        (metric("m", "guardrail", nonInferiorityMargin=0.1), 0.5, -0.2, -0.051, "harmed"),
        (
            metric("latency", "guardrail", direction="decrease", nonInferiorityMargin=0.1),
            3.0,
            -0.1,
            0.095,
            "withinMargin",
        ),
        (metric("latency", "guardrail", direction="decrease", nonInferiorityMargin=0.1), 3.0, 0.096, 0.3, "harmed"),
        (
            metric("error", "guardrail", direction="decrease", nonInferiorityMargin=0.01),
            0.0,
            -0.1,
            0.0099,
            "withinMargin",
        ),
        (metric("error", "guardrail", direction="decrease", nonInferiorityMargin=0.01), 0.5, -0.1, 0.0051, "open"),
        (metric("m", "guardrail", nonInferiorityMargin=0.1), -2.0, -0.19, 0.0, "withinMargin"),
    ],
)
def test_a_guardrail_is_compared_with_its_margin_in_the_unit_of_the_metric(
    given: dict[str, Any], a: float, low: float, high: float, expected: str
) -> None:
    assert meaning(given, a, a + (low + high) / 2, low, high, None) == expected


def test_a_metric_without_values_in_an_arm_is_said_to_have_none() -> None:
    assert meaning(metric("m"), 0.3, None, -1, 1, 0.01) == "noValues"
    assert words.meaning(shown(running(metric("m")))["metrics"][0]) == "no values"


def test_margins_are_those_of_the_rule_that_decides() -> None:
    from attune.api import Metric
    from attune.decide.experiment.statistics.effect import ArmMean, Effect
    from attune.decide.experiment.verdict import margin

    for name, a in (("latency", 3.0), ("error", 0.02), ("clicks", 0.4), ("score", -1.5)):
        given = metric(name, "guardrail", direction="decrease", nonInferiorityMargin=0.07)
        effect = Effect(ArmMean(a, 0.1, 100), ArmMean(a, 0.1, 100), 98)
        ours = views.harmful_from(given, a)
        assert ours == pytest.approx(margin(Metric.model_validate(given), effect))


# ---- numbers in words


def row(given: dict[str, Any], a: dict[str, Any], b: dict[str, Any], low: float, high: float) -> dict[str, Any]:
    name = given["name"]
    status = {"metricsA": {name: a}, "metricsB": {name: b}, "intervals": {name: {"low": low, "high": high}}}
    found: dict[str, Any] = shown(running(given, **status))["metrics"][0]
    return found


def test_latency_is_shown_in_milliseconds_and_in_percent() -> None:
    found = row(
        metric("latency", direction="decrease"),
        mean(math.log(20), p99Milliseconds=58.24),
        mean(math.log(21)),
        math.log(0.98),
        math.log(1.12),
    )
    assert (words.arm(found, "a"), words.arm(found, "b")) == ("20.0 ms", "21.0 ms")
    assert words.tail(found, "a") == "p99 58.2"
    assert words.tail(found, "b") is None
    assert words.changes(found) == [("+5.0%", "(-2.0% to +12.0%)")]
    slow = row(metric("latency"), mean(math.log(20_000)), mean(math.log(20_000)), 0, 0)
    assert words.arm(slow, "a") == "20,000 ms"


def test_other_metrics_have_an_absolute_and_a_relative_change() -> None:
    found = row(metric("clicks"), mean(0.31), mean(0.323), -0.004, 0.03)
    assert (words.arm(found, "a"), words.arm(found, "b")) == ("0.310", "0.323")
    assert words.changes(found) == [("+0.013", "(-0.004 to +0.030)"), ("+4.2%", "(-1.3% to +9.7%)")]


def test_a_mean_that_is_about_zero_has_no_relative_change() -> None:
    found = row(metric("score"), mean(0.02, error=0.01), mean(0.05), -0.01, 0.07)
    assert words.changes(found) == [("+0.030", "(-0.010 to +0.070)")]
    negative = row(metric("score"), mean(-2.0), mean(-1.0), 0.5, 1.5)
    assert words.changes(negative)[1] == ("+50.0%", "(+25.0% to +75.0%)"), "a rise is a rise"


def test_errors_are_shares_of_the_requests_and_their_change_is_in_points() -> None:
    found = row(metric("error", direction="decrease"), mean(0.0008, error=0.001), mean(0.0031), -0.004, 0.0086)
    assert words.arm(found, "b") == "0.31%"
    assert words.changes(found) == [("+0.23 points", "(-0.40 to +0.86)")]


@pytest.mark.parametrize(
    ("p", "text"), [(None, "-"), (0.0004, "<0.001"), (0.034, "0.034"), (0.31, "0.31"), (1.0, "1.00")]
)
def test_p_values_are_as_long_as_they_need_to_be(p: float | None, text: str) -> None:
    assert words.p_value(p) == text


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 3.0, [0, 1, 2, 3]),
        (-0.03, 0.122, [0, 0.05, 0.1]),
        (0.0, 0.0, [0]),
        (-12.0, 25.0, [-10, 0, 10, 20]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert words.ticks_between(low, high) == pytest.approx(ticks)


def test_every_metric_has_the_level_of_its_own_interval() -> None:
    metrics = [metric("a"), metric("b", "success"), metric("c", "guardrail", nonInferiorityMargin=0.1)]
    levels = [m["level"] for m in shown(running(*metrics))["metrics"]]
    assert levels == pytest.approx([0.975, 0.975, 0.95])


def test_what_serving_measures_anyway_is_shown_and_not_tested() -> None:
    found = shown(running(metricsA={"latency": mean(3.0)}, metricsB={"latency": mean(3.1)}))["metrics"]
    assert [(m["name"], m["role"], m["meaning"]) for m in found] == [
        ("clicks", "primary", "noValues"),
        ("latency", "shown", "notTested"),
    ]
