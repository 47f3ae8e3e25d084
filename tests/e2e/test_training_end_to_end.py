"""Everything together: real control plane, real operator, real training of a small model, from apply to a staged version."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.__main__ import packaged_model
from demo.docstrings import write_archive
from devcluster import Cluster
from operator_process import OperatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
API = "attune.dev/v1alpha1"
SECONDS = 900
ARTICLES = 240
GOOD = {"epochs": 1, "maxSequenceLength": 64, "batchSize": 16, "hardNegatives": {"perQuery": 0}, "learningRate": 5e-5}
SMALL = {"maxSequenceLength": 48, "batchSize": 16, "hardNegatives": {"perQuery": 1}, "learningRate": 3e-5}


class World:
    """A namespace with a volume that holds articles and the base model, and a Retriever over them."""

    def __init__(self, cluster: Cluster, namespace: str, operator: OperatorProcess) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.operator = operator

    @property
    def volume(self) -> Path:
        return self.cluster.claim_folder(self.namespace, "docs")

    def apply(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        thing = {"apiVersion": API, "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump(thing))

    def retriever(self, archive: str, secret: str | None = None) -> None:
        storage: dict[str, Any] = {"uri": "pvc://docs/store"} | ({"secretRef": {"name": secret}} if secret else {})
        spec = {
            "embedding": {"baseModel": "pvc://docs/base-model"},
            "storage": storage,
            "data": {"archive": {"uri": archive}},
        }
        self.apply("Retriever", "docs", spec)

    def train(self, name: str, **spec: Any) -> None:
        base = {
            "retriever": "docs",
            "type": "embedding",
            "dataSource": {"minExamples": 50, "leads": False},
            "hyperparameters": {"epochs": 1, **SMALL},
            "validation": {"splitRatio": 0.7},
            "evaluation": {"scoreMetric": "ndcgAt10"},
            "evalThreshold": 0.3,
        }
        self.apply("TrainingJob", name, {**base, **spec})

    def until(self, kind: str, name: str, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while True:
            thing = self.cluster.get(kind, name, "-n", self.namespace)
            if wanted(thing):
                return thing
            assert self.operator.running, self.operator.log[-2000:]
            assert time.monotonic() < end, json.dumps(thing.get("status"), indent=1)
            time.sleep(0.3)

    def ended(self, name: str) -> dict[str, Any]:
        done = self.until("tj", name, lambda j: j.get("status", {}).get("phase") in {"Succeeded", "Failed"})
        status: dict[str, Any] = done["status"]
        return status

    def real(self, uri: str) -> Path:
        """The folder on this machine behind a pvc://docs/… URI."""
        return self.volume / uri.removeprefix("pvc://docs/")


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[World]:
    namespace = f"e2e-{worker_id}"
    cluster.kubectl("create", "namespace", namespace)
    operator = OperatorProcess(cluster.kubeconfig, namespace, tmp_path_factory.mktemp("operator"))
    made = World(cluster, namespace, operator)
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    thing = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "docs"}, "spec": claim}
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(thing))
    cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/docs", "-n", namespace, "--timeout=30s")
    write_archive(made.volume / "archive.jsonl", ARTICLES)
    shutil.copytree(packaged_model(), made.volume / "base-model")
    operator.start()
    made.retriever("pvc://docs/archive.jsonl")
    made.until("rtr", "docs", lambda r: (r.get("status", {}).get("embedding") or {}).get("active"))
    yield made
    assert operator.stop() == 0
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def test_version_1_is_imported_and_measured(world: World) -> None:
    version = world.cluster.get("mv", "-n", world.namespace)["items"][0]
    assert version["status"]["stage"] == "active"
    assert version["status"]["dimensions"] == 384
    measured = version["status"]["evaluationMetrics"]
    assert 0.2 < measured["ndcgAt10"] < 1
    assert measured["queries"] > 20
    assert "faithfulness" not in measured


def test_a_training_job_ends_in_a_staged_version_with_a_verified_artifact(world: World) -> None:
    world.train("tune", hyperparameters=GOOD)
    status = world.ended("tune")
    assert status["phase"] == "Succeeded", status["message"]
    version = world.until("mv", status["modelVersion"], lambda v: v.get("status", {}).get("stage") == "staged")[
        "status"
    ]
    assert version["evaluationMetrics"]["baseline"]["ndcgAt10"] > 0.2
    assert "ndcgAt10" in version["evaluationMetrics"]["intervals"]
    assert version["trainingMetrics"]["trainingExamples"] == status["dataset"]["examples"] >= 50
    folder = world.real(version["artifact"]["uri"])
    manifest = (folder / "manifest.json").read_bytes()
    assert version["artifact"]["digest"] == "sha256:" + hashlib.sha256(manifest).hexdigest()
    listed = json.loads(manifest)["files"]
    assert {"onnx/model.onnx", "model.safetensors", "tokenizer.json", "golden.json"} <= {f["path"] for f in listed}
    for entry in listed:
        assert "sha256:" + hashlib.sha256((folder / entry["path"]).read_bytes()).hexdigest() == entry["sha256"]
    assert not [path for path in folder.rglob("*") if path.suffix in {".bin", ".pkl", ".pt"}]


