"""ABTests on the real API server, with the real operator and the scripted trainer: each is as specified, and none is stuck.

What needs samples is in tests/e2e; here nobody says which Prometheus to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from scripted_world import API, ScriptedWorld, training_job


@pytest.fixture
def world(cluster: Cluster, tmp_path: Path) -> Iterator[ScriptedWorld]:
    made = ScriptedWorld(cluster, tmp_path)
    yield made
    made.close()


def ab_test(name: str, challenger: str, **spec: Any) -> dict[str, Any]:
    known = {
        "retriever": "news",
        "modelB": challenger,
        "metrics": [{"name": "clicks", "role": "primary"}],
        "analysis": {"interval": "10s"},
    }
    return {"apiVersion": API, "kind": "ABTest", "metadata": {"name": name}, "spec": known | spec}


def of_another_retriever() -> dict[str, Any]:
    spec = {
        "retriever": "other",
        "type": "embedding",
        "version": 7,
        "baseModel": "pvc://store/base-model",
        "artifact": {"uri": "pvc://store/foreign"},
        "source": {"import": "pvc://store/base-model"},
    }
    return {"apiVersion": API, "kind": "ModelVersion", "metadata": {"name": "foreign"}, "spec": spec}


def third_version(world: ScriptedWorld) -> str:
    world.apply(yaml.safe_dump(training_job("tune-3")))
    three = world.trained("tune-3")
    world.indexed(three)
    return three


def phase(world: ScriptedWorld, name: str, wanted: str) -> dict[str, Any]:
    found: dict[str, Any] = world.until("abt", name, lambda s: s.get("phase") == wanted)["status"]
    return found


def split(world: ScriptedWorld) -> dict[str, Any] | None:
    found: dict[str, Any] | None = world.get("rtr", "news")["status"]["embedding"].get("split")
    return found


def test_of_several_tests_at_once_those_that_can_run_do_one_after_the_other(world: ScriptedWorld) -> None:
    three = third_version(world)
    tests = [
        ab_test("a-unknown", "emb-v9"),
        ab_test("b-across", "foreign"),
        ab_test("c-first", world.two),
        ab_test("d-second", three),
    ]
    world.apply(yaml.safe_dump_all([of_another_retriever(), *tests]))
    unknown, across = phase(world, "a-unknown", "Failed"), phase(world, "b-across", "Failed")
    assert (unknown["reason"], "there is no ModelVersion emb-v9" in unknown["message"]) == ("UnknownVersion", True)
    assert (across["reason"], "foreign is a version of Retriever other" in across["message"]) == (
        "OtherRetriever",
        True,
    )
    first = phase(world, "c-first", "Running")
    assert first["modelA"] == world.one
    world.until("abt", "d-second", lambda s: s.get("message") == "Waiting: c-first runs")
    world.until("abt", "c-first", lambda s: _reason(s, "MetricsUnavailable") == "NoPrometheus")

    shown = world.cluster.kubectl("get", "abt", "-n", world.namespace)
    lines = {line.split()[0]: line.split() for line in shown.splitlines()}
    assert lines["NAME"] == ["NAME", "A", "B", "SPLIT", "SAMPLES", "PHASE", "WINNER", "AGE"]
    assert lines["c-first"][1:5] == [world.one, world.two, "0.2", "Running"]
    assert "NoPrometheus" in world.cluster.kubectl("describe", "abt", "c-first", "-n", world.namespace)

    answer = world.attune.ok("test", "cancel", "c-first")
    assert answer.out.startswith("c-first: Cancelled: ")
    phase(world, "d-second", "Running")
    world.cluster.kubectl("delete", "mv", three, "-n", world.namespace)
    gone = phase(world, "d-second", "Cancelled")
    assert (gone["reason"], gone["message"]) == ("VersionDeleted", f"cancelled: ModelVersion {three} was deleted")
    world.until("rtr", "news", lambda s: "split" not in s["embedding"])


def test_a_rollback_ends_a_running_test_and_says_so(world: ScriptedWorld) -> None:
    three = third_version(world)
    world.attune.ok("promote", world.two)
    world.apply(yaml.safe_dump(ab_test("trial", three)))
    phase(world, "trial", "Running")
    world.attune.ok("rollback")
    ended = phase(world, "trial", "Cancelled")
    assert ended["reason"] == "RolledBack"
    assert f"{world.two} → {world.one} (by hand, request" in ended["message"]
    assert f"ends test trial of {three}" in ended["message"]
    assert split(world) is None


def test_a_deleted_test_takes_its_split_along_and_one_made_anew_begins_anew(world: ScriptedWorld) -> None:
    world.apply(yaml.safe_dump(ab_test("trial", world.two)))
    phase(world, "trial", "Running")
    before = split(world)
    world.cluster.kubectl("delete", "abt", "trial", "-n", world.namespace)
    world.until("rtr", "news", lambda s: "split" not in s["embedding"])
    world.apply(yaml.safe_dump(ab_test("trial", world.two)))
    phase(world, "trial", "Running")
    after = split(world)
    assert before is not None
    assert after is not None
    assert after["uid"] == world.get("abt", "trial")["metadata"]["uid"] != before["uid"]


def _reason(status: dict[str, Any], kind: str) -> str | None:
    return next((c["reason"] for c in status.get("conditions") or () if c["type"] == kind), None)
