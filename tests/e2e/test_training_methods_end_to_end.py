"""Methods of training with everything real: queries only, active on the collection that is there; two Pods together; whole lists."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from attune_retrieval import manifest
from attune_retrieval.artifact import open_verified
from devcluster import Cluster
from serving_world import API, World
from tiny_bert import build_tiny_cross_encoder, sentences

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]
SECONDS = 1200
QUERY = sentences()[0][0]
SMALL = {"epochs": 2, "batchSize": 16, "learningRate": 1e-3, "maxSequenceLength": 32, "hardNegatives": {"perQuery": 0}}


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("methods")
    made = World(cluster, f"methods-{worker_id}", folder)
    made.base("cross", build_tiny_cross_encoder(folder / "cross-encoder"))
    made.operator.start()
    made.retriever(serving={"replicas": 1}, reranker={"baseModel": "pvc://docs/cross"})
    until(
        made,
        "rtr",
        "news",
        lambda s: (s.get("embedding") or {}).get("active") and (s.get("reranker") or {}).get("active"),
    )
    yield made
    made.close()


def until(world: World, kind: str, name: str, wanted: Any) -> dict[str, Any]:
    """The status, once it is as wanted: training takes longer than serving."""
    end = time.monotonic() + SECONDS
    while True:
        status: dict[str, Any] = world.get(kind, name).get("status") or {}
        if wanted(status):
            return status
        assert world.operator.running, world.operator.log[-3000:]
        assert time.monotonic() < end, status
        time.sleep(0.3)


def trained(world: World, name: str, **spec: Any) -> dict[str, Any]:
    """The status of the TrainingJob, once it has succeeded, by way of kubectl apply."""
    known: dict[str, Any] = {
        "retriever": "news",
        "type": "embedding",
        "dataSource": {"minExamples": 20},
        "hyperparameters": SMALL,
        "validation": {"splitRatio": 0.7},
        "evaluation": {"scoreMetric": "ndcgAt10"},
        "evalThreshold": 0,
    }
    world.apply({"apiVersion": API, "kind": "TrainingJob", "metadata": {"name": name}, "spec": {**known, **spec}})
    status = until(world, "tj", name, lambda s: s.get("phase") in {"Succeeded", "Failed"})
    assert status["phase"] == "Succeeded", status["message"]
    print(f"{name}: {status['message']}")  # noqa: T201  shown with -s
    return status


def staged(world: World, version: str) -> dict[str, Any]:
    return until(world, "mv", version, lambda s: s.get("stage") in {"staged", "active"})


def index_jobs(world: World) -> set[str]:
    found = world.cluster.get("jobs", "-n", world.namespace, "-l", "attune.dev/stage=index")["items"]
    return {job["metadata"]["name"] for job in found}


def test_queries_only_becomes_active_on_the_collection_that_is_there(world: World) -> None:
    first = world.get("rtr", "news")["status"]["embedding"]["active"]
    before, indexed = world.get("mv", first)["status"], index_jobs(world)
    job = trained(world, "queries", hyperparameters={**SMALL, "method": "queryOnly", "epochs": 6}, autoPromote=True)
    version = job["modelVersion"]
    status = until(world, "mv", version, lambda s: s.get("stage") == "active")
    assert status["embeddingSpace"] == before["embeddingSpace"]
    assert status["index"]["collection"] == before["index"]["collection"]
    assert index_jobs(world) == indexed, "nothing was embedded anew"
    folder = world.volume / status["artifact"]["uri"].removeprefix("pvc://docs/")
    assert manifest.read(folder).document_graph is not None
    address = world.until_served("embedding", version)
    encoder = open_verified(folder, status["artifact"]["digest"]).encoder
    for role in ("query", "document"):
        asked = {"input": QUERY, "input_type": role}
        answer = httpx.post(f"http://{address}/v1/embeddings", json=asked, trust_env=False, timeout=30)
        expected = encoder.encode([QUERY], role)[0]  # type: ignore[arg-type]
        assert answer.headers["X-Attune-Version"] == version
        assert float(np.dot(answer.json()["data"][0]["embedding"], expected)) > 0.9999


def test_two_pods_train_one_version_together(world: World) -> None:
    status = trained(world, "pair", baseModel="pvc://docs/base-1", compute={"nodes": 2})
    trains = [a for a in status["attempts"] if a["stage"] == "train"]
    assert [(a["number"], a["exitCode"]) for a in trains] == [(1, 0)]
    job = world.cluster.get("job", trains[0]["job"], "-n", world.namespace)
    assert (job["spec"]["completionMode"], job["status"]["succeeded"]) == ("Indexed", 2)
    version = staged(world, status["modelVersion"])
    assert version["trainingMetrics"]["epochs"] == 2
    folder = world.volume / version["artifact"]["uri"].removeprefix("pvc://docs/")
    assert open_verified(folder, version["artifact"]["digest"]).manifest.dimensions == 32


def test_a_reranker_learns_from_whole_lists(world: World) -> None:
    status = trained(
        world, "lists", type="reranker", hyperparameters={**SMALL, "loss": "listwise", "hardNegatives": {"perQuery": 1}}
    )
    version = staged(world, status["modelVersion"])
    assert version["evaluationMetrics"]["queries"] > 10
    folder = world.volume / version["artifact"]["uri"].removeprefix("pvc://docs/")
    opened = open_verified(folder, version["artifact"]["digest"])
    assert opened.manifest.config is not None
    assert opened.manifest.config.loss == "listwise"
