"""What a TrainingJob's method and compute make of its stages: where queryOnly starts from, and Pods that train together."""

from __future__ import annotations

from typing import Any

import pytest

from attune.contract import ExitCode, Stage, StageResult, StageSpec
from fake_cluster import Outcome
from promotions import status_of
from worlds import World, make_world, of_one_space, retriever, scripted, training_job


async def run_of(world: World, **spec: Any) -> dict[str, Any]:
    world.cluster.put(retriever())
    await world.settle()
    world.cluster.put(training_job(**spec))
    await world.settle()
    return world.cluster.find("TrainingJob")


def spec_of(world: World, stage: str) -> StageSpec:
    found = [c for c in world.cluster.all("ConfigMap") if c["metadata"]["name"].startswith(f"tune-{stage}")]
    return StageSpec.from_json(found[-1]["data"]["stage.json"])


async def test_query_only_starts_from_the_active_version_and_shares_its_collection() -> None:
    world = make_world(of_one_space)
    job = await run_of(world, hyperparameters={"method": "queryOnly"}, autoPromote=True)
    assert job["status"]["phase"] == "Succeeded", job["status"]["message"]
    first, second = "emb-v1-20260315", job["status"]["modelVersion"]
    active = status_of(world, first)["artifact"]["uri"]
    assert [spec_of(world, stage).config.base_model for stage in ("prepare", "train")] == [active, active]
    assert status_of(world, second)["stage"] == "active"
    assert status_of(world, second)["index"]["collection"] == status_of(world, first)["index"]["collection"]
    indexes = [name for kind, _, name in world.cluster.created if kind == "Job" and "index" in name]
    assert len(indexes) == 1, "nothing is embedded anew"


@pytest.mark.parametrize(
    ("spec", "base"),
    [
        ({}, "pvc://models/minilm"),
        ({"hyperparameters": {"method": "lora"}}, "pvc://models/minilm"),
        ({"hyperparameters": {"method": "queryOnly"}, "baseModel": "BAAI/bge-small-en-v1.5"}, "BAAI/bge-small-en-v1.5"),
    ],
)
async def test_others_start_from_what_they_are_told_or_the_retriever(spec: dict[str, Any], base: str) -> None:
    world = make_world()
    job = await run_of(world, **spec)
    assert job["status"]["phase"] == "Succeeded", job["status"]["message"]
    assert spec_of(world, "train").config.base_model == base


async def test_nodes_make_an_indexed_job_whose_pods_find_the_first_one() -> None:
    world = make_world()
    job = await run_of(world, compute={"nodes": 3, "processesPerNode": 2})
    assert job["status"]["phase"] == "Succeeded", job["status"]["message"]
    jobs = {j["metadata"]["labels"]["attune.dev/stage"]: j for j in _jobs_of_the_run(world)}
    spec = jobs["train"]["spec"]
    assert (spec["completionMode"], spec["completions"], spec["parallelism"]) == ("Indexed", 3, 3)
    assert (spec["backoffLimit"], "podFailurePolicy" in spec) == (0, False)
    pod = spec["template"]["spec"]
    name, service = jobs["train"]["metadata"]["name"], pod["subdomain"]
    told = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    assert (told["ATTUNE_NODES"], told["ATTUNE_PROCESSES_PER_NODE"]) == ("3", "2")
    assert told["MASTER_ADDR"] == f"{name}-0.{service}"
    assert 20_000 <= int(told["MASTER_PORT"]) < 30_000
    found = next(s for s in world.cluster.all("Service") if s["metadata"]["name"] == service)
    assert found["spec"]["clusterIP"] == "None"
    assert found["spec"]["publishNotReadyAddresses"] is True
    assert found["spec"]["selector"] == {"batch.kubernetes.io/job-name": name}
    assert found["metadata"]["ownerReferences"] == jobs["train"]["metadata"]["ownerReferences"]
    for stage in ("prepare", "evaluate"):
        assert jobs[stage]["spec"]["completions"] == 1
        assert "env" not in jobs[stage]["spec"]["template"]["spec"]["containers"][0]


async def test_one_process_for_each_gpu_of_a_pod() -> None:
    world = make_world()
    await run_of(world, compute={"resources": {"limits": {"nvidia.com/gpu": "4", "memory": "8Gi"}}})
    train = next(j for j in _jobs_of_the_run(world) if j["metadata"]["labels"]["attune.dev/stage"] == "train")
    pod = train["spec"]["template"]["spec"]
    told = {entry["name"]: entry["value"] for entry in pod["containers"][0]["env"]}
    assert told == {"ATTUNE_NODES": "1", "ATTUNE_PROCESSES_PER_NODE": "4"}
    assert "completionMode" not in train["spec"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory"}} in pod["volumes"]


async def test_a_pod_that_only_lost_another_does_not_hide_the_cause() -> None:
    """The first Pod to be listed lost its peer; the second one says what nothing cures."""
    told = iter([("PeerLost", 1, "another process ended"), ("TrainingDiverged", 76, "the loss became nan")])

    def trainer(spec: StageSpec, attempt: int) -> Outcome:
        if spec.owner.kind != "TrainingJob" or spec.stage is not Stage.TRAIN:
            return scripted(spec, attempt)
        reason, code, message = next(told)
        result = StageResult(
            stage=spec.stage, spec_digest=spec.digest(), succeeded=False, reason=reason, message=message
        )
        return Outcome(code, result)

    world = make_world(trainer)
    job = await run_of(world, compute={"nodes": 2})
    assert (job["status"]["phase"], job["status"]["reason"]) == ("Failed", "TrainingDiverged")
    trains = [a for a in job["status"]["attempts"] if a["stage"] == "train"]
    assert [a["exitCode"] for a in trains] == [ExitCode.TRAINING_DIVERGED], "not tried again"


def _jobs_of_the_run(world: World) -> list[dict[str, Any]]:
    return [j for j in world.cluster.all("Job") if j["metadata"]["name"].startswith("tune-")]