def test_a_trainer_killed_mid_epoch_goes_on_from_its_checkpoint(world: World) -> None:
    world.train(
        "killed", hyperparameters={"epochs": 3, **SMALL}, validation={"splitRatio": 0.7, "earlyStoppingPatience": 0}
    )
    world.until("tj", "killed", lambda j: ((j.get("status", {}).get("progress")) or {}).get("epoch", 0) > 1.2)
    job = world.cluster.get("tj", "killed", "-n", world.namespace)["status"]["attempts"][-1]["job"]
    pod = world.cluster.get("pods", "-n", world.namespace, "-l", f"batch.kubernetes.io/job-name={job}")["items"][0]
    os.kill(process_of(pod["metadata"]["name"]), signal.SIGKILL)
    status = world.ended("killed")
    assert [a["exitCode"] for a in status["attempts"] if a["stage"] == "evaluate"] == [0], status["message"]
    trains = [(a["number"], a["exitCode"]) for a in status["attempts"] if a["stage"] == "train"]
    assert trains == [(1, 137), (2, 0)]
    second = next(a["job"] for a in status["attempts"] if a["stage"] == "train" and a["number"] == 2)
    log = world.cluster.kubectl("logs", f"job/{second}", "-n", world.namespace)
    steps = [json.loads(line)["attuneProgress"].get("step", 0) for line in log.splitlines() if "attuneProgress" in line]
    assert min(step for step in steps if step) > 5, "the second attempt began from the start"


def lines(count: int, **fields: Callable[[int], str]) -> bytes:
    """An archive of `count` articles, each field made from its number."""
    made = {
        "id": str,
        "title": lambda i: f"the title of number {i}",
        "content": lambda i: f"Some text about the number {i} and more words. " * 4,
    } | fields
    return b"".join(json.dumps({name: make(i) for name, make in made.items()}).encode() + b"\n" for i in range(count))


BAD_ARCHIVES = {
    "missing": (None, "DataNotFound", "missing.jsonl"),
    "broken": (b'{"id": "1", "title": "a b c d", "content": "x"}\n' + b"{not json\n" * 40, "BrokenLines", "line 2"),
    "not-utf8": (b"\xff\xfe\x00broken" * 400, "NotUtf8", "UTF-8"),
    "empty": (b"", "EmptyFile", "empty.jsonl"),
    "ten": (lines(10), "InsufficientData", "minExamples"),
    "duplicate-ids": (lines(60, id=lambda i: str(i % 2)), "InsufficientData", "conflictingId 58"),
    "empty-texts": (lines(60, content=lambda i: " "), "NoArticles", "archive.fields.content"),
    "one-giant-article": (
        lines(1, content=lambda i: "All of it in one article. " * 400_000),
        "InsufficientData",
        "held out: 1",
    ),
    "equal-titles": (lines(60, title=lambda i: "News of the week"), "InsufficientData", "shared 60"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_bad_data_ends_the_job_with_a_reason_and_leaves_what_serves_alone(world: World, case: str) -> None:
    content, reason, words = BAD_ARCHIVES[case]
    name = f"{case}.jsonl"
    if content is not None:
        (world.volume / name).write_bytes(content)
    status = failed_without_a_trace(world, f"bad-{case}", f"pvc://docs/{name}")
    assert status["reason"] == reason, status["message"]
    assert words in status["message"], status["message"]


def test_a_store_that_does_not_answer_ends_the_job_with_a_reason_once_the_attempts_are_used(world: World) -> None:
    """Port 9 of the pod itself: nobody listens there."""
    secret = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    thing = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bucket"}, "stringData": secret}
    world.cluster.kubectl("apply", "-n", world.namespace, "-f", "-", stdin=yaml.safe_dump(thing))
    status = failed_without_a_trace(world, "bad-store", "s3://articles/archive.jsonl", secret="bucket", backoffLimit=1)
    assert status["reason"] == "BackoffLimitExceeded", status["message"]
    assert "s3://articles/archive.jsonl: could not" in status["message"], status["message"]
    assert "http://127.0.0.1:9 (AWS_ENDPOINT_URL) answers" in status["message"], status["message"]
    assert [(a["stage"], a["number"]) for a in status["attempts"]] == [("prepare", 1), ("prepare", 2)]


def failed_without_a_trace(
    world: World, name: str, archive: str, secret: str | None = None, **spec: Any
) -> dict[str, Any]:
    """The status of a job on bad data: no version, no snapshot, and what serves as it was."""
    before = world.cluster.get("rtr", "docs", "-n", world.namespace)["status"]["embedding"]
    datasets = sorted(p.name for p in world.volume.rglob("datasets/*"))
    world.retriever(archive, secret)
    try:
        world.train(name, **spec)
        status = world.ended(name)
    finally:
        world.retriever("pvc://docs/archive.jsonl")
    assert status["phase"] == "Failed"
    assert "modelVersion" not in status
    assert world.cluster.get("rtr", "docs", "-n", world.namespace)["status"]["embedding"] == before
    assert sorted(p.name for p in world.volume.rglob("datasets/*")) == datasets
    print(f"{name}: {status['reason']}: {status['message']}")  # noqa: T201  shown with -s
    return status


def test_the_operator_stays_small_and_knows_no_torch(world: World) -> None:
    pid = world.operator.pid
    resident = int(
        next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")).split()[
            1
        ]
    )
    assert resident < 120 * 1024, f"{resident} kB"
    assert "torch" not in Path(f"/proc/{pid}/maps").read_text()


def process_of(pod: str) -> int:
    """The process of a Pod's container, by the host name that it was given."""
    wanted = f"HOSTNAME={pod}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (
                wanted in (folder / "environ").read_bytes().split(b"\0")
                and b"attune_trainer" in (folder / "cmdline").read_bytes()
            ):
                return int(folder.name)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    raise AssertionError(f"no process of pod {pod}")
