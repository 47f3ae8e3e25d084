"""ABTests against the fake cluster: without metrics nothing is decided."""

from __future__ import annotations

from datetime import timedelta

from attune.observation import MetricsProblem
from promotions import condition, world_with
from trials import BETTER, CLICKS, SAME, ab_test, trial_of, until, world_to_test


async def test_without_prometheus_nothing_is_decided_and_it_is_said_since_when() -> None:
    world, prometheus = await world_to_test(BETTER)
    prometheus.broken = MetricsProblem("PrometheusUnreachable", "http://prometheus:9090 does not answer")
    world.cluster.put(ab_test())
    await until(world, "Running")
    since = None
    for _ in range(200):
        await world.settle(rounds=1)
        told = (
            condition(world.cluster.find("ABTest", "trial"), "MetricsUnavailable")
            if "conditions" in trial_of(world)
            and any(c["type"] == "MetricsUnavailable" for c in trial_of(world)["conditions"])
            else None
        )
        if told is not None:
            since = since or told["lastTransitionTime"]
            assert (told["status"], told["reason"], told["lastTransitionTime"]) == (
                "True",
                "PrometheusUnreachable",
                since,
            )
        assert trial_of(world)["phase"] == "Running"
        assert "winner" not in trial_of(world)
    prometheus.broken = None
    over = await until(world, "Concluded")
    assert over["winner"] == "B"
    assert condition(world.cluster.find("ABTest", "trial"), "MetricsUnavailable")["status"] == "False"


async def test_a_test_whose_metrics_never_come_is_inconclusive_long_after_its_end() -> None:
    world, prometheus = await world_to_test(BETTER)
    prometheus.broken = MetricsProblem("NoSamples", "no series")
    world.cluster.put(ab_test(maxDuration="10m"))
    await until(world, "Running")
    for _ in range(66):  # eleven minutes
        await world.settle(rounds=1)
    assert trial_of(world)["phase"] == "Running"
    over = await until(world, "Concluded", rounds=80)
    assert (over["winner"], over["reason"]) == ("inconclusive", "MetricsUnavailable")


async def test_nobody_says_which_prometheus() -> None:
    world = await world_with(2)
    world.cluster.put(ab_test())
    await until(world, "Running")
    await world.settle(rounds=8)
    told = condition(world.cluster.find("ABTest", "trial"), "MetricsUnavailable")
    assert told["reason"] == "NoPrometheus"
    assert "spec.rollback.prometheus.url of Retriever news" in told["message"]


async def test_the_metrics_are_read_once_an_interval_and_as_they_were_at_the_end() -> None:
    world, prometheus = await world_to_test(SAME)
    world.cluster.put(ab_test(maxDuration="10m", analysis={"interval": "2m"}))
    await until(world, "Concluded")
    started = prometheus.queries[0].since
    assert [q.at - started for q in prometheus.queries] == [timedelta(minutes=m) for m in (2, 4, 6, 8, 10)]
    assert prometheus.queries[0].processes == {"process of news-serving-0"}


async def test_after_a_long_outage_of_the_operator_one_failed_read_is_no_end() -> None:
    world, prometheus = await world_to_test(BETTER)
    world.cluster.put(ab_test(maxDuration="10m", minSamples=100_000))
    await until(world, "Running")
    world.cluster.clock.advance(timedelta(hours=3))
    prometheus.broken = MetricsProblem("PrometheusUnreachable", "it starts, too")
    await world.settle(rounds=3)
    assert trial_of(world)["phase"] == "Running"
    prometheus.broken = None
    assert (await until(world, "Concluded", rounds=30))["reason"] == "TooFewSamples"


async def test_p_values_of_one_ledger_say_nothing_of_another() -> None:
    world, prometheus = await world_to_test(BETTER)
    guarded = [CLICKS, {"name": "rating", "role": "guardrail", "nonInferiorityMargin": 0.05}]
    world.cluster.put(ab_test(metrics=guarded, maxDuration="30m"))
    await until(world, "Running")
    await world.settle(rounds=40)
    assert trial_of(world)["lowestPValues"]["clicks"] < 1e-3
    prometheus.metrics, prometheus.ledger = SAME, "000000001000-later"
    await world.settle(rounds=8)
    assert trial_of(world)["ledger"] == "000000001000-later"
    assert trial_of(world)["lowestPValues"]["clicks"] > 0.5


async def test_a_clock_that_was_ahead_delays_no_look() -> None:
    world, prometheus = await world_to_test(SAME)
    world.cluster.put(ab_test(maxDuration="24h"))
    await until(world, "Running")
    await world.settle(rounds=10)
    world.cluster.clock.advance(timedelta(minutes=-3))
    before = len(prometheus.queries)
    await world.settle(rounds=10)
    assert len(prometheus.queries) > before
