"""ABTests against the fake cluster: what ends them besides a verdict, and what they must not get in the way of."""

from __future__ import annotations

from promotions import V1, V2, V3, ask, pointer, served, status_of
from trials import WORSE, ab_test, trial_of, until, world_to_test
from worlds import training_job


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
