"""What was rolled back is not trained again, on the real API server: data and configuration are compared as it stored them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from scripted_world import ScriptedWorld, training_job

TUNED = {
    "hyperparameters": {"learningRate": 3e-05, "epochs": 2, "hardNegatives": {"relativeMargin": 0.9}},
    "validation": {"splitRatio": 0.85, "minImprovement": 0},
}


@pytest.fixture
def world(cluster: Cluster, tmp_path: Path) -> Iterator[ScriptedWorld]:
    made = ScriptedWorld(cluster, tmp_path)
    yield made
    made.close()


def ended(world: ScriptedWorld, name: str, **spec: Any) -> dict[str, Any]:
    world.apply(yaml.safe_dump(training_job(name, **spec)))
    found: dict[str, Any] = world.until("tj", name, lambda s: s.get("phase") in {"Succeeded", "Failed"})["status"]
    return found


def test_what_was_rolled_back_is_trained_again_only_by_force(world: ScriptedWorld) -> None:
    bad = ended(world, "first", **TUNED)["modelVersion"]
    world.indexed(bad)
    world.attune.ok("promote", bad)
    world.attune.ok("rollback")

    refused = ended(world, "second", **TUNED)
    assert (refused["phase"], refused["reason"]) == ("Failed", "RolledBackBefore")
    assert f"{bad}, trained with the same configuration on the same data (1200 pairs" in refused["message"]
    assert "spec.force: true" in world.cluster.kubectl("describe", "tj", "second", "-n", world.namespace)
    assert "modelVersion" not in refused

    forced = ended(world, "third", **TUNED, force=True)
    assert forced["phase"] == "Succeeded"
    events = world.cluster.get("events", "-n", world.namespace)["items"]
    (told,) = [e for e in events if e["reason"] == "Forced"]
    assert f"{forced['modelVersion']} is trained although {bad}" in told["message"]
    assert ended(world, "fourth", **(TUNED | {"hyperparameters": {"seed": 7}}))["phase"] == "Succeeded"
