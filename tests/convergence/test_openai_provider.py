"""Provider openai against the faulty fake cluster: versions of the API's own dimensions, and remote jobs that are always cancelled."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from attune.contract import ModelSummary, Stage, StageSpec, key_variable
from fake_cluster import FakeCluster, Outcome, flaky
from kills import killed_at_each_write
from worlds import World, failing, make_world, retriever, scripted, training_job

SECRET = {"secretRef": {"name": "openai"}}
TUNES = {"method": "fineTune", "model": "tunable", **SECRET}
URL = "https://api.openai.com/v1"


def hosted(spec: StageSpec, attempt: int) -> Outcome:
    """A trainer whose openai versions have the API's 1536 dimensions."""
    outcome = scripted(spec, attempt)
    if outcome.result is None or outcome.result.model is None or spec.config.openai is None:
        return outcome
    model: ModelSummary = outcome.result.model.model_copy(update={"dimensions": 1536})
    return Outcome(0, outcome.result.model_copy(update={"model": model}))


def cancels(cluster: FakeCluster) -> list[dict[str, Any]]:
    return [j for j in cluster.all("Job") if "-cancel-" in j["metadata"]["name"]]


def keys_in(job: dict[str, Any]) -> list[str]:
    env = job["spec"]["template"]["spec"]["containers"][0].get("env") or []
    return [entry["name"] for entry in env if entry["name"].startswith("ATTUNE_API_KEY_")]


async def test_an_adapter_version_is_staged_with_an_index_of_its_own_and_pods_that_ask_have_the_key() -> None:
    world = make_world(hosted)
    world.cluster.put(retriever())
    world.cluster.put(training_job(provider="openai", openai=SECRET))
    await world.settle()
    assert world.cluster.find("TrainingJob")["status"]["phase"] == "Succeeded"
    version = world.cluster.find("ModelVersion", "emb-v2-20260315")
    assert version["spec"]["baseModel"] == "openai:text-embedding-3-small"
    assert version["spec"]["config"]["openai"]["method"] == "adapter"
    assert version["spec"]["secretRef"] == {"name": "openai"}
    assert version["status"]["stage"] == "staged"
    first = world.cluster.find("ModelVersion", "emb-v1-20260315")
    assert (first["status"]["dimensions"], version["status"]["dimensions"]) == (384, 1536)
    assert version["status"]["index"]["collection"] != first["status"]["index"]["collection"]
    with_key = {j["metadata"]["labels"]["attune.dev/stage"]: keys_in(j) for j in world.cluster.all("Job") if keys_in(j)}
    assert with_key == {stage: [key_variable(URL)] for stage in ("prepare", "train", "evaluate", "index")}
    assert keys_in(world.cluster.find("Deployment")) == [key_variable(URL)]
    assert cancels(world.cluster) == []


async def test_the_operators_defaults_make_an_openai_job_of_a_plain_one() -> None:
    world = make_world(hosted, FINETUNE_PROVIDER="openai", OPENAI_FINETUNE_MODEL="text-embedding-3-large")
    world.cluster.put(retriever())
    world.cluster.put(training_job())
    await world.settle()
    version = world.cluster.find("ModelVersion", "emb-v2-20260315")
    assert version["spec"]["config"]["openai"]["model"] == "text-embedding-3-large"
    assert version["status"]["stage"] == "staged"


async def training(world: World, **spec: Any) -> World:
    """At the train stage, whose Pod does not end."""
    world.cluster.put(retriever())
    await world.settle()
    world.cluster.put(training_job(provider="openai", openai=TUNES, **spec))
    for _ in range(30):
        await world.look()
        if any("-train-" in j["metadata"]["name"] for j in world.cluster.all("Job")):
            world.cluster.hold = True
            world.cluster.run_jobs()
            await world.look()
            return world
        world.cluster.run_jobs()
        world.cluster.clock.advance(timedelta(seconds=10))
    raise AssertionError("no train stage")


async def test_a_training_job_that_is_deleted_is_cancelled_at_the_api_by_a_job_that_outlives_it() -> None:
    world = await training(make_world(hosted))
    uid = world.cluster.find("TrainingJob")["metadata"]["uid"]
    world.cluster.remove("TrainingJob", "tune")
    await world.settle(10)
    (job,) = cancels(world.cluster)
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["cancel", "--base-url", URL, "--run", uid]
    assert container["env"][0]["valueFrom"]["secretKeyRef"]["name"] == "openai"
    assert world.cluster.find("ModelVersion", "emb-v2-20260315")["status"]["notes"].startswith("TrainingJobDeleted")
    assert any("cancels what the API still trains" in event["message"] for event in world.cluster.events)


async def test_killed_before_and_after_each_write_it_asks_once_for_the_cancelling() -> None:
    ready = await training(make_world(hosted))
    ready.cluster.remove("TrainingJob", "tune")
    calm = await training(make_world(hosted))
    calm.cluster.remove("TrainingJob", "tune")
    await calm.settle(10)
    tried = 0
    for world, at in killed_at_each_write(ready, calm):
        await world.settle(10)
        assert len(cancels(world.cluster)) == 1, at
        assert len([a for a in world.cluster.created if "-cancel-" in a[2]]) == 1, at
        tried += world.restarts
    assert tried >= 4


@pytest.mark.parametrize("every", [2, 3])
async def test_lost_requests_and_answers_change_nothing_in_the_end(every: int) -> None:
    world = await training(make_world(hosted))
    world.cluster.remove("TrainingJob", "tune")
    world.cluster.fault = flaky(every)
    await world.settle(20)
    assert len(cancels(world.cluster)) == 1


async def test_a_deadline_cancels_at_the_api() -> None:
    world = await training(make_world(hosted), activeDeadlineSeconds=600)
    world.cluster.clock.advance(timedelta(minutes=20))
    await world.settle(10)
    assert world.cluster.find("TrainingJob")["status"]["reason"] == "DeadlineExceeded"
    assert len(cancels(world.cluster)) == 1


async def test_a_version_that_is_deleted_cancels_at_the_api() -> None:
    world = await training(make_world(hosted))
    world.cluster.remove("ModelVersion", "emb-v2-20260315")
    await world.settle(10)
    assert world.cluster.find("TrainingJob")["status"]["reason"] == "ModelVersionDeleted"
    assert len(cancels(world.cluster)) == 1


async def test_suspension_and_a_lost_pod_cancel_nothing_for_the_run_goes_on() -> None:
    world = await training(make_world(hosted))
    world.cluster.put(training_job(provider="openai", openai=TUNES, suspend=True))
    await world.settle(6)
    assert world.cluster.find("TrainingJob")["status"]["phase"] == "Suspended"
    assert cancels(world.cluster) == []
    world.cluster.put(training_job(provider="openai", openai=TUNES, suspend=False))
    world.cluster.hold = False
    await world.settle()
    assert world.cluster.find("TrainingJob")["status"]["phase"] == "Succeeded"
    assert cancels(world.cluster) == []


async def test_what_the_api_refused_is_final_in_its_own_words_and_nothing_is_cancelled() -> None:
    words = "https://api.openai.com/v1 answered 400: Model text-embedding-3-small is not available for fine-tuning"
    world = make_world(failing(Stage.TRAIN, code=78, reason="ApiRefused", message=words))
    world.cluster.put(retriever())
    world.cluster.put(training_job(provider="openai", openai={"method": "fineTune", **SECRET}))
    await world.settle()
    status = world.cluster.find("TrainingJob")["status"]
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "ApiRefused", words)
    assert len([a for a in status["attempts"] if a["stage"] == "train"]) == 1
    assert cancels(world.cluster) == []
