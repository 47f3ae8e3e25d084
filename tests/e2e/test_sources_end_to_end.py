"""One TrainingJob with archive, feedback and synthetic questions, through the real control plane to a staged version; and a
process that is killed while it asks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from attune.contract import (
    ArchiveSource,
    DataSpec,
    ExitCode,
    HardNegatives,
    OwnerRef,
    Stage,
    StageResult,
    StageSpec,
    SyntheticSource,
    TrainingConfig,
)
from chat_server import ChatServer, chat_server, three_questions
from demo.__main__ import packaged_model
from demo.docstrings import articles, write_archive
from devcluster import Cluster
from operator_process import OperatorProcess

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(3600)]
API = "attune.dev/v1alpha1"
SECONDS = 1800
ARTICLES = 120
KEY = "sk-of-the-secret"


class World:
    """A namespace with a volume of articles, feedback and the base model, and a language model's server."""

    def __init__(self, cluster: Cluster, namespace: str, operator: OperatorProcess, chat: ChatServer) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.operator = operator
        self.chat = chat

    @property
    def volume(self) -> Path:
        return self.cluster.claim_folder(self.namespace, "docs")

    def apply(self, kind: str, name: str, spec: dict[str, Any], api: str = API) -> None:
        body = {"stringData": spec} if kind == "Secret" else {"spec": spec}
        thing = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **body}
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump(thing))

    def until(self, kind: str, name: str, done: Any) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while True:
            thing = self.cluster.get(kind, name, "-n", self.namespace)
            if done(thing):
                return thing
            assert self.operator.running, self.operator.log[-2000:]
            assert time.monotonic() < end, json.dumps(thing.get("status"), indent=1)
            time.sleep(0.3)

    def train(self, name: str, **source: Any) -> dict[str, Any]:
        spec = {
            "retriever": "docs",
            "type": "embedding",
            "dataSource": {"minExamples": 50, **source},
            "hyperparameters": {
                "epochs": 1, "maxSequenceLength": 48, "batchSize": 16, "learningRate": 3e-5, "hardNegatives": {"perQuery": 1},
            },
            "validation": {"splitRatio": 0.7},
            "evaluation": {"scoreMetric": "ndcgAt10"},
            "evalThreshold": 0.3,
        }  # fmt: skip
        self.apply("TrainingJob", name, spec)
        done = self.until("tj", name, lambda j: j.get("status", {}).get("phase") in {"Succeeded", "Failed"})
        status: dict[str, Any] = done["status"]
        return status


def feedback() -> list[dict[str, Any]]:
    """Ratings by id and by answer, good and bad, contradicting, out of range, of a document that is not there."""
    rows: list[dict[str, Any]] = []
    some = articles(ARTICLES)
    for number, article in enumerate(some):
        query = f"how do I use {article.title.split()[0]} for {' '.join(article.content.split()[:4])}"
        rows.append({"query": query, "documentId": article.id, "rating": 5})
        rows.append({"query": query, "documentId": some[number - 1].id, "rating": 1})
    passage = " ".join(some[0].content.split()[:60])
    rows += [
        {"query": "where do I read this", "answer": passage, "rating": 4},
        *({"query": rows[0]["query"], "documentId": rows[0]["documentId"], "rating": rating} for rating in (1, 5, 5)),
        {"query": "out of range", "documentId": some[0].id, "rating": 50},
        {"query": "of a document that is gone", "documentId": "gone", "rating": 5},
    ]
    return rows


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[World]:
    namespace = f"e2e-sources-{worker_id}"
    cluster.kubectl("create", "namespace", namespace)
    operator = OperatorProcess(cluster.kubeconfig, namespace, tmp_path_factory.mktemp("operator"))
    with chat_server() as chat:
        made = World(cluster, namespace, operator, chat)
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
        made.apply("PersistentVolumeClaim", "docs", claim, "v1")
        cluster.kubectl("wait", "--for=jsonpath={.status.phase}=Bound", "pvc/docs", "-n", namespace, "--timeout=300s")
        write_archive(made.volume / "archive.jsonl", ARTICLES)
        (made.volume / "feedback.jsonl").write_text("".join(json.dumps(row) + "\n" for row in feedback()))
        shutil.copytree(packaged_model(), made.volume / "base-model")
        made.apply("Secret", "llm", {"OPENAI_API_KEY": KEY}, "v1")
        operator.start()
        made.apply("Retriever", "docs", retriever(chat.url))
        made.until("rtr", "docs", lambda r: (r.get("status", {}).get("embedding") or {}).get("active"))
        yield made
        assert operator.stop() == 0
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def retriever(url: str) -> dict[str, Any]:
    return {
        "embedding": {"baseModel": "pvc://docs/base-model"},
        "storage": {"uri": "pvc://docs/store"},
        "data": {
            "archive": {"uri": "pvc://docs/archive.jsonl"},
            "feedback": {"uri": "pvc://docs/feedback.jsonl", "minRating": 1, "maxRating": 5},
            "synthetic": {
                "llm": {"baseURL": url, "model": "small", "secretRef": {"name": "llm"}},
                "maxArticles": 60,
                "maxCostUSD": 5,
                "price": {"inputPerMillionUSD": 1, "outputPerMillionUSD": 10},
            },
        },
    }


