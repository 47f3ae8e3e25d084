"""ABTests against the fake cluster: which are refused, and for what the others wait."""

from __future__ import annotations

from typing import Any

import pytest

from attune.contract import StageSpec
from fake_cluster import Outcome
from promotions import V1, V2, V3, pointer, served, status_of, world_with
from trials import BETTER, WORSE, ab_test, trial_of, until, world_to_test
from worlds import scripted, training_job


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
