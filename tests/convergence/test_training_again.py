"""Trained, promoted, taken back, and trained again from the same data and configuration: refused, unless it is forced."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from attune.contract import Stage, StageSpec
from fake_cluster import Killed, Outcome
from promotions import V1, V2, V3, ask, assert_invariants, condition, pointer, status_of, world_with
from worlds import World, scripted, training_job

V2_AGAIN = {"hyperparameters": {"loss": "multipleNegativesRanking"}}  # what an unset loss means


class Data:
    """The scripted trainer with a dataset that a test can change."""

    digest = "sha256:d"

    def __call__(self, spec: StageSpec, attempt: int) -> Outcome:
        done = scripted(spec, attempt)
        if spec.stage is not Stage.PREPARE or done.result is None or done.result.dataset is None:
            return done
        dataset = done.result.dataset.model_copy(update={"digest": self.digest})
        return Outcome(0, done.result.model_copy(update={"dataset": dataset}))


async def taken_back(trainer: Callable[[StageSpec, int], Outcome] = scripted) -> World:
    """Version 2 was promoted and rolled back; version 1 serves."""
    world = await world_with(2, trainer)
    ask(world, V2, "r1")
    await world.settle()
    ask(world, V1, "back")
    await world.settle()
    assert condition(world.cluster.find("ModelVersion", V2), "RolledBack")["status"] == "True"
    return world


async def again(world: World, **spec: Any) -> dict[str, Any]:
    """The status of a second run, at its end."""
    world.cluster.put(training_job("again", **spec))
    await world.settle()
    found: dict[str, Any] = world.cluster.find("TrainingJob", "again")["status"]
    return found


def told(world: World, reason: str) -> list[str]:
    return [e["message"] for e in world.cluster.events if e["reason"] == reason]


def stages(world: World) -> list[str]:
    """Stages of the second run whose Jobs were created, in their order."""
    return [
        name.split("-")[1] for kind, _, name in world.cluster.created if kind == "Job" and name.startswith("again-")
    ]


@pytest.mark.parametrize("spec", [{}, V2_AGAIN, {"evalThreshold": 0.8}])
async def test_the_same_training_is_refused_before_a_number_is_reserved(spec: dict[str, Any]) -> None:
    world = await taken_back()
    status = await again(world, **spec)
    assert (status["phase"], status["reason"]) == ("Failed", "RolledBackBefore")
    assert status["message"].startswith(f"{V2}, trained with the same configuration on the same data (1200 pairs, ")
    assert ": by hand, request back. Create a TrainingJob with other data" in status["message"]
    assert "spec.force: true" in status["message"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {"DataPrepared": "True", "Failed": "True"}
    assert "modelVersion" not in status
    assert stages(world) == ["prepare"]
    assert [v["metadata"]["name"] for v in world.cluster.all("ModelVersion")] == [V1, V2]
    writes = len(world.cluster.writes)
    for _ in range(3):
        world.cluster.clock.advance(timedelta(minutes=7))
        await world.look()
    assert len(world.cluster.writes) == writes


async def test_with_force_it_is_trained_and_an_event_says_so_once() -> None:
    world = await taken_back()
    status = await again(world, force=True)
    assert (status["phase"], status["modelVersion"]) == ("Succeeded", V3)
    (forced,) = told(world, "Forced")
    assert forced.startswith(f"spec.force is true: {V3} is trained although {V2}, ")
    assert status_of(world, V3)["stage"] == "staged"
    assert pointer(world)["active"] == V1
    assert_invariants(world.cluster)


@pytest.mark.parametrize(
    "spec", [{"hyperparameters": {"seed": 7}}, {"baseModel": f"version:{V1}"}, {"validation": {"splitRatio": 0.8}}]
)
async def test_another_configuration_is_trained(spec: dict[str, Any]) -> None:
    world = await taken_back()
    status = await again(world, **spec)
    assert (status["phase"], status["modelVersion"]) == ("Succeeded", V3)
    assert told(world, "Forced") == []


async def test_other_data_is_trained() -> None:
    data = Data()
    world = await taken_back(data)
    data.digest = "sha256:e"
    assert (await again(world))["phase"] == "Succeeded"


async def test_a_version_that_was_promoted_again_does_not_refuse() -> None:
    world = await taken_back()
    ask(world, V2, "sure")
    await world.settle()
    assert pointer(world)["active"] == V2
    assert (await again(world))["phase"] == "Succeeded"


async def test_a_version_that_was_deleted_does_not_refuse() -> None:
    world = await taken_back()
    world.cluster.remove("ModelVersion", V2)
    assert (await again(world))["phase"] == "Succeeded"


async def test_a_version_of_another_retriever_does_not_refuse() -> None:
    world = await taken_back()
    other = {**world.cluster.find("Retriever"), "metadata": {"name": "other", "namespace": "news"}}
    world.cluster.put({key: value for key, value in other.items() if key != "status"})
    await world.settle()
    assert (await again(world, retriever="other"))["phase"] == "Succeeded"


async def test_a_sibling_that_cannot_be_read_is_passed_over() -> None:
    world = await taken_back()
    broken = world.cluster.find("ModelVersion", V1)
    spec = {**broken["spec"], "config": {"baseModel": "pvc://models/minilm", "epochs": "many"}}
    world.cluster.put({**broken, "metadata": {"name": "broken", "namespace": "news"}, "spec": {**spec, "version": 9}})
    status = await again(world, force=True)
    assert status["modelVersion"] == "emb-v10-20260315"


async def test_numbers_of_versions_without_our_labels_are_taken_too() -> None:
    world = await taken_back()
    made = {
        "retriever": "news",
        "type": "embedding",
        "version": 3,
        "baseModel": "pvc://models/bge",
        "artifact": {"uri": "pvc://store/bge"},
        "source": {"import": "pvc://models/bge"},
    }
    world.cluster.put(
        {
            "apiVersion": "attune.dev/v1alpha1",
            "kind": "ModelVersion",
            "metadata": {"name": V3, "namespace": "news"},
            "spec": made,
        }
    )
    await world.settle()
    assert (await again(world, force=True))["modelVersion"] == "emb-v4-20260315"


def outcome(world: World) -> dict[str, Any]:
    status = world.cluster.find("TrainingJob", "again")["status"]
    return {
        "ended": {key: status.get(key) for key in ("phase", "reason", "message", "modelVersion", "dataset")},
        "conditions": {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]},
        "stages": stages(world),
        "versions": {v["metadata"]["name"]: v["status"]["stage"] for v in world.cluster.all("ModelVersion")},
        "active": pointer(world)["active"],
    }


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("force", [False, True])
async def test_a_kill_at_any_write_up_to_training_ends_in_the_same_state(force: bool, when: str) -> None:
    """From training on a forced run is like any other, whose writes test_training_job kills at."""
    calm = await taken_back()
    start = len(calm.cluster.writes)
    await again(calm, force=force)
    expected, writes = outcome(calm), calm.cluster.writes[start:]
    own = list(itertools.takewhile(lambda w: "again-train" not in w, writes))
    assert (f"create ModelVersion {V3}" in own) is force
    assert (own == writes) is not force
    assert expected["ended"]["reason"] == ("Succeeded" if force else "RolledBackBefore")
    for at, what in enumerate(own):
        world = await taken_back()
        world.cluster.fault = _kill(len(world.cluster.writes) + at, when)
        await again(world, force=force)
        assert world.restarts == 1, f"no kill {when} {what}"
        assert outcome(world) == expected, f"kill {when} {what}"
        assert_invariants(world.cluster)


def _kill(at: int, when: str) -> Callable[[int, str, str], None]:
    def fault(number: int, now: str, what: str) -> None:
        if (number, now) == (at, when):
            raise Killed

    return fault
