"""TrainingSchedules on the real control plane and the real clock: minutes that come, minutes that are missed, defaults that go.

The operator runs with its own roles and nothing else.
"""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from namespaced import Namespaced
from operator_process import OperatorProcess
from own_roles import with_own_roles
from recording_proxy import RecordingProxy
from scripted_world import API, manifests

SECONDS = 240
"""A minute at most until the next time, then three stages, on a machine that does other things as well."""
VARYING = re.compile(rb'[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z|"resourceVersion": ?"[0-9]+"')


class World(Namespaced):
    """A namespace with a Retriever whose version 1 is active, and an operator that may do what its roles allow."""

    def __init__(
        self, cluster: Cluster, namespace: str, folder: Path, server: str | None = None, **settings: str
    ) -> None:
        super().__init__(cluster, namespace, OperatorProcess(cluster.kubeconfig, namespace, folder), SECONDS)
        config = with_own_roles(cluster, namespace)
        settings = {"ATTUNE_TRAINER_IMAGE": "scripted-trainer:test", **settings}
        self.operator = OperatorProcess(config, namespace, folder, server=server, **settings)
        self.operator.start()
        try:
            self.apply(*(thing for thing in yaml.safe_load_all(manifests()) if thing["kind"] != "TrainingJob"))
            self.until("rtr", "news", lambda s: (s.get("embedding") or {}).get("active"))
        except BaseException:
            self.close()
            raise

    def apply(self, *things: dict[str, Any]) -> None:
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump_all(things))

    def items(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cluster.get(kind, "-n", self.namespace)["items"]
        return found

    def behave(self, **stages: Any) -> None:
        folder = self.cluster.claim_folder(self.namespace, "store")
        (folder / "behaviour.json").write_text(json.dumps(stages))

    def events(self, name: str) -> list[str]:
        return [e["reason"] for e in self.items("events") if e["involvedObject"]["name"] == name]


def schedule(name: str, **spec: Any) -> dict[str, Any]:
    every_minute = {"dataPreparation": {"schedule": "* * * * *"}, "training": {"schedule": "* * * * *"}}
    known = {"retriever": "news", "template": {"type": "embedding"}, **every_minute}
    return {"apiVersion": API, "kind": "TrainingSchedule", "metadata": {"name": name}, "spec": {**known, **spec}}


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next((c for c in status.get("conditions", []) if c["type"] == kind), {})
    return found


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[RecordingProxy]:
    known = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    made = RecordingProxy(known["server"], known["certificate-authority"]).start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[World]:
    made = World(cluster, f"schedules-{worker_id}", tmp_path_factory.mktemp("operator"))
    yield made
    assert "orbidden" not in made.operator.log
    assert made.operator.stop() == 0
    made.close()


def test_a_minute_that_comes_prepares_and_trains_once_and_reads_well(world: World) -> None:
    world.behave(prepare={"newPairs": 900})
    world.apply(schedule("minutely"))
    done = world.until("ts", "minutely", lambda s: s.get("lastTrainingJob"))
    world.cluster.kubectl(
        "patch", "ts", "minutely", "-n", world.namespace, "--type=merge", "-p", '{"spec":{"suspend":true}}'
    )
    status = done["status"]
    assert condition(status, "TrainingStarted")["message"].endswith("900 new pairs ≥ 500 (minNewPairs)")
    run = world.until("tj", status["lastTrainingJob"], lambda s: s.get("phase") in {"Succeeded", "Failed"})
    assert run["status"]["phase"] == "Succeeded"
    assert run["metadata"]["annotations"]["attune.dev/scheduled-for"] == status["lastTraining"]
    assert run["metadata"]["ownerReferences"][0]["uid"] == done["metadata"]["uid"]
    paused = world.until("ts", "minutely", lambda s: condition(s, "Ready").get("reason") == "Suspended")
    assert "nextTraining" not in paused["status"]
    row = world.cluster.kubectl("get", "ts", "minutely", "-n", world.namespace)
    assert "900" in row
    assert {"StageStarted", "DataPrepared", "TrainingStarted"} <= set(world.events("minutely"))
    shown = world.attune.ok("status", "news")
    assert "schedule" in shown.out
    assert "minutely: Suspended" in shown.out


def test_minutes_that_were_missed_are_made_up_for_by_one_whatever_is_killed(
    cluster: Cluster, proxy: RecordingProxy, tmp_path: Path, worker_id: str
) -> None:
    world = World(cluster, f"missed-{worker_id}", tmp_path, server=proxy.url)
    try:
        world.apply(schedule("missed", dataPreparation={"schedule": "0 0 1 1 *"}))
        world.until("ts", "missed", lambda s: s.get("trainingCursor"))
        world.operator.kill()
        began = datetime.now(UTC)
        time.sleep(125)
        proxy.kill, killer = world.operator.kill, KillEverywhere()
        proxy.plan = killer
        end = time.monotonic() + 3 * SECONDS
        while not world.get("ts", "missed").get("status", {}).get("lastTrainingJob"):
            assert time.monotonic() < end, world.operator.log[-2000:]
            if not world.operator.running:
                world.operator.start()
            time.sleep(0.1)
        back = datetime.now(UTC)
        made = Counter(j["metadata"]["annotations"]["attune.dev/scheduled-for"] for j in world.items("tj"))
        stages = Counter(j["metadata"]["labels"]["attune.dev/run"] for j in world.items("jobs") if _of_a_schedule(j))
        assert killer.kills >= 6, "the Job, the TrainingJob, and what was noted of them"
        assert set(made.values()) == set(stages.values()) == {1}
        assert len(made) == len(stages) == 1
        assert all(began < datetime.fromisoformat(at) <= back for at in made)
    finally:
        world.close()


def _of_a_schedule(job: dict[str, Any]) -> bool:
    return bool(job["metadata"]["labels"].get("attune.dev/owner-kind") == "TrainingSchedule")


class KillEverywhere:
    """Kills before and after each write about the schedule `missed`; the third try of a write is let through."""

    def __init__(self) -> None:
        self.kills = 0
        self._tries: Counter[tuple[str, str, bytes]] = Counter()

    def __call__(self, verb: str, path: str, body: bytes) -> str | None:
        if b"missed-" not in body and "/trainingschedules/missed" not in path:
            return None
        write = verb, path, VARYING.sub(b"", body)
        self._tries[write] += 1
        when = {1: "before", 2: "after"}.get(self._tries[write])
        self.kills += when is not None
        return when


def test_too_little_that_is_new_is_skipped_with_the_numbers(world: World) -> None:
    world.behave(prepare={"newPairs": 120})
    world.apply(schedule("waits-for-more"))
    done = world.until(
        "ts", "waits-for-more", lambda s: condition(s, "TrainingStarted").get("reason") == "TooFewNewPairs"
    )
    world.cluster.kubectl("delete", "ts", "waits-for-more", "-n", world.namespace)
    assert "skipped: 120 new pairs < 500 (minNewPairs)" in condition(done["status"], "TrainingStarted")["message"]
    assert "lastTrainingJob" not in done["status"]


def test_a_day_that_never_comes_is_a_condition(world: World) -> None:
    world.apply(schedule("never", training={"schedule": "0 2 31 2 *"}))
    told = world.until("ts", "never", lambda s: condition(s, "Ready"))["status"]
    world.cluster.kubectl("delete", "ts", "never", "-n", world.namespace)
    assert condition(told, "Ready")["reason"] == "InvalidSchedule"
    assert "'0 2 31 2 *' names no time" in condition(told, "Ready")["message"]


def test_the_default_schedule_comes_with_the_setting_and_goes_with_one_of_the_user(
    cluster: Cluster, tmp_path: Path, worker_id: str
) -> None:
    world = World(cluster, f"defaults-{worker_id}", tmp_path, FINETUNE_SCHEDULE="weekly")
    try:
        made = world.until("ts", "news-default-weekly", lambda s: condition(s, "Ready").get("status") == "True")
        assert made["metadata"]["ownerReferences"][0]["name"] == "news"
        assert made["spec"]["training"]["schedule"] == "0 2 * * 0"
        world.apply(schedule("mine", suspend=True))
        end = time.monotonic() + SECONDS
        while [s["metadata"]["name"] for s in world.items("ts")] != ["mine"]:
            assert time.monotonic() < end, world.operator.log[-2000:]
            time.sleep(0.2)
        assert "orbidden" not in world.operator.log
    finally:
        world.close()
