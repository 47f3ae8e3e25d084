"""The past of a version, as the objects that the real decisions wrote tell it."""

from __future__ import annotations

import json
from typing import Any

from attune.contract import EvaluationMetrics, EvaluationSummary, Stage
from attune.objects import Manifest
from attune.views import timeline
from attune.views.timeline import Past
from fake_cluster import Outcome
from promotions import V1, V2, ask, world_with
from rest_world import a_retriever, a_run, a_test, a_version, ago, condition
from worlds import World, scripted


def past_of(world: World, name: str) -> list[dict[str, Any]]:
    version = world.cluster.find("ModelVersion", name)
    run_name = version["spec"]["source"].get("trainingJob")
    run = world.cluster.find("TrainingJob", run_name) if run_name else None
    tests = tuple(world.cluster.all("ABTest"))
    return timeline.entries(Past(version, run, world.cluster.find("Retriever"), tests))


def told(entries: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(e["kind"], e["what"]) for e in entries]


async def test_a_version_that_was_trained_promoted_and_taken_back() -> None:
    world = await world_with(2)
    ask(world, V2, "r1")
    await world.settle()
    ask(world, V1, "back")
    await world.settle()
    entries = past_of(world, V2)
    assert json.loads(json.dumps(entries)) == entries
    assert [e["at"] for e in entries] == sorted(e["at"] for e in entries)
    seen = told(entries)
    order = [
        ("run", "Created"),
        ("run", "Started"),
        ("data", "DataPrepared"),
        ("version", "Created"),
        ("version", "Trained"),
        ("version", "Evaluated"),
        ("version", "Indexed"),
        ("promotion", "Promoted"),
        ("rollback", "TakenBack"),
    ]
    places = [seen.index(one) for one in order]
    assert places == sorted(places), seen
    said = {what: e["message"] for e, (_, what) in zip(entries, seen, strict=True)}
    assert said["DataPrepared"] == "prepare done"
    assert said["Promoted"] == f"{V2} serves instead of {V1}: request r1; loaded and verified by 1 replica"
    assert said["TakenBack"] == f"{V1} serves instead of {V2}: by hand, request back"


async def test_the_first_version_is_imported_and_comes_back() -> None:
    world = await world_with(2)
    ask(world, V2, "r1")
    await world.settle()
    ask(world, V1, "back")
    await world.settle()
    seen = told(past_of(world, V1))
    assert ("promotion", "Imported") in seen
    assert seen.index(("promotion", "Replaced")) < seen.index(("rollback", "RolledBack"))


async def test_a_refused_request_is_told_with_its_reason() -> None:
    def poor(spec: Any, attempt: int) -> Outcome:
        outcome = scripted(spec, attempt)
        if spec.stage is Stage.EVALUATE and spec.owner.kind == "TrainingJob" and outcome.result is not None:
            summary = EvaluationSummary(
                metrics=EvaluationMetrics(ndcg_at10=0.1, score=0.1, score_metric="contextPrecision", queries=10)
            )
            return Outcome(0, outcome.result.model_copy(update={"evaluation": summary}))
        return outcome

    world = await world_with(2, poor)
    ask(world, V2, "r1")
    await world.settle()
    refused = [e for e in past_of(world, V2) if e["what"] == "Refused"]
    assert len(refused) == 1
    assert "request r1: NotStaged" in refused[0]["message"]


def with_tests(*tests: Manifest) -> Past:
    return Past(a_version(6, "staged", 28, run="tune-6"), None, None, tests)


def test_tests_are_told_from_the_side_of_the_version_and_others_are_not() -> None:
    mine = a_test("one", "Concluded", 5, "emb-v3", "emb-v6", concludedAt=ago(1), recommendation="promote emb-v6")
    other = a_test("two", "Running", 5, "emb-v3", "emb-v2")
    entries = [e for e in timeline.entries(with_tests(mine, other)) if e["kind"] == "test"]
    assert [e["what"] for e in entries] == ["Created", "Started", "Concluded"]
    assert "as B against emb-v3" in entries[0]["message"]
    assert "20% of the queries to B" in entries[1]["message"]
    assert entries[2]["message"] == "promote emb-v6"
    from_a = timeline.entries(Past(a_version(3, "active", 150), None, None, (mine,)))
    assert any("as A against emb-v6" in e["message"] for e in from_a)


def test_who_asked_for_a_run_by_the_rest_api_is_named() -> None:
    run = a_run("tune-6", "Succeeded", 29, "emb-v6", completionTime=ago(27), message="done")
    run["metadata"]["annotations"] = {"attune.dev/requested-by": "ada"}
    entries = timeline.entries(Past(a_version(6, "staged", 28, run="tune-6"), run))
    assert entries[0]["message"] == "TrainingJob created by ada"
    assert ("run", "Succeeded") in told(entries)


def test_what_has_no_time_is_left_out_and_the_rest_is_told_without_its_neighbours() -> None:
    version = a_version(7, "training", 1, run="gone")
    del version["metadata"]["creationTimestamp"]
    assert timeline.entries(Past(version)) == []
    alone = a_version(1, "deprecated", 700, retirement={"state": "Retired", "cause": "not kept", "at": ago(3)})
    assert told(timeline.entries(Past(alone)))[-1] == ("retirement", "Retired")


def test_a_failed_condition_is_no_milestone() -> None:
    version = a_version(4, "failed", 60)
    version["status"]["conditions"] = [condition("Evaluated", 59, "0.58 < 0.60", status="False")]
    assert ("version", "Evaluated") not in told(timeline.entries(Past(version, None, a_retriever())))
