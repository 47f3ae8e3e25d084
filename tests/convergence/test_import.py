"""A Retriever and its version 1 against the fake cluster."""

from __future__ import annotations

from datetime import timedelta

from attune.contract import ExitCode, Stage, StageResult, StageSpec
from fake_cluster import Killed, Outcome
from worlds import World, make_world, retriever, scripted


async def imported(world: World, **spec: object) -> World:
    world.cluster.put(retriever(**spec))
    await world.settle()
    return world


def failing_import(code: int, reason: str, message: str) -> object:
    def trainer(spec: StageSpec, attempt: int) -> Outcome:
        if spec.stage is not Stage.IMPORT:
            return scripted(spec, attempt)
        result = StageResult(stage=spec.stage, spec_digest="x", succeeded=False, reason=reason, message=message)
        return Outcome(code, result)

    return trainer


async def test_version_1_is_imported_evaluated_and_active() -> None:
    world = await imported(make_world())
    version = world.cluster.find("ModelVersion")
    assert version["metadata"]["name"] == "emb-v1-20260315"
    assert version["status"]["stage"] == "active"
    assert version["status"]["dimensions"] == 384
    assert [j["metadata"]["labels"]["attune.dev/stage"] for j in world.cluster.all("Job")] == [
        "evaluate",
        "import",
        "index",
        "prepare",
    ]
    ready = world.cluster.find("Retriever")["status"]["conditions"][0]
    assert (ready["type"], ready["status"], ready["message"]) == ("Ready", "True", "embedding emb-v1-20260315")


async def test_without_an_archive_it_is_staged_and_says_what_was_not_measured() -> None:
    world = await imported(make_world(), data={})
    version = world.cluster.find("ModelVersion")
    assert version["status"]["stage"] == "active"
    assert "evaluationMetrics" not in version["status"]
    evaluated = next(c for c in version["status"]["conditions"] if c["type"] == "Evaluated")
    assert (evaluated["status"], evaluated["reason"]) == ("False", "NoEvaluationData")


async def test_a_base_model_that_is_not_there_fails_with_its_reason_and_the_way_out() -> None:
    trainer = failing_import(
        ExitCode.BAD_CONFIG, "BaseModelNotFound", "spec.embedding.baseModel: no folder at pvc://models/minilm"
    )
    world = await imported(make_world(trainer))
    assert world.cluster.find("ModelVersion")["status"]["stage"] == "failed"
    ready = world.cluster.find("Retriever")["status"]["conditions"][0]
    assert (ready["status"], ready["reason"]) == ("False", "ImportFailed")
    assert "no folder at pvc://models/minilm" in ready["message"]
    assert "delete that ModelVersion to import again" in ready["message"]


async def test_deleting_the_failed_version_imports_again_under_the_next_look() -> None:
    world = await imported(make_world(failing_import(ExitCode.BAD_CONFIG, "BaseModelNotFound", "no folder")))
    world.cluster.trainer = scripted
    world.cluster.remove("ModelVersion", "emb-v1-20260315")
    await world.settle()
    assert world.cluster.find("ModelVersion")["status"]["stage"] == "active"


async def test_two_retrievers_of_a_namespace_share_its_names_without_a_clash() -> None:
    world = make_world()
    world.cluster.put(retriever())
    other = retriever()
    other["metadata"]["name"] = "other"
    world.cluster.put(other)
    await world.settle()
    assert sorted(v["metadata"]["name"] for v in world.cluster.all("ModelVersion")) == [
        "emb-v1-20260315",
        "emb-v2-20260315",
    ]
    pointers = {r["metadata"]["name"]: r["status"]["embedding"]["active"] for r in world.cluster.all("Retriever")}
    assert sorted(pointers.values()) == ["emb-v1-20260315", "emb-v2-20260315"]


async def test_a_kill_at_any_write_of_an_import_ends_active_with_one_version() -> None:
    writes = len((await imported(make_world())).cluster.writes)
    assert writes > 8
    for at in range(writes):
        for when in ("before", "after"):
            world = make_world()
            world.cluster.fault = lambda number, now, what, at=at, when=when: _kill_if((number, now) == (at, when))
            await imported(world)
            assert world.restarts == 1
            assert world.cluster.find("ModelVersion")["status"]["stage"] == "active", (at, when)
            assert_one_active_everywhere(world)


async def test_a_deleted_retriever_takes_its_versions_and_jobs_along() -> None:
    world = await imported(make_world())
    world.cluster.remove("Retriever", "news")
    await world.settle()
    assert world.cluster.objects == {}


async def test_nothing_is_written_after_convergence() -> None:
    world = await imported(make_world())
    before = len(world.cluster.writes)
    for _ in range(3):
        world.cluster.clock.advance(timedelta(minutes=11))
        await world.look()
    assert len(world.cluster.writes) == before


def _kill_if(now: bool) -> None:
    if now:
        raise Killed


def assert_one_active_everywhere(world: World) -> None:
    """Invariant 1, at every stored revision: at most one version says active."""
    stages: dict[str, str] = {}
    for revision in world.cluster.history:
        if revision["kind"] == "ModelVersion":
            stages[revision["metadata"]["name"]] = revision.get("status", {}).get("stage", "")
            assert list(stages.values()).count("active") <= 1
