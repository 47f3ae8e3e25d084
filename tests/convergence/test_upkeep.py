"""Collections that are built, refreshed, shared and moved, and versions that are not kept any more, against the fake cluster."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from attune.contract import ExitCode, Stage, StageResult, StageSpec
from fake_cluster import Killed, Outcome
from promotions import V1, V2, V3, V4, V5, ask, assert_invariants, condition, pointer, served, status_of, world_with
from worlds import World, make_world, of_one_space, retriever, scripted


def index_fails(times: int, code: int = int(ExitCode.STORE_UNAVAILABLE), reason: str = "StoreUnavailable") -> Any:
    """The first so many attempts of any index stage fail."""
    left = [times]

    def trainer(spec: StageSpec, attempt: int) -> Outcome:
        if spec.stage is not Stage.INDEX or left[0] <= 0:
            return scripted(spec, attempt)
        left[0] -= 1
        message = "postgresql://vectors: connection refused; check index.uri"
        result = StageResult(stage=spec.stage, spec_digest="x", succeeded=False, reason=reason, message=message)
        return Outcome(code, result)

    return trainer


def retired(world: World) -> list[dict[str, Any]]:
    """What every retire stage was told to delete."""
    configs = [c for c in world.cluster.history if c["kind"] == "ConfigMap" and "stage.json" in c.get("data", {})]
    specs = {c["metadata"]["name"]: json.loads(c["data"]["stage.json"]) for c in configs}
    return [s["retire"] for s in specs.values() if s["stage"] == "retire"]


async def test_an_index_stage_that_fails_now_and_then_is_repeated_until_the_version_is_active() -> None:
    world = await world_with(1, index_fails(3))
    assert pointer(world)["active"] == V1
    indexing = status_of(world, V1)["indexing"]
    assert (indexing["run"], indexing["failures"]) == (1, 3)
    assert [a["exitCode"] for a in indexing["attempts"]] == [74, 74, 74, 0]


async def test_a_run_that_failed_for_good_says_so_and_another_follows_by_itself() -> None:
    world = await world_with(1, index_fails(1, int(ExitCode.BAD_DATA), "DimensionMismatch"), serving={"deploy": False})
    version = world.cluster.find("ModelVersion", V1)
    assert version["status"]["stage"] == "staged"
    not_ready = condition(version, "IndexReady")
    assert (not_ready["status"], not_ready["reason"]) == ("False", "DimensionMismatch")
    assert "check index.uri" in not_ready["message"]
    assert condition(world.cluster.find("Retriever"), "Ready")["reason"] == "IndexFailed"
    world.cluster.clock.advance(timedelta(minutes=10))
    await world.settle()
    assert pointer(world)["active"] == V1
    assert status_of(world, V1)["indexing"]["run"] == 2


async def test_promotion_is_refused_while_the_index_failed_and_granted_on_a_new_request() -> None:
    world = await world_with(2)
    version = world.cluster.find("ModelVersion", V2)
    version["status"].pop("index")
    failed = {"run": 1, "finishedAt": "2099-01-01T00:00:00Z", "reason": "DiskFull", "message": "no room left"}
    version["status"]["indexing"] = failed
    ask(world, V2, "r1")
    await world.settle()
    answer = status_of(world, V2)["promotion"]
    assert answer["result"] == "Refused"
    assert answer["message"].startswith(f"IndexIncomplete: the index of {V2} is not complete: DiskFull: no room left")


async def test_live_collections_are_refreshed_every_hour_and_no_jobs_pile_up() -> None:
    world = await world_with(2)
    for _ in range(3):
        world.cluster.clock.advance(timedelta(minutes=61))
        await world.settle()
    for name in (V1, V2):
        assert status_of(world, name)["indexing"]["run"] == 4
    jobs = [j for j in world.cluster.all("Job") if j["metadata"]["labels"]["attune.dev/stage"] == "index"]
    assert len(jobs) == 2
    assert status_of(world, V1)["index"]["builtAt"] < status_of(world, V1)["index"]["refreshedAt"]


async def test_a_refresh_that_fails_leaves_the_index_ready() -> None:
    world = await world_with(1)
    world.cluster.trainer = index_fails(100)
    world.cluster.clock.advance(timedelta(minutes=61))
    await world.settle()
    assert condition(world.cluster.find("ModelVersion", V1), "IndexReady")["status"] == "True"
    assert status_of(world, V1)["indexing"]["reason"] == "BackoffLimitExceeded"
    assert any(e["reason"] == "IndexFailed" for e in world.cluster.events)


async def test_another_store_is_filled_first_and_replicas_change_over_when_it_is_complete() -> None:
    world = await world_with(1)
    world.cluster.hold = True
    found = world.cluster.find("Retriever")
    moved = {"store": "qdrant", "uri": "http://qdrant:6333"}
    world.cluster.put({**found, "spec": {**found["spec"], "index": moved}})
    await world.settle(rounds=6)
    assert served(world).index.store == "lancedb"
    assert "replicas go on with the old one" in condition(world.cluster.find("Retriever"), "Serving")["message"]
    world.cluster.hold = False
    await world.settle()
    assert served(world).index.store == "qdrant"
    assert condition(world.cluster.find("Retriever"), "Serving")["status"] == "True"


async def test_a_collection_is_built_by_as_many_pods_as_asked_for() -> None:
    world = await world_with(1, index={"shards": 4}, serving={"deploy": False})
    job = next(j for j in world.cluster.all("Job") if j["metadata"]["labels"]["attune.dev/stage"] == "index")
    assert (job["spec"]["completionMode"], job["spec"]["completions"]) == ("Indexed", 4)
    documents = status_of(world, V1)["index"]["documents"]
    assert documents == 4 * 1194


async def test_without_an_archive_there_is_no_index_and_promotion_needs_none() -> None:
    world = await world_with(1, data={})
    assert pointer(world)["active"] == V1
    assert served(world).index is None
    assert condition(world.cluster.find("Retriever"), "IndexReady")["reason"] == "NoArchive"


async def test_the_last_three_are_kept_and_older_ones_deleted_with_their_collections() -> None:
    world = await world_with(5)
    for number, name in enumerate((V2, V3, V4), 1):
        ask(world, name, f"r{number}")
        await world.settle()
    assert status_of(world, V1)["retirement"]["state"] == "Retired"
    assert status_of(world, V1)["stage"] == "deprecated"
    assert condition(world.cluster.find("ModelVersion", V1), "ArtifactVerified")["reason"] == "ArtifactDeleted"
    assert "retirement" not in status_of(world, V3)
    assert {v.name for v in served(world).versions} == {V3, V4}
    work = retired(world)
    assert all(status_of(world, V4)["index"]["collection"] not in w["collections"] for w in work)
    assert any(w["artifacts"][0].rpartition("/")[2].startswith(V1) and len(w["collections"]) == 1 for w in work)
    assert_invariants(world.cluster)


async def test_what_is_active_is_kept_however_old_it_is() -> None:
    world = await world_with(5)
    assert pointer(world)["active"] == V1
    assert "retirement" not in status_of(world, V1)
    assert status_of(world, V2)["retirement"]["state"] == "Retired"


async def test_a_retired_version_cannot_be_promoted_and_says_which_can() -> None:
    world = await world_with(5)
    ask(world, V2, "r1")
    await world.settle()
    answer = status_of(world, V2)["promotion"]
    assert answer["result"] == "Refused"
    assert answer["message"].startswith("ArtifactDeleted")
    assert V5 in answer["message"]


async def test_a_version_that_somebody_asks_for_is_not_deleted_under_them() -> None:
    world = await world_with(4)
    world.cluster.serving.slow.add(V2)
    world.cluster.put({**world.cluster.find("Retriever"), "spec": {**world.cluster.find("Retriever")["spec"]}})
    ask(world, V2, "r1")
    found = world.cluster.find("Retriever")
    world.cluster.put({**found, "spec": {**found["spec"], "history": {"keepVersions": 1}}})
    await world.settle(rounds=8)
    assert "retirement" not in status_of(world, V2)
    world.cluster.serving.slow.clear()
    await world.settle()
    assert pointer(world)["active"] == V2


async def test_a_shared_collection_outlives_the_older_of_its_versions() -> None:
    world = await world_with(4, of_one_space)
    shared = status_of(world, V2)["index"]["collection"]
    ask(world, V4, "r1")
    await world.settle()
    await shrink(world)
    assert status_of(world, V2)["retirement"]["state"] == "Retired"
    assert status_of(world, V3)["retirement"]["state"] == "Retired"
    assert len(retired(world)) == 2
    assert all(shared not in w["collections"] for w in retired(world))
    world.cluster.clock.advance(timedelta(minutes=61))
    await world.settle()
    assert status_of(world, V1)["indexing"]["run"] == 2, "the oldest that is left keeps it up to date"


async def test_a_kill_at_every_write_of_a_retirement_deletes_once_and_never_what_serves() -> None:
    calm = await world_with(4)
    start = len(calm.cluster.writes)
    await shrink(calm)
    writes = len(calm.cluster.writes) - start
    assert writes >= 6
    for at in range(writes):
        for when in ("before", "after"):
            world = await world_with(4)
            first = len(world.cluster.writes)
            world.cluster.fault = lambda number, now, what, at=at, when=when, first=first: _kill_if(
                (number - first, now) == (at, when)
            )
            await shrink(world)
            assert status_of(world, V2)["retirement"]["state"] == "Retired", (at, when)
            assert "retirement" not in status_of(world, V1)
            deleted = {w["artifacts"][0] for w in retired(world)}
            assert deleted == {w["artifacts"][0] for w in retired(calm)}
            jobs = [a for a in world.cluster.created if a[0] == "Job" and "-retire-" in a[2]]
            assert len(jobs) == len(set(jobs))


async def shrink(world: World) -> None:
    found = world.cluster.find("Retriever")
    world.cluster.put({**found, "spec": {**found["spec"], "history": {"keepVersions": 1}}})
    await world.settle()


async def test_a_reranker_goes_the_same_way_without_an_index() -> None:
    world = make_world()
    world.cluster.put(retriever(reranker={"baseModel": "pvc://models/cross"}))
    await world.settle()
    assert pointer(world, "reranker")["active"] == "rer-v1-20260315"
    told = served(world)
    assert told.reranker is not None
    assert told.version("rer-v1-20260315").collection is None
    assert condition(world.cluster.find("Retriever"), "Ready")["message"] == (
        f"embedding {V1}, reranker rer-v1-20260315"
    )


def _kill_if(now: bool) -> None:
    if now:
        raise Killed
