"""ABTests against the fake cluster: refused, queued, started, judged, ended, and the same after a kill at every write."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from attune.contract import PEERS_KEY, StageSpec
from attune.observation import MetricsProblem
from fake_cluster import Killed, Outcome
from fake_prometheus import FakePrometheus
from promotions import V1, V2, V3, ask, assert_invariants, condition, pointer, served, status_of, world_with
from worlds import World, of_one_space, scripted, training_job

CLICKS = {"name": "clicks", "role": "primary"}
LATENCY = {"name": "latency", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.1}
ERRORS = {"name": "error", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.02}
SAME = {"clicks": ((0.3, 0.45), (0.3, 0.45)), "latency": ((3.0, 0.3), (3.0, 0.3)), "error": ((0.0, 0.0), (0.0, 0.0))}
BETTER = SAME | {"clicks": ((0.3, 0.45), (0.4, 0.49))}
WORSE = SAME | {"clicks": ((0.3, 0.45), (0.2, 0.4))}
BROKEN = BETTER | {"error": ((0.0, 0.0), (0.3, 0.46))}


def ab_test(name: str = "trial", **spec: Any) -> dict[str, Any]:
    known = {
        "retriever": "news",
        "modelB": V2,
        "trafficSplit": 0.2,
        "minSamples": 200,
        "maxDuration": "1h",
        "metrics": [CLICKS, LATENCY, ERRORS],
        "analysis": {"interval": "60s"},
        "autoPromote": True,
    }
    return {
        "apiVersion": "attune.dev/v1alpha1",
        "kind": "ABTest",
        "metadata": {"name": name, "namespace": "news"},
        "spec": known | spec,
    }


async def world_to_test(
    metrics: dict[str, Any] | None = None, versions: int = 2, **how: Any
) -> tuple[World, FakePrometheus]:
    world = await world_with(versions)
    prometheus = FakePrometheus(world.cluster, metrics or SAME, **how)
    world.cluster.prometheus = prometheus
    retriever = world.cluster.find("Retriever")
    watched = {"prometheus": {"url": "http://prometheus:9090"}}
    world.cluster.put({**retriever, "spec": {**retriever["spec"], "rollback": watched}})
    await world.settle()
    return world, prometheus


def trial_of(world: World, name: str = "trial") -> dict[str, Any]:
    found: dict[str, Any] = world.cluster.find("ABTest", name).get("status", {})
    return found


async def until(world: World, phase: str, name: str = "trial", rounds: int = 800) -> dict[str, Any]:
    for _ in range(rounds):
        if trial_of(world, name).get("phase") == phase:
            return trial_of(world, name)
        await world.settle(rounds=1)
    raise AssertionError(trial_of(world, name))


async def test_the_better_version_wins_and_is_promoted_by_the_same_way_as_by_hand() -> None:
    world, _ = await world_to_test(BETTER)
    world.cluster.put(ab_test())
    running = await until(world, "Running")
    assert running["modelA"] == V1
    await world.settle(rounds=2)
    split = served(world).embedding.split
    assert (split.test, split.challenger, split.fraction) == ("trial", V2, 0.2)
    assert split.run == world.cluster.find("ABTest", "trial")["metadata"]["uid"]
    over = await until(world, "Concluded")
    assert over["winner"] == "B"
    assert over["recommendation"].startswith(f"Promote {V2}")
    await world.settle(rounds=20)
    assert trial_of(world)["promotion"]["result"] == "Promoted"
    assert (pointer(world)["active"], pointer(world)["previous"], pointer(world).get("split")) == (V2, V1, None)
    assert (status_of(world, V2)["stage"], status_of(world, V1)["stage"]) == ("active", "deprecated")
    change = world.cluster.find("Retriever")["status"]["changes"][-1]
    assert change["action"] == "Promoted"
    assert change["cause"].startswith("won test trial: Promote")
    assert "requestID" not in change
    assert_invariants(world.cluster)


async def test_replicas_are_told_of_each_other_while_a_test_runs() -> None:
    world, _ = await world_to_test(SAME)
    assert PEERS_KEY not in world.cluster.find("ConfigMap", "news-serving")["data"]
    world.cluster.put(ab_test(maxDuration="5m"))
    await until(world, "Running")
    await world.settle(rounds=2)
    told = json.loads(world.cluster.find("ConfigMap", "news-serving")["data"][PEERS_KEY])
    assert told == {"news-serving-0": "127.1.0.1:8000"}
    await until(world, "Concluded")
    await world.settle(rounds=5)
    assert PEERS_KEY not in world.cluster.find("ConfigMap", "news-serving")["data"]


async def test_equal_versions_are_inconclusive_at_the_end_and_a_stays() -> None:
    world, _ = await world_to_test(SAME)
    world.cluster.put(ab_test())
    over = await until(world, "Concluded")
    assert (over["winner"], over["reason"]) == ("inconclusive", "Inconclusive")
    await world.settle(rounds=20)
    assert (pointer(world)["active"], pointer(world).get("split")) == (V1, None)
    assert status_of(world, V2)["stage"] == "staged"
    assert "promotion" not in over


async def test_a_broken_version_is_stopped_early_by_its_guardrail_and_deprecated() -> None:
    world, _ = await world_to_test(BROKEN)
    world.cluster.put(ab_test())
    over = await until(world, "Concluded")
    assert (over["winner"], over["reason"]) == ("A", "GuardrailHarmed")
    await world.settle(rounds=20)
    assert pointer(world).get("split") is None
    lost = status_of(world, V2)
    assert lost["stage"] == "deprecated"
    assert lost["notes"].startswith("lost test trial")


async def test_a_worse_version_loses() -> None:
    world, _ = await world_to_test(WORSE)
    world.cluster.put(ab_test(autoPromote=False))
    over = await until(world, "Concluded")
    assert over["winner"] == "A"
    await world.settle(rounds=20)
    assert (pointer(world)["active"], status_of(world, V2)["stage"]) == (V1, "deprecated")


async def test_without_auto_promote_the_winner_waits_for_a_word() -> None:
    world, _ = await world_to_test(BETTER)
    world.cluster.put(ab_test(autoPromote=False))
    assert (await until(world, "Concluded"))["winner"] == "B"
    await world.settle(rounds=20)
    assert (pointer(world)["active"], pointer(world).get("split")) == (V1, None)
    assert status_of(world, V2)["stage"] == "staged"
    ask(world, V2, "by-hand")
    await world.settle(rounds=20)
    assert pointer(world)["active"] == V2


async def test_shares_that_do_not_fit_the_split_promote_nobody_and_say_what_to_look_for() -> None:
    world, _ = await world_to_test(BETTER, lost_share_of_b=0.3)
    world.cluster.put(ab_test())
    over = await until(world, "Concluded")
    assert (over["winner"], over["reason"]) == ("inconclusive", "SampleRatioMismatch")
    assert over["sampleRatioPValue"] < 0.001
    assert condition(world.cluster.find("ABTest", "trial"), "SampleRatioMismatch")["status"] == "True"
    assert "replica" in over["message"]
    await world.settle(rounds=20)
    assert pointer(world)["active"] == V1


# ---- refused


@pytest.mark.parametrize(
    ("spec", "reason", "words"),
    [
        ({"modelB": "emb-v9"}, "UnknownVersion", "spec.modelB: there is no ModelVersion emb-v9"),
        ({"modelA": "emb-v9"}, "UnknownVersion", "spec.modelA: there is no ModelVersion emb-v9"),
        ({"modelB": V1}, "AlreadyActive", f"{V1} is the active version"),
        ({"modelA": V2, "modelB": V3}, "NotActive", f"spec.modelA is {V2}, and {V1} serves"),
        ({"modelB": "foreign"}, "OtherRetriever", "foreign is a version of Retriever other"),
        ({"modelA": "rer-v1", "modelB": V2}, "OtherType", "rer-v1 is of type reranker"),
    ],
)
async def test_a_test_that_cannot_be_one_fails_and_says_why(spec: dict[str, Any], reason: str, words: str) -> None:
    world, _ = await world_to_test(versions=3)
    known = world.cluster.find("ModelVersion", V2)
    for name, change in (("foreign", {"retriever": "other"}), ("rer-v1", {"type": "reranker", "version": 9})):
        meta = {"name": name, "namespace": "news"}
        spec_of = (
            {k: v for k, v in known["spec"].items() if k != "promotion"} | change | {"source": {"import": "pvc://m/x"}}
        )
        world.cluster.put(
            {"apiVersion": known["apiVersion"], "kind": "ModelVersion", "metadata": meta, "spec": spec_of}
        )
    world.cluster.put(ab_test(**spec))
    failed = await until(world, "Failed", rounds=5)
    assert failed["reason"] == reason
    assert words in failed["message"]
    assert pointer(world).get("split") is None


async def test_a_version_that_failed_its_gate_is_refused() -> None:
    def bad(spec: StageSpec, attempt: int) -> Outcome:
        outcome = scripted(spec, attempt)
        if spec.owner.name == "tune-bad" and outcome.result is not None and outcome.result.evaluation is not None:
            metrics = outcome.result.evaluation.metrics.model_copy(update={"score": 0.1})
            evaluation = outcome.result.evaluation.model_copy(update={"metrics": metrics})
            return Outcome(0, outcome.result.model_copy(update={"evaluation": evaluation}))
        return outcome

    world = await world_with(1, bad)
    world.cluster.put(training_job("tune-bad"))
    await world.settle()
    world.cluster.put(ab_test())
    failed = await until(world, "Failed", rounds=5)
    assert (failed["reason"], V2 in failed["message"]) == ("NotStaged", True)


async def test_a_challenger_that_a_replica_refuses_fails_the_test_and_serves_nobody() -> None:
    world, _ = await world_to_test()
    world.cluster.serving.broken[V2] = "ArtifactCorrupt"
    world.cluster.put(ab_test())
    failed = await until(world, "Failed", rounds=20)
    assert failed["reason"] == "ArtifactCorrupt"
    assert served(world).embedding.split is None


# ---- the line


async def test_a_second_test_waits_and_says_for_whom_and_runs_then() -> None:
    world, _ = await world_to_test(WORSE, versions=3)
    world.cluster.put(ab_test("first"))
    world.cluster.put(ab_test("second", modelB=V3))
    await until(world, "Running", "first")
    await world.settle(rounds=2)
    assert trial_of(world, "second")["message"] == "Waiting: first runs"
    await until(world, "Concluded", "first")
    assert (await until(world, "Running", "second"))["modelA"] == V1


async def test_two_at_once_with_one_that_cannot_run_leave_nobody_stuck() -> None:
    world, _ = await world_to_test(BETTER)
    world.cluster.put(ab_test("aa-unknown", modelB="emb-v9"))
    world.cluster.put(ab_test("bb-good"))
    await until(world, "Failed", "aa-unknown", rounds=5)
    assert (await until(world, "Concluded", "bb-good"))["winner"] == "B"


async def test_a_test_waits_for_a_replica_that_still_loads_and_names_it() -> None:
    world, _ = await world_to_test()
    world.cluster.serving.slow.add(V2)
    world.cluster.put(ab_test())
    await world.settle(rounds=6)
    waiting = trial_of(world)
    assert waiting["phase"] == "Pending"
    assert "news-serving-0 is Loading" in waiting["message"]
    assert served(world).embedding.split is None
    assert status_of(world, V2).get("promotion") is None
    world.cluster.serving.slow.clear()
    await until(world, "Running", rounds=10)


async def test_a_test_without_a_retriever_waits_for_it() -> None:
    world, _ = await world_to_test()
    world.cluster.put(ab_test(retriever="news2"))
    await world.settle(rounds=3)
    assert trial_of(world)["message"].startswith("Waiting: no Retriever news2 in this namespace")


# ---- what ends it


async def test_cancel_gives_all_queries_back_to_a() -> None:
    world, _ = await world_to_test()
    world.cluster.put(ab_test())
    await until(world, "Running")
    world.cluster.put(ab_test(cancel=True))
    over = await until(world, "Cancelled", rounds=3)
    assert over["reason"] == "CancelRequested"
    await world.settle(rounds=10)
    assert served(world).embedding.split is None
    assert status_of(world, V2)["stage"] == "staged"


async def test_a_deleted_test_leaves_no_split() -> None:
    world, _ = await world_to_test()
    world.cluster.put(ab_test())
    await until(world, "Running")
    world.cluster.remove("ABTest", "trial", "news")
    await world.settle(rounds=10)
    assert served(world).embedding.split is None


async def test_a_test_made_anew_under_the_same_name_is_another_one() -> None:
    world, _ = await world_to_test()
    world.cluster.put(ab_test())
    await until(world, "Running")
    old = world.cluster.find("ABTest", "trial")["metadata"]["uid"]
    world.cluster.remove("ABTest", "trial", "news")
    world.cluster.put(ab_test())
    await until(world, "Running", rounds=20)
    await world.settle(rounds=2)
    assert served(world).embedding.split.run == world.cluster.find("ABTest", "trial")["metadata"]["uid"] != old


async def test_a_deleted_challenger_ends_the_test_with_the_reason() -> None:
    world, _ = await world_to_test()
    world.cluster.put(ab_test())
    await until(world, "Running")
    world.cluster.remove("ModelVersion", V2, "news")
    over = await until(world, "Cancelled", rounds=5)
    assert (over["reason"], over["message"]) == ("VersionDeleted", f"cancelled: ModelVersion {V2} was deleted")
    await world.settle(rounds=10)
    assert pointer(world).get("split") is None
    assert served(world).embedding.split is None


async def test_a_rollback_during_a_test_cancels_it_with_the_reason() -> None:
    world, _ = await world_to_test(versions=3)
    ask(world, V2, "r1")
    await world.settle(rounds=20)
    world.cluster.put(ab_test(modelB=V3))
    await until(world, "Running")
    ask(world, V1, "back")
    over = await until(world, "Cancelled", rounds=10)
    assert over["reason"] == "RolledBack"
    assert f"{V2} → {V1} (by hand, request back; ends test trial of {V3})" in over["message"]
    await world.settle(rounds=10)
    assert served(world).embedding.split is None


async def test_a_promotion_by_hand_during_a_test_ends_it_and_one_by_itself_waits() -> None:
    world, _ = await world_to_test()
    world.cluster.put(ab_test())
    await until(world, "Running")
    world.cluster.put(training_job("tune-auto", autoPromote=True))
    await world.settle(rounds=30)
    assert pointer(world)["active"] == V1
    assert status_of(world, V3)["promotion"]["message"] == "test trial runs"
    ask(world, V3, "now")
    over = await until(world, "Cancelled", rounds=20)
    assert over["reason"] == "Promoted"
    await world.settle(rounds=10)
    assert pointer(world)["active"] == V3


async def test_a_test_that_ends_does_not_wait_for_a_promotion_that_waits() -> None:
    world, _ = await world_to_test(WORSE)
    world.cluster.put(ab_test(autoPromote=False))
    await until(world, "Running")
    world.cluster.put(training_job("tune-auto", autoPromote=True))
    await until(world, "Concluded")
    await world.settle(rounds=30)
    assert pointer(world)["active"] == V3
    assert served(world).embedding.split is None
    assert status_of(world, V2)["stage"] == "deprecated"


async def test_a_cancelled_test_ends_although_a_request_by_hand_waits_for_a_replica() -> None:
    world, _ = await world_to_test(versions=3)
    world.cluster.put(ab_test())
    await until(world, "Running")
    world.cluster.serving.slow.add(V3)
    ask(world, V3, "now")
    await world.settle(rounds=3)
    world.cluster.put(ab_test(cancel=True))
    await world.settle(rounds=6)
    assert served(world).embedding.split is None
    assert pointer(world)["active"] == V1


async def test_a_rollback_while_a_challenger_loads_is_no_answer_to_an_old_request_of_it() -> None:
    world, _ = await world_to_test(versions=3)
    ask(world, V2, "r1")
    await world.settle(rounds=20)
    world.cluster.serving.slow.add(V3)
    world.cluster.put(ab_test(modelB=V3))
    await world.settle(rounds=4)
    assert world.cluster.find("Retriever")["status"]["candidates"][0]["test"] == "trial"
    ask(world, V1, "back")
    await world.settle(rounds=10)
    assert status_of(world, V3).get("promotion") is None
    assert {o["requestID"] for o in world.cluster.find("Retriever")["status"]["outcomes"]} == {"r1", "back"}


async def test_a_version_that_is_still_trained_is_waited_for() -> None:
    world, _ = await world_to_test(versions=2)
    world.cluster.put(training_job("tune-3"))
    await world.settle(rounds=1)
    world.cluster.hold = True
    for _ in range(40):
        await world.settle(rounds=1)
        if any(v["metadata"]["name"] == V3 for v in world.cluster.all("ModelVersion")):
            break
        world.cluster.hold = False
        await world.settle(rounds=1)
        world.cluster.hold = True
    world.cluster.put(ab_test(modelB=V3))
    await world.settle(rounds=2)
    assert trial_of(world)["phase"] == "Pending"
    world.cluster.hold = False
    await until(world, "Running", rounds=60)


# ---- the split


async def test_the_split_may_be_raised_and_each_share_is_judged_by_itself() -> None:
    world, _ = await world_to_test(SAME)
    world.cluster.put(ab_test(maxDuration="20m"))
    await until(world, "Running")
    await world.settle(rounds=30)
    world.cluster.put(ab_test(maxDuration="20m", trafficSplit=0.5))
    await world.settle(rounds=3)
    assert served(world).embedding.split.fraction == 0.5
    over = await until(world, "Concluded")
    assert over["winner"] == "inconclusive"
    assert over["sampleRatioPValue"] > 0.5


# ---- no data


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


# ---- a TrainingJob that ends in a test


async def test_a_training_job_with_strategy_ab_test_makes_its_test_which_promotes_the_version() -> None:
    world, _ = await world_to_test(BETTER, versions=1)
    rules = {"metrics": [CLICKS], "minSamples": 200, "maxDuration": "2h"}
    world.cluster.put(training_job("tune-2", autoPromote=True, promotion={"strategy": "ABTest", "abTest": rules}))
    await world.settle(rounds=40)
    test = world.cluster.find("ABTest", f"{V2}-test")
    assert test["metadata"]["ownerReferences"][0]["name"] == V2
    assert (test["spec"]["modelB"], test["spec"]["autoPromote"], test["spec"]["minSamples"]) == (V2, True, 200)
    assert (await until(world, "Concluded", f"{V2}-test"))["winner"] == "B"
    await world.settle(rounds=20)
    assert pointer(world)["active"] == V2


async def test_without_auto_promote_the_run_makes_no_test() -> None:
    world, _ = await world_to_test(versions=1)
    rules = {"metrics": [CLICKS]}
    world.cluster.put(training_job("tune-2", promotion={"strategy": "ABTest", "abTest": rules}))
    await world.settle(rounds=40)
    assert not world.cluster.all("ABTest")


async def test_a_version_of_the_same_space_is_tested_without_an_index_of_its_own() -> None:
    world = await world_with(2, of_one_space)
    world.cluster.prometheus = FakePrometheus(world.cluster, BETTER)
    world.cluster.put(ab_test())
    await until(world, "Running")
    told = served(world)
    assert told.version(V1).collection == told.version(V2).collection


# ---- killed


class KillAt:
    """Kills once: before or after the n-th write."""

    def __init__(self, number: int, when: str) -> None:
        self._at = (number, when)

    def __call__(self, number: int, when: str, what: str) -> None:
        if (number, when) == self._at:
            raise Killed


async def verdict_of(when: str | None = None, at: int = 0) -> tuple[World, int, int]:
    world, _ = await world_to_test(BETTER)
    begin = len(world.cluster.writes)
    if when is not None:
        world.cluster.fault = KillAt(begin + at, when)
    world.cluster.put(ab_test(maxDuration="20m"))
    await until(world, "Concluded")
    await world.settle(rounds=20)
    return world, begin, len(world.cluster.writes)


async def test_killed_at_any_write_the_verdict_is_the_same() -> None:
    calm, begin, end = await verdict_of()
    wanted = trial_of(calm)
    for number in range(end - begin):
        for when in ("before", "after"):
            world, _, _ = await verdict_of(when, number)
            assert world.restarts == 1, (number, when)
            found = trial_of(world)
            assert (found["winner"], found["promotion"]["result"]) == (wanted["winner"], "Promoted"), (number, when)
            assert pointer(world)["active"] == V2
            moves = [c["action"] for c in world.cluster.find("Retriever")["status"]["changes"]]
            assert moves == ["Imported", "Promoted"], (number, when)
            assert_invariants(world.cluster)


async def test_after_the_end_nothing_is_written_any_more() -> None:
    world, _, _ = await verdict_of()
    before = len(world.cluster.writes)
    for _ in range(6):
        await world.look()
        world.cluster.clock.advance(timedelta(minutes=10))
    assert [w for w in world.cluster.writes[before:] if "ABTest" in w or "Retriever" in w] == []
