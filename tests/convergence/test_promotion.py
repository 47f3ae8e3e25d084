"""Promotion and the way back, against the fake cluster with replicas that load and follow."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fake_cluster import Killed
from promotions import V1, V2, V3, ask, assert_invariants, condition, pointer, served, status_of, world_with
from worlds import World, of_one_space, training_job


async def test_a_staged_version_has_its_collection_before_anybody_asks() -> None:
    world = await world_with(2)
    ready = condition(world.cluster.find("ModelVersion", V2), "IndexReady")
    assert (ready["status"], ready["reason"]) == ("True", "Complete")
    assert status_of(world, V2)["index"]["collection"] != status_of(world, V1)["index"]["collection"]
    assert served(world).version(V2) is None


async def test_a_request_promotes_model_and_collection_together() -> None:
    world = await world_with(2)
    ask(world, V2, "r1")
    await world.settle()
    now = pointer(world)
    assert (now["active"], now["previous"]) == (V2, V1)
    assert status_of(world, V2)["stage"] == "active"
    assert status_of(world, V1)["stage"] == "deprecated"
    told = served(world)
    assert told.embedding is not None
    assert (told.embedding.active, told.generation) == (V2, 2)
    assert told.version(V2).collection == status_of(world, V2)["index"]["collection"]
    assert {v.name for v in told.versions} == {V1, V2}
    answer = status_of(world, V2)["promotion"]
    assert (answer["handledRequestID"], answer["result"]) == ("r1", "Promoted")
    assert condition(world.cluster.find("Retriever"), "Serving")["reason"] == "AllFollow"
    assert_invariants(world.cluster)


async def test_the_pointer_waits_until_every_replica_has_loaded_the_version() -> None:
    world = await world_with(2, serving={"replicas": 3})
    world.cluster.serving.slow.add(V2)
    ask(world, V2, "r1")
    await world.settle(rounds=8)
    assert pointer(world)["active"] == V1
    waiting = status_of(world, V2)["promotion"]
    assert waiting["result"] == "Pending"
    assert "3 of 3 replicas: news-serving-0 is Loading" in waiting["message"]
    assert served(world).version(V2) is not None
    world.cluster.serving.slow.clear()
    await world.settle()
    assert pointer(world)["active"] == V2


async def test_a_replica_that_does_not_answer_holds_the_promotion_and_is_named() -> None:
    world = await world_with(2, serving={"replicas": 2})
    world.cluster.serving.replicas["news-serving-1"].silent = True
    ask(world, V2, "r1")
    await world.settle(rounds=8)
    assert pointer(world)["active"] == V1
    assert "1 of 2 replicas: news-serving-1 does not answer" in status_of(world, V2)["promotion"]["message"]


@pytest.mark.parametrize("reason", ["ArtifactCorrupt", "SpaceMismatch", "DimensionMismatch", "CollectionMissing"])
async def test_a_version_that_a_replica_refuses_is_not_promoted_and_says_why(reason: str) -> None:
    world = await world_with(2)
    world.cluster.serving.broken[V2] = reason
    ask(world, V2, "r1")
    await world.settle()
    assert pointer(world)["active"] == V1
    answer = status_of(world, V2)["promotion"]
    assert (answer["handledRequestID"], answer["result"]) == ("r1", "Refused")
    assert answer["message"].startswith(f"{reason}: news-serving-0 cannot serve {V2}")
    assert served(world).version(V2) is None
    assert any(e["reason"] == "PromotionRefused" and e["type"] == "Warning" for e in world.cluster.events)


async def test_a_store_that_is_away_is_waited_for_and_not_a_refusal() -> None:
    world = await world_with(2)
    world.cluster.serving.broken[V2] = "StoreUnavailable"
    ask(world, V2, "r1")
    await world.settle(rounds=8)
    assert status_of(world, V2)["promotion"]["result"] == "Pending"
    world.cluster.serving.broken.clear()
    await world.settle()
    assert pointer(world)["active"] == V2


async def test_a_constant_request_fires_once() -> None:
    world = await world_with(2)
    ask(world, V2, "from-git")
    await world.settle()
    ask(world, V1, "back")
    await world.settle()
    assert pointer(world)["active"] == V1
    for _ in range(3):
        ask(world, V2, "from-git")
        await world.settle()
    assert pointer(world)["active"] == V1


async def test_a_request_that_git_brings_back_after_another_was_answered_asks_for_nothing() -> None:
    world = await world_with(2)
    for request_id in ("from-git", "by-hand-1", "by-hand-2"):
        ask(world, V2, request_id)
        await world.settle()
        ask(world, V1, f"back-from-{request_id}")
        await world.settle()
    found = world.cluster.find("Retriever")
    outcomes = found["status"]["outcomes"]
    assert all(o["requestID"] != "from-git" for o in outcomes), "the Retriever has forgotten it"
    ask(world, V2, "from-git")
    await world.settle()
    assert pointer(world)["active"] == V1
    known = status_of(world, V2)["promotion"]
    assert (known["handledRequestID"], known["earlierRequestIDs"]) == ("by-hand-2", ["from-git", "by-hand-1"])


async def test_a_request_on_an_older_version_rolls_back_and_quarantines_the_newer() -> None:
    world = await world_with(2)
    ask(world, V2, "r1")
    await world.settle()
    ask(world, V1, "back")
    await world.settle()
    now = pointer(world)
    assert now["active"] == V1
    assert "previous" not in now
    bad = world.cluster.find("ModelVersion", V2)
    assert bad["status"]["stage"] == "failed"
    assert condition(bad, "RolledBack")["message"] == "by hand, request back"
    assert status_of(world, V1)["promotion"]["result"] == "RolledBack"
    rolled = condition(world.cluster.find("Retriever"), "RolledBack")
    assert (rolled["status"], rolled["reason"]) == ("True", "ByHand")
    assert served(world).version(V2) is None
    assert_invariants(world.cluster)


async def test_a_version_that_a_user_made_without_our_labels_can_be_promoted() -> None:
    world = await world_with(1)
    made = {
        "apiVersion": "attune.dev/v1alpha1",
        "kind": "ModelVersion",
        "metadata": {"name": "bge-by-hand", "namespace": "news"},
        "spec": {
            "retriever": "news",
            "type": "embedding",
            "version": 7,
            "baseModel": "pvc://models/bge",
            "artifact": {"uri": "pvc://store/bge"},
            "source": {"import": "pvc://models/bge"},
            "promotion": {"requestID": "from-git"},
        },
    }
    world.cluster.put(made)
    await world.settle()
    first = status_of(world, "bge-by-hand")["promotion"]
    assert first["result"] == "Refused", "it was asked for before it was staged"
    ask(world, "bge-by-hand", "again")
    await world.settle()
    assert pointer(world)["active"] == "bge-by-hand"


async def test_a_quarantined_version_comes_back_only_by_a_new_request() -> None:
    world = await world_with(2)
    ask(world, V2, "r1")
    await world.settle()
    ask(world, V1, "back")
    await world.settle()
    ask(world, V2, "r2")
    await world.settle()
    assert pointer(world)["active"] == V2
    assert status_of(world, V2)["stage"] == "active"
    assert "quarantined" not in world.cluster.find("Retriever")["status"]
    assert condition(world.cluster.find("Retriever"), "RolledBack")["status"] == "False"


async def test_a_rollback_does_not_wait_for_a_silent_replica() -> None:
    world = await world_with(2, serving={"replicas": 2})
    ask(world, V2, "r1")
    await world.settle()
    world.cluster.serving.replicas["news-serving-1"].silent = True
    ask(world, V1, "back")
    await world.settle(rounds=4)
    assert pointer(world)["active"] == V1


async def test_a_rollback_during_a_promotion_ends_the_promotion() -> None:
    world = await world_with(3)
    ask(world, V2, "r1")
    await world.settle()
    world.cluster.serving.slow.add(V3)
    ask(world, V3, "r2")
    await world.settle(rounds=6)
    ask(world, V1, "back")
    await world.settle()
    assert pointer(world)["active"] == V1
    answer = status_of(world, V3)["promotion"]
    assert (answer["result"], answer["handledRequestID"]) == ("Refused", "r2")
    assert "Superseded" in answer["message"]
    world.cluster.serving.slow.clear()
    await world.settle()
    assert pointer(world)["active"] == V1


async def test_a_request_that_is_taken_back_ends_the_preload() -> None:
    world = await world_with(2)
    world.cluster.serving.slow.add(V2)
    ask(world, V2, "r1")
    await world.settle(rounds=6)
    found = world.cluster.find("ModelVersion", V2)
    world.cluster.put({**found, "spec": {k: v for k, v in found["spec"].items() if k != "promotion"}})
    await world.settle()
    assert served(world).version(V2) is None
    assert pointer(world)["active"] == V1
    assert "result" not in status_of(world, V2).get("promotion", {})


async def test_a_failed_version_is_refused_with_its_reason() -> None:
    world = await world_with(1)
    world.cluster.put(training_job("poor", evalThreshold=0.95))
    await world.settle()
    ask(world, V2, "r1")
    await world.settle()
    answer = status_of(world, V2)["promotion"]
    assert answer["result"] == "Refused"
    assert answer["message"].startswith(f"NotStaged: {V2} is failed")
    assert "0.900 < 0.95" in answer["message"]


async def test_auto_promotion_goes_the_same_way_without_a_request() -> None:
    world = await world_with(1)
    world.cluster.put(training_job("auto", autoPromote=True))
    await world.settle()
    assert pointer(world)["active"] == V2
    assert status_of(world, V2)["promotion"]["handledRequestID"] == "auto"
    assert "autoPromote" in world.cluster.find("Retriever")["status"]["changes"][-1]["cause"]


async def test_auto_promotion_never_brings_back_what_was_taken_back() -> None:
    world = await world_with(1)
    world.cluster.put(training_job("auto", autoPromote=True))
    await world.settle()
    ask(world, V1, "back")
    await world.settle()
    for _ in range(3):
        world.cluster.clock.advance(timedelta(minutes=5))
        await world.settle()
    assert pointer(world)["active"] == V1


async def test_a_rollback_removes_the_split_and_cancels_the_running_test() -> None:
    world = await world_with(3)
    ask(world, V2, "r1")
    await world.settle()
    test = {
        "apiVersion": "attune.dev/v1alpha1",
        "kind": "ABTest",
        "metadata": {"name": "news-ab", "namespace": "news"},
        "spec": {
            "retriever": "news",
            "modelB": V3,
            "metrics": [{"name": "user_feedback", "role": "primary", "direction": "increase"}],
        },
    }
    world.cluster.put(test)
    await world.settle(rounds=10)
    assert world.cluster.find("ABTest")["status"]["phase"] == "Running"
    told = served(world).embedding
    assert told is not None
    assert told.split is not None
    assert told.split.challenger == V3
    ask(world, V1, "back")
    await world.settle()
    assert "split" not in pointer(world)
    ended = world.cluster.find("ABTest")["status"]
    assert (ended["phase"], ended["reason"]) == ("Cancelled", "RolledBack")
    assert f"{V2} → {V1}" in ended["message"]


async def test_versions_of_one_embedding_space_switch_without_a_new_index() -> None:
    world = await world_with(2, of_one_space)
    ask(world, V2, "r1")
    await world.settle()
    assert pointer(world)["active"] == V2
    indexed = [j for j in world.cluster.all("Job") if j["metadata"]["labels"]["attune.dev/stage"] == "index"]
    assert [j["metadata"]["labels"]["attune.dev/owner-uid"] for j in indexed] == [
        world.cluster.find("ModelVersion", V1)["metadata"]["uid"]
    ]
    assert status_of(world, V2)["index"]["collection"] == status_of(world, V1)["index"]["collection"]
    assert condition(world.cluster.find("ModelVersion", V2), "IndexReady")["reason"] == "Shared"
    told = served(world)
    assert told.version(V1).collection == told.version(V2).collection


async def test_without_deployment_only_the_config_map_is_written() -> None:
    world = await world_with(2, serving={"deploy": False})
    ask(world, V2, "r1")
    await world.settle()
    assert world.cluster.all("Deployment") == []
    assert served(world).embedding.active == V2
    assert condition(world.cluster.find("Retriever"), "Serving")["reason"] == "Published"


async def test_switching_the_deployment_off_removes_what_was_deployed() -> None:
    world = await world_with(1)
    assert len(world.cluster.all("Deployment")) == 1
    found = world.cluster.find("Retriever")
    world.cluster.put({**found, "spec": {**found["spec"], "serving": {"deploy": False}}})
    await world.settle()
    assert world.cluster.all("Deployment") == []
    assert served(world).embedding.active == V1


async def test_a_config_map_that_was_deleted_or_edited_is_put_right() -> None:
    world = await world_with(1)
    world.cluster.remove("ConfigMap", "news-serving")
    await world.settle()
    assert served(world).embedding.active == V1
    world.cluster.find("ConfigMap", "news-serving")["data"]["serving.json"] = "{}"
    await world.settle()
    assert served(world).embedding.active == V1


async def test_an_active_version_that_was_deleted_is_said_and_replicas_are_left_alone() -> None:
    world = await world_with(2)
    ask(world, V2, "r1")
    await world.settle()
    before = served(world)
    world.cluster.remove("ModelVersion", V2)
    await world.settle()
    assert served(world) == before
    ready = condition(world.cluster.find("Retriever"), "Serving")
    assert ready["status"] == "False"
    assert f"ModelVersion {V2} was deleted" in ready["message"]


async def promote_and_back(world: World) -> None:
    ask(world, V2, "r1")
    await world.settle()
    ask(world, V1, "back")
    await world.settle()


async def test_a_kill_at_every_write_of_promotion_and_rollback_ends_right_and_never_between() -> None:
    calm = await world_with(2)
    start = len(calm.cluster.writes)
    await promote_and_back(calm)
    writes = len(calm.cluster.writes) - start
    assert writes >= 10
    for at in range(writes):
        for when in ("before", "after"):
            world = await world_with(2)
            first = len(world.cluster.writes)
            world.cluster.fault = lambda number, now, what, at=at, when=when, first=first: _kill_if(
                (number - first, now) == (at, when)
            )
            await promote_and_back(world)
            assert world.restarts == 1, (at, when)
            assert [c["version"] for c in world.cluster.find("Retriever")["status"]["changes"]] == [V1, V2, V1]
            assert pointer(world)["active"] == V1
            assert served(world).embedding.active == V1
            assert status_of(world, V2)["stage"] == "failed"
            assert_invariants(world.cluster)


async def test_nothing_is_written_once_a_promotion_has_settled() -> None:
    world = await world_with(2)
    ask(world, V2, "r1")
    await world.settle()
    before = len(world.cluster.writes)
    for _ in range(3):
        world.cluster.clock.advance(timedelta(minutes=5))
        await world.look()
    assert len(world.cluster.writes) == before


def _kill_if(now: bool) -> None:
    if now:
        raise Killed
