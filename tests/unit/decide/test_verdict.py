"""Every rule of the verdict, as a table of what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from attune.api import ABTest, Winner
from attune.decide.experiment.look import look_at
from attune.decide.experiment.verdict import Verdict, margin, verdict
from attune.observation import Samples
from measured import (
    ERRORS,
    GUARDRAIL,
    SUCCESS,
    a_test,
    after,
    both,
    measured,
    milliseconds,
    shares,
    spread,
    stratum,
)

N, M = 8000, 2000
BETTER = (spread(N, 0.30, 0.4), spread(M, 0.36, 0.4))
SAME = (spread(N, 0.30, 0.4), spread(M, 0.301, 0.4))
WORSE = (spread(N, 0.30, 0.4), spread(M, 0.24, 0.4))
FAST = (milliseconds(N, 20), milliseconds(M, 20.2))
SLOWER = (milliseconds(N, 20), milliseconds(M, 21.7))
SLOW = (milliseconds(N, 20), milliseconds(M, 31))
NOTHING = (spread(0, 0, 0), spread(0, 0, 0))
FULL = a_test(SUCCESS, GUARDRAIL)


def judged(
    test: ABTest, hours: float = 24, units: tuple[int, int] = (N, M), last: bool = False, **metrics: Any
) -> Verdict:
    samples = measured(both(units=units, **metrics), hours=hours)
    return verdict(look_at(samples, test), test, last=last)


@pytest.mark.parametrize(
    ("test", "metrics", "winner", "reason", "words"),
    [
        (a_test(), {"click": BETTER}, "B", "Better", "emb-v3 is better: click +20.0% (95% CI +"),
        (a_test(), {"click": WORSE}, "A", "Worse", "emb-v3 is worse: click -20.0%"),
        (a_test(), {"click": SAME}, None, "Running", "> 0.05 (alpha), not yet a difference"),
        (a_test(), {"click": NOTHING}, None, "NoValues", "click has 0 and 0 values (A and B)"),
        (a_test(), {"click": (spread(N, 1, 0), spread(M, 1.5, 0))}, None, "NoValues", "the same value everywhere"),
        (
            FULL,
            {"click": BETTER, "accepted": SAME, "latency": FAST},
            "B",
            "Better",
            "latency 20.2 ms, within 10% of 20.0 ms",
        ),
        (FULL, {"click": BETTER, "latency": FAST}, "B", "Better", "(97.5% CI"),
        (FULL, {"click": BETTER, "accepted": WORSE, "latency": FAST}, None, "Contradicted", "but accepted -20.0%"),
        (FULL, {"click": BETTER, "latency": SLOWER}, None, "GuardrailOpen", "is not shown to be within 10%"),
        (FULL, {"click": BETTER}, None, "GuardrailOpen", "but latency has 0 and 0 values"),
        (FULL, {"click": SAME, "accepted": BETTER, "latency": FAST}, None, "Running", "click +0.3%"),
        (FULL, {"click": WORSE, "latency": FAST}, "A", "Worse", "click -20.0%"),
        (FULL, {"click": BETTER, "latency": SLOW}, "A", "GuardrailHarmed", "31.0 ms against 20.0 ms, +55.0% (95% CI +"),
        (FULL, {"latency": SLOW}, "A", "GuardrailHarmed", "not within 10%"),
    ],
)
def test_a_running_test(test: ABTest, metrics: Any, winner: str | None, reason: str, words: str) -> None:
    found = judged(test, **metrics)
    assert (found.winner, found.reason) == (winner and Winner(winner), reason)
    assert words in found.message
    assert found.recommendation.startswith({"A": "Keep emb-v2: ", "B": "Promote emb-v3: ", None: "Wait: "}[winner])
    assert found.recommendation.endswith(".")


@pytest.mark.parametrize(
    ("test", "metrics", "winner", "reason", "words"),
    [
        (a_test(), {"click": BETTER}, "B", "Better", "p < 0.0001 <= 0.05 (alpha)"),
        (a_test(), {"click": SAME}, "inconclusive", "Inconclusive", "inconclusive: click +0.3% (95% CI -"),
        (a_test(), {"click": NOTHING}, "inconclusive", "NoValues", "click has 0 and 0 values"),
        (
            FULL,
            {"click": BETTER, "latency": SLOWER},
            "inconclusive",
            "GuardrailOpen",
            "latency 21.7 ms against 20.0 ms, +8.5%",
        ),
        (FULL, {"click": BETTER, "accepted": WORSE}, "inconclusive", "Contradicted", "but accepted -20.0%"),
        (FULL, {"click": SAME, "latency": SLOW}, "A", "GuardrailHarmed", "+55.0%"),
    ],
)
def test_a_test_whose_time_is_over(test: ABTest, metrics: Any, winner: str, reason: str, words: str) -> None:
    found = judged(test, hours=168, last=True, **metrics)
    assert (found.winner, found.reason) == (Winner(winner), reason)
    assert words in found.message
    assert found.recommendation.startswith("Promote emb-v3: " if winner == "B" else "Keep emb-v2: ")


def test_the_recommendation_is_a_sentence_with_the_numbers() -> None:
    samples = measured(both(units=(N, M), click=BETTER, latency=FAST), p99_a=0.045, p99_b=0.048)
    test = a_test(GUARDRAIL)
    assert verdict(look_at(samples, test), test, last=False).recommendation == (
        "Promote emb-v3: click +20.0% (95% CI +9.8% to +30.2%) on 10,000 queries; "
        "latency 20.2 ms, within 10% of 20.0 ms (p99 48 ms against 45 ms)."
    )


# ---- too few samples


def test_nothing_is_decided_before_both_arms_have_min_samples() -> None:
    test = a_test(GUARDRAIL, minSamples=2001)
    found = judged(test, click=BETTER, latency=SLOW)
    assert (found.winner, found.reason) == (None, "WaitingForSamples")
    assert "8,000 distinct queries of emb-v2 and 2,000 of emb-v3; 2,001 of each are needed" in found.message
    ended = judged(test, click=BETTER, latency=SLOW, last=True)
    assert (ended.winner, ended.reason) == (Winner.INCONCLUSIVE, "TooFewSamples")
    assert "larger trafficSplit" in ended.recommendation


def test_no_samples_at_all_decide_nothing() -> None:
    assert judged(a_test(), units=(0, 0)).winner is None
    assert judged(a_test(), units=(0, 0), last=True).winner is Winner.INCONCLUSIVE


# ---- the arms do not get their shares


def test_a_sample_ratio_mismatch_promotes_nothing() -> None:
    found = judged(a_test(), units=(8000, 1500), click=BETTER)
    assert (found.winner, found.reason, found.sample_ratio_mismatch) == (None, "SampleRatioMismatch", True)
    assert (
        "emb-v3 got 1,500 of 9,500 distinct queries, 1,900 were expected (sample-ratio p < 0.0001 < 0.001)"
        in found.message
    )
    for suspect in ("not scraped", "retries or caches by version", "fails before it counts"):
        assert suspect in found.message
    ended = judged(a_test(), units=(8000, 1500), click=BETTER, last=True)
    assert (ended.winner, ended.reason) == (Winner.INCONCLUSIVE, "SampleRatioMismatch")
    assert ended.sample_ratio_mismatch


def test_a_mismatch_does_not_call_b_worse_but_harm_ends_the_test() -> None:
    assert judged(FULL, units=(8000, 1500), click=WORSE, latency=FAST).winner is None
    found = judged(FULL, units=(8000, 1500), click=BETTER, latency=SLOW)
    assert (found.winner, found.reason, found.sample_ratio_mismatch) == (Winner.A, "GuardrailHarmed", True)
    assert "+55.0%" in found.message
    assert "1,900 were expected" in found.message


def test_arms_with_their_shares_are_no_mismatch() -> None:
    assert not judged(a_test(), click=BETTER).sample_ratio_mismatch


# ---- directions, margins


def test_a_metric_that_should_fall_wins_by_falling() -> None:
    falling = a_test(metrics=[{"name": "latency", "role": "primary", "direction": "decrease"}])
    found = judged(falling, latency=(milliseconds(N, 30), milliseconds(M, 20)))
    assert (found.winner, found.recommendation[:39]) == (Winner.B, "Promote emb-v3: latency -33.3% (95% CI ")
    assert judged(falling, latency=SLOW).winner is Winner.A


def test_a_guardrail_that_should_rise_is_harmed_by_falling() -> None:
    rising = {"name": "accepted", "role": "guardrail", "nonInferiorityMargin": 0.05}
    assert judged(a_test(rising), click=BETTER, accepted=WORSE).reason == "GuardrailHarmed"
    assert judged(a_test(rising), click=BETTER, accepted=BETTER).winner is Winner.B


def test_a_share_of_no_errors_is_a_share_of_the_successes() -> None:
    test = a_test(ERRORS)
    assert judged(test, click=BETTER, error=(shares(N, 0), shares(M, 0))).winner is Winner.B
    assert judged(test, click=BETTER, error=(shares(N, 0), shares(M, 16))).reason == "GuardrailOpen"
    broken = judged(test, click=BETTER, error=(shares(N, 0), shares(M, 90)))
    assert (broken.winner, broken.reason) == (Winner.A, "GuardrailHarmed")
    assert (
        "error 4.50% against 0.00%, +4.50 points (95% CI +3.07 points to +5.93 points) on 10,000 queries, not within +1.00 points"
        in broken.message
    )


@pytest.mark.parametrize(
    ("metric", "a", "expected"),
    [
        (GUARDRAIL, milliseconds(N, 20), 0.0953),
        (ERRORS, shares(N, N // 5), 0.008),
        ({"name": "score", "role": "guardrail", "nonInferiorityMargin": 0.02}, spread(N, -50, 1), 1.0),
    ],
    ids=["ln(1 + margin) of latency", "of A's rate of success", "of the size of A's mean"],
)
def test_a_margin_is_a_share(metric: dict[str, Any], a: Any, expected: float) -> None:
    test = a_test(metric)
    reading = look_at(measured(both(**{metric["name"]: (a, a)})), test)
    assert margin(test.spec.metrics[1], reading.effects[metric["name"]]) == pytest.approx(expected, abs=1e-4)


def test_a_difference_from_almost_nothing_is_told_in_its_own_unit() -> None:
    found = judged(a_test(), click=(spread(N, 0.001, 1.0), spread(M, 0.2, 1.0)))
    assert "click +0.199 (95% CI +0." in found.message


# ---- methods


def test_fixed_horizon_is_silent_until_its_one_look_and_ends_with_it() -> None:
    test = a_test(GUARDRAIL, analysis={"method": "fixedHorizon", "samples": 3000})
    early = judged(test, click=BETTER, latency=FAST)
    assert (early.winner, early.reason) == (None, "Running")
    assert "looks once, as soon as both arms have 3,000 distinct queries" in early.message
    more = {"units": (12000, 3000), "latency": FAST}
    assert judged(test, **more, click=BETTER).winner is Winner.B
    assert judged(test, **more, click=WORSE).winner is Winner.A
    ended = judged(test, **more, click=SAME)
    assert (ended.winner, ended.reason) == (Winner.INCONCLUSIVE, "Inconclusive")
    assert judged(test, click=BETTER, latency=SLOW).reason == "GuardrailHarmed"


def test_group_sequential_decides_at_planned_looks_only() -> None:
    test = a_test(analysis={"method": "groupSequential"})
    assert judged(test, hours=100, click=BETTER).winner is Winner.B
    reading = look_at(measured(both(units=(N, M), click=SAME), hours=100), test)
    between = judged(after(reading, test), hours=101, click=BETTER)
    assert (between.winner, between.reason) == (None, "Running")
    assert "the next of 20 planned looks decides (1 taken)" in between.message
    assert judged(after(reading, test), hours=168, click=BETTER, last=True, units=(9000, 2250)).winner is Winner.B


# ---- from look to look


def test_a_b_that_won_early_but_for_a_guardrail_wins_when_that_closes() -> None:
    test = a_test(GUARDRAIL)
    few = (milliseconds(80, 20), milliseconds(20, 20))
    first = look_at(measured(both(units=(N, M), click=BETTER, latency=few)), test)
    assert verdict(first, test, last=False).reason == "GuardrailOpen"
    less = (spread(N, 0.30, 0.4), spread(M, 0.32, 0.4))
    assert judged(a_test(GUARDRAIL), click=less, latency=FAST).winner is None
    assert judged(after(first, test), click=less, latency=FAST).winner is Winner.B


def test_what_was_better_and_turned_is_not_called_worse_by_old_evidence() -> None:
    test = a_test(GUARDRAIL)
    first = look_at(measured(both(units=(N, M), click=BETTER)), test)
    turned = judged(after(first, test), click=(spread(N, 0.30, 0.4), spread(M, 0.299, 0.4)), latency=FAST)
    assert (turned.winner, turned.reason) == (None, "Running")


def test_a_raised_split_does_not_make_the_better_version_lose() -> None:
    """Each part of the day says that B is better; the pooled means say the reverse."""
    samples: Samples = measured(
        stratum(spread(9000, 0.60, 0.3), spread(1000, 0.64, 0.3), fraction=0.1),
        stratum(spread(5000, 0.20, 0.3), spread(5000, 0.24, 0.3), fraction=0.5),
    )
    assert verdict(look_at(samples, a_test()), a_test(), last=False).winner is Winner.B
