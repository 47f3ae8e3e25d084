"""ABTests against the fake cluster: what becomes of the better, the equal, the worse and the broken version."""

from __future__ import annotations

import json

from attune.contract import PEERS_KEY
from fake_prometheus import FakePrometheus
from promotions import V1, V2, ask, assert_invariants, condition, pointer, served, status_of, world_with
from trials import BETTER, BROKEN, CLICKS, SAME, WORSE, ab_test, trial_of, until, world_to_test
from worlds import of_one_space, training_job


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
