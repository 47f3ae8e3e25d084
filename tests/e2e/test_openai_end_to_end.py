"""Provider openai with everything real but the API, which is a server of the tests' own: control plane, stages, index, serving."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from devcluster import Cluster
from openai_server import EMBEDS, TUNABLE, OpenAIServer
from serving_world import API, World
from tiny_bert import sentences

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
KEY = "sk-of-the-tests"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    made = OpenAIServer(key=KEY).start()
    yield made
    made.stop()


@pytest.fixture
def world(cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(cluster, f"openai-{abs(hash(request.node.nodeid)) % 10**8}", tmp_path / "world")
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "openai"},
        "stringData": {"OPENAI_API_KEY": KEY},
    }
    made.apply(secret)
    made.operator.start()
    made.retriever(serving={"replicas": 1})
    made.first()
    yield made
    made.close()


def train(world: World, name: str, server: OpenAIServer, **openai: Any) -> None:
    spec = {
        "retriever": "news",
        "type": "embedding",
        "provider": "openai",
        "openai": {"baseURL": server.url, "secretRef": {"name": "openai"}, **openai},
        "dataSource": {"minExamples": 20},
        "hyperparameters": {"maxSequenceLength": 64, "hardNegatives": {"perQuery": 1}},
        "evaluation": {"scoreMetric": "ndcgAt10"},
        "evalThreshold": 0.1,
    }
    world.apply({"apiVersion": API, "kind": "TrainingJob", "metadata": {"name": name}, "spec": spec})


def ended(world: World, name: str) -> dict[str, Any]:
    done = world.until("tj", name, lambda j: j.get("status", {}).get("phase") in {"Succeeded", "Failed"})
    status: dict[str, Any] = done["status"]
    return status


def test_an_adapter_over_the_apis_vectors_is_trained_staged_promoted_and_searched(
    world: World, server: OpenAIServer
) -> None:
    train(world, "adapt", server, model=EMBEDS)
    status = ended(world, "adapt")
    assert status["phase"] == "Succeeded", status["message"]
    name = status["modelVersion"]
    version = world.until("mv", name, lambda v: v.get("status", {}).get("index"))
    assert version["spec"]["baseModel"] == f"openai:{EMBEDS}"
    assert version["status"]["stage"] == "staged"
    assert version["status"]["dimensions"] == 64
    first = world.get("mv", world.first())["status"]
    assert first["dimensions"] == 32
    assert first["index"]["collection"] != version["status"]["index"]["collection"]
    world.ask(name, "r1")
    address = world.until_served("embedding", name)
    query, text = sentences()[3]
    answer = httpx.post(f"http://{address}/v1/search", json={"query": query, "top_k": 10}, trust_env=False, timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-attune-version"] == name
    assert text in [hit["content"] for hit in answer.json()["data"]]
    # A replica from before the version was there has no key of this server, is told so, and is replaced by one that has it.
    assert f"Bearer {KEY}" in server.keys
    assert set(server.keys) <= {f"Bearer {KEY}", None}


def test_a_model_is_fine_tuned_by_the_api_and_a_run_that_is_deleted_is_cancelled_there(
    world: World, server: OpenAIServer
) -> None:
    train(world, "tune", server, model=TUNABLE, method="fineTune")
    status = ended(world, "tune")
    assert status["phase"] == "Succeeded", status["message"]
    (job,) = server.jobs.values()
    version = world.until("mv", status["modelVersion"], lambda v: v.get("status", {}).get("stage") == "staged")
    assert version["status"]["trainingMetrics"]["fineTunedModel"] == job["fine_tuned_model"]
    assert version["status"]["trainingMetrics"]["apiTokens"] == 4321
    server.looks = -1
    train(world, "gone", server, model=TUNABLE, method="fineTune")
    end = time.monotonic() + 240
    while len(server.jobs) < 2:
        assert time.monotonic() < end, world.get("tj", "gone")["status"]
        time.sleep(0.2)
    world.cluster.kubectl("delete", "tj", "gone", "-n", world.namespace)
    while list(server.jobs.values())[1]["status"] != "cancelled":
        assert time.monotonic() < end + 240, world.operator.log[-2000:]
        time.sleep(0.2)
    assert len(server.jobs) == 2