@pytest.fixture(scope="module")
def first_run(world: World) -> dict[str, Any]:
    """The status of a run with all three sources, the first one that asks the language model."""
    return world.train("all", archive=True, feedback=True, synthetic=True)


def test_all_three_sources_make_one_staged_version_with_their_counts(world: World, first_run: dict[str, Any]) -> None:
    status = first_run
    assert status["phase"] == "Succeeded", status["message"]
    dataset = status["dataset"]
    assert set(dataset["bySource"]) == {"archive", "feedback", "synthetic", "lead"}
    assert sum(dataset["bySource"].values()) == dataset["examples"]
    assert dataset["newPairs"] == dataset["examples"] - dataset["bySource"]["lead"]
    dropped = dataset["droppedByReason"]
    assert (dropped["contradictingFeedback"], dropped["ratingOutOfRange"], dropped["unknownDocument"]) == (1, 1, 1)
    asked = world.chat.asked
    assert 0 < len(asked) <= 60
    assert set(world.chat.by_title.values()) == {1}
    assert {one.headers["authorization"] for one in asked} == {f"Bearer {KEY}"}
    assert dataset["costUSD"] == pytest.approx(len(asked) * (100 * 1 + 50 * 10) / 1e6)
    version = world.cluster.get("mv", status["modelVersion"], "-n", world.namespace)
    assert version["status"]["stage"] == "staged"
    assert version["status"]["dataset"]["bySource"] == dataset["bySource"]
    manifest = json.loads((world.volume / dataset["uri"].removeprefix("pvc://docs/") / "manifest.json").read_text())
    assert manifest["mining"]["labelledNegatives"] > 20
    config = world.cluster.get("cm", status["attempts"][0]["job"], "-n", world.namespace)["data"]["stage.json"]
    assert KEY not in config


def test_the_next_run_pays_for_nothing_again_and_counts_what_is_new(world: World, first_run: dict[str, Any]) -> None:
    assert first_run["phase"] == "Succeeded", first_run["message"]
    before = len(world.chat.asked)
    with (world.volume / "feedback.jsonl").open("a") as more:
        for number, article in enumerate(articles(ARTICLES)[:40]):
            row = {"query": f"something new number {number} of it", "documentId": article.id, "rating": 5}
            more.write(json.dumps(row) + "\n")
    dataset = world.train("again", synthetic=True)["dataset"]
    assert len(world.chat.asked) == before
    assert dataset["costUSD"] == 0
    assert 0 < dataset["newPairs"] <= 40 < dataset["examples"]


def killed_spec(folder: Path, url: str) -> StageSpec:
    return StageSpec(
        stage=Stage.PREPARE,
        owner=OwnerRef(kind="TrainingJob", namespace="news", name="tune", uid="12345678-abcd"),
        retriever="news",
        storage=str(folder / "store"),
        config=TrainingConfig(base_model="-", hard_negatives=HardNegatives(per_query=0)),
        data=DataSpec(
            archive=ArchiveSource(uri=str(folder / "archive.jsonl")),
            synthetic=SyntheticSource(base_url=url, model="small", concurrency=4),
        ),
    )


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "told to end"])
def test_a_process_that_ends_while_it_asks_pays_again_for_what_was_under_way_alone(
    tmp_path: Path, how: signal.Signals
) -> None:
    write_archive(tmp_path / "archive.jsonl", 120)
    command = [sys.executable, "-m", "attune_trainer", "prepare", "--spec", str(tmp_path / "stage.json")]
    environment = os.environ | {"ATTUNE_TERMINATION_LOG": str(tmp_path / "message"), "HF_HUB_OFFLINE": "1"}
    with chat_server(three_questions, delay=0.05) as chat:
        (tmp_path / "stage.json").write_text(killed_spec(tmp_path, chat.url).to_json())
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        end = time.monotonic() + 600
        while len(chat.asked) < 40 and time.monotonic() < end:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(how)
        process.communicate(timeout=300)
        assert process.returncode == (ExitCode.INTERRUPTED if how is signal.SIGTERM else -how)
        assert 40 <= len(chat.asked) < 100
        assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == ExitCode.OK
        times = chat.by_title
    result = StageResult.from_termination_message((tmp_path / "message").read_text())
    assert result is not None
    assert result.dataset is not None
    assert result.dataset.by_source["synthetic"] > 200
    assert max(times.values()) <= 2
    under_way, not_kept_yet = 4, 4 if how is signal.SIGKILL else 0
    assert sum(count > 1 for count in times.values()) <= under_way + not_kept_yet
