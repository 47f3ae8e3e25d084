"""TrainingJobs on the real control plane, with the scripted trainer: retries, suspension, deadlines, and what users see."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from operator_process import OperatorProcess
from scripted_world import manifests, training_job

SECONDS = 60
REFUSED = {
    "no such retriever": ({"retriever": "nowhere"}, "Pending", "RetrieverNotFound", "no Retriever 'nowhere'"),
    "no such version": ({"baseModel": "version:emb-v9-20260101"}, "Pending", "BaseVersionNotFound", "emb-v9-20260101"),
    "required source": (
        {"dataSource": {"feedback": True}},
        "Failed",
        "SourceNotDefined",
        "spec.dataSource.feedback: true",
    ),
    "no source left": ({"dataSource": {"archive": False}}, "Failed", "NoDataSource", "no data to train on"),
    "no reranker": ({"type": "reranker"}, "Failed", "ModelNotDefined", "add spec.reranker.baseModel there"),
    "openai": ({"openai": {}}, "Failed", "ProviderMismatch", "set spec.provider: openai, too"),
}


class World:
    """A namespace with a Retriever whose version 1 is active, and the operator that serves it."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def apply(self, *things: dict[str, Any]) -> None:
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump_all(things))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self.cluster.get(kind, name, "-n", self.namespace)

    def until(self, kind: str, name: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The object once it is as wanted."""
        end = time.monotonic() + SECONDS
        while True:
            thing = self.get(kind, name)
            if wanted(thing):
                return thing
            assert time.monotonic() < end, json.dumps(thing.get("status"), indent=1)
            time.sleep(0.1)

    def ended(self, name: str) -> dict[str, Any]:
        done = self.until("tj", name, lambda j: j.get("status", {}).get("phase") in {"Succeeded", "Failed"})
        status: dict[str, Any] = done["status"]
        return status

    def behave(self, **stages: Any) -> None:
        """What the scripted trainer does from now on."""
        folder = self.cluster.claim_folder(self.namespace, "store")
        (folder / "behaviour.json").write_text(json.dumps(stages))


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[World]:
    namespace, folder = f"jobs-{worker_id}", tmp_path_factory.mktemp("operator")
    cluster.kubectl("create", "namespace", namespace)
    operator = OperatorProcess(cluster.kubeconfig, namespace, folder, ATTUNE_TRAINER_IMAGE="scripted-trainer:test")
    operator.start()
    made = World(cluster, namespace)
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifests(training_job("warm-up")))
    made.ended("warm-up")
    yield made
    assert operator.stop() == 0
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def test_a_run_ends_with_a_staged_version_and_reads_well(world: World) -> None:
    world.apply(training_job("reads-well"))
    status = world.ended("reads-well")
    assert status["phase"] == "Succeeded"
    version = world.until("mv", status["modelVersion"], lambda v: v.get("status", {}).get("stage") == "staged")
    assert version["status"]["evaluationMetrics"]["ndcgAt10"] == 0.9
    row = world.cluster.kubectl("get", "tj", "reads-well", "-n", world.namespace)
    assert "Succeeded" in row
    assert "0.900" in row
    described = world.cluster.kubectl("describe", "tj", "reads-well", "-n", world.namespace)
    assert "nDCG@10 0.800 (active) → 0.900 (+12.5%, 95% CI +0.050 to +0.150) on 200 queries" in described
    reasons = [
        e["reason"]
        for e in world.cluster.get("events", "-n", world.namespace)["items"]
        if e["involvedObject"]["name"] == "reads-well"
    ]
    assert {"StageStarted", "DataPrepared", "VersionReserved", "Trained", "Succeeded"} <= set(reasons)


def test_a_pod_that_is_killed_is_retried_up_to_the_limit_and_the_history_stays(world: World) -> None:
    world.behave(train={"exitCode": 137})
    world.apply(training_job("killed", backoffLimit=1))
    status = world.ended("killed")
    world.behave()
    assert (status["phase"], status["reason"], status["failures"]) == ("Failed", "BackoffLimitExceeded", 2)
    history = [(a["stage"], a["number"], a["exitCode"]) for a in status["attempts"]]
    assert history == [("prepare", 1, 0), ("train", 1, 137), ("train", 2, 137)]
    assert "out of memory, or the node was lost" in status["message"]
    failed = world.until("mv", status["modelVersion"], lambda v: v["status"].get("stage") == "failed")
    assert "BackoffLimitExceeded" in failed["status"]["notes"]


def test_a_deleted_pod_is_one_attempt_that_failed(world: World) -> None:
    world.behave(train={"seconds": 30})
    world.apply(training_job("pod-deleted"))
    running = world.until(
        "tj", "pod-deleted", lambda j: any(a["stage"] == "train" for a in j.get("status", {}).get("attempts", []))
    )
    job = running["status"]["attempts"][-1]["job"]
    selector = f"batch.kubernetes.io/job-name={job}"
    end = time.monotonic() + SECONDS
    while "behaves" not in world.cluster.kubectl("logs", f"job/{job}", "-n", world.namespace, check=False):
        assert time.monotonic() < end
        time.sleep(0.1)
    world.behave()
    world.cluster.kubectl("delete", "pods", "-n", world.namespace, "-l", selector, "--grace-period=1")
    status = world.ended("pod-deleted")
    assert status["phase"] == "Succeeded"
    assert [(a["stage"], a["number"]) for a in status["attempts"]][1:] == [("train", 1), ("train", 2), ("evaluate", 2)]


def test_suspend_stops_the_pod_and_resume_goes_on(world: World) -> None:
    world.behave(train={"seconds": 5})
    world.apply(training_job("paused"))
    world.until("tj", "paused", lambda j: j.get("status", {}).get("phase") == "Training")
    patch = ("patch", "tj", "paused", "-n", world.namespace, "--type=merge", "-p")
    world.cluster.kubectl(*patch, '{"spec":{"suspend":true}}')
    paused = world.until("tj", "paused", lambda j: j["status"]["phase"] == "Suspended")
    world.until("job", paused["status"]["attempts"][-1]["job"], lambda j: j.get("status", {}).get("active", 0) == 0)
    world.behave()
    world.cluster.kubectl(*patch, '{"spec":{"suspend":false}}')
    status = world.ended("paused")
    assert status["phase"] == "Succeeded"
    assert status.get("failures") is None
    assert {c["type"]: c["status"] for c in status["conditions"]}["Suspended"] == "False"


def test_the_deadline_ends_it_and_takes_its_pod_along(world: World) -> None:
    world.behave(train={"seconds": 60})
    world.apply(training_job("late", activeDeadlineSeconds=4))
    status = world.ended("late")
    world.behave()
    assert status["reason"] == "DeadlineExceeded"
    assert "activeDeadlineSeconds 4" in status["message"]
    job = status["attempts"][-1]["job"]
    end = time.monotonic() + SECONDS
    while "NotFound" not in world.cluster.kubectl("get", "job", job, "-n", world.namespace, check=False):
        assert time.monotonic() < end
        time.sleep(0.2)


def test_an_image_that_cannot_be_pulled_is_said_in_status(world: World) -> None:
    world.apply(training_job("no-image", compute={"image": "nowhere/trainer:1"}))
    waiting = world.until("tj", "no-image", lambda j: "ErrImagePull" in j.get("status", {}).get("message", ""))
    assert 'no image "nowhere/trainer:1"' in waiting["status"]["message"]
    world.cluster.kubectl("delete", "tj", "no-image", "-n", world.namespace)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_run_is_said_with_field_value_and_remedy(world: World, case: str) -> None:
    spec, phase, reason, words = REFUSED[case]
    name = case.replace(" ", "-")
    world.apply(training_job(name, **spec))
    thing = world.until("tj", name, lambda j: j.get("status", {}).get("reason") == reason)
    assert thing["status"]["phase"] == phase
    assert words in thing["status"]["message"]
    print(f"{case}: {reason}: {thing['status']['message']}")  # noqa: T201  shown with -s
    world.cluster.kubectl("delete", "tj", name, "-n", world.namespace)


def test_ttl_removes_the_finished_job_and_keeps_its_version(world: World) -> None:
    world.apply(training_job("short-lived", ttlSecondsAfterFinished=0))
    end = time.monotonic() + SECONDS
    while "NotFound" not in world.cluster.kubectl("get", "tj", "short-lived", "-n", world.namespace, check=False):
        assert time.monotonic() < end
        time.sleep(0.2)
    versions = world.cluster.get("mv", "-n", world.namespace)["items"]
    mine = [v for v in versions if v["spec"]["source"].get("trainingJob") == "short-lived"]
    assert [v["status"]["stage"] for v in mine] == ["staged"]


def test_the_operator_writes_nothing_when_all_is_done(world: World) -> None:
    world.apply(training_job("quiet"))
    world.ended("quiet")
    time.sleep(2)

    def versions() -> dict[str, str]:
        kinds = world.cluster.get("tj,mv,rtr,jobs,configmaps", "-n", world.namespace)["items"]
        return {f"{o['kind']}/{o['metadata']['name']}": o["metadata"]["resourceVersion"] for o in kinds}

    before = versions()
    time.sleep(4)
    assert versions() == before


def test_a_full_status_stays_small(world: World) -> None:
    """Invariant 8: an object stays under 10 kB."""
    for thing in world.cluster.get("tj,mv,rtr", "-n", world.namespace)["items"]:
        thing["metadata"].pop("managedFields", None)
        assert len(json.dumps(thing)) < 10_000, thing["metadata"]["name"]


def test_spec_is_never_written_by_the_operator(world: World, tmp_path: Path) -> None:
    """Invariant 7."""
    world.apply(training_job("untouched"))
    before = world.get("tj", "untouched")["spec"]
    world.ended("untouched")
    after = world.get("tj", "untouched")
    assert after["spec"] == before
    assert after["metadata"]["generation"] == 1
