"""Promotion and the way back with everything real: control plane, operator, index stage, two serving replicas, 200 requests a second."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attune.contract import ModelType, ServingConfig
from attune_retrieval.artifact import open_verified
from devcluster import Cluster
from load import Answer, Load, failures
from revisions import assert_invariants
from serving_world import API, World
from tiny_bert import build_tiny_cross_encoder, sentences

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
QUERIES = [query for query, _ in sentences()]
BF16 = 6e-3
"""How far the scores of such a small model may be off where it is computed in bf16, as by serving and the index stage on some CPUs."""


@pytest.fixture
def world(cluster: Cluster, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(cluster, f"promote-{abs(hash(request.node.nodeid)) % 10**8}", tmp_path / "world")
    yield made
    made.close()


class Right:
    """Knows which vector each version gives, and which document is nearest in its space: what an answer must agree with."""

    def __init__(self, world: World, names: list[str]) -> None:
        self.documents = [text for _, text in sentences()]
        self.vectors: dict[str, Any] = {}
        self.queries: dict[str, Any] = {}
        self.collections: dict[str, str] = {}
        for name in names:
            status = world.get("mv", name)["status"]
            folder = world.volume / status["artifact"]["uri"].removeprefix("pvc://docs/")
            encoder = open_verified(folder, status["artifact"]["digest"]).encoder
            self.queries[name] = encoder.encode(QUERIES, "query")
            self.vectors[name] = encoder.encode(self.documents, "document")
            self.collections[name] = status["index"]["collection"]

    def check(self, answer: Answer) -> None:
        """The vector is that of the version it names; the hits are the nearest of that version's own space."""
        query = self.queries[answer.version][answer.number % len(QUERIES)]
        assert answer.collection == self.collections[answer.version]
        if answer.path == "/v1/embeddings":
            assert float(np.dot(answer.body["data"][0]["embedding"], query)) > 0.999
            return
        scores = self.vectors[answer.version] @ query
        for hit in answer.body["data"]:
            assert abs(hit["score"] - float(scores[int(hit["id"][1:])])) < BF16
        assert answer.body["data"][0]["score"] >= float(scores.max()) - BF16


def asked(number: int) -> tuple[str, dict[str, Any]]:
    """Embeddings and searches by turns; the number finds the query again."""
    query = QUERIES[number % len(QUERIES)]
    if number % 2:
        return "/v1/embeddings", {"input": query, "input_type": "query", "user": str(number)}
    return "/v1/search", {"query": query, "top_k": 3, "hybrid": False, "user": str(number)}


def test_no_request_is_lost_or_answered_wrongly_through_promotion_rollback_and_restarts(world: World) -> None:
    world.operator.start()
    world.retriever()
    one = world.first()
    world.serves(1)
    addresses = world.ready(2)
    load = Load(where=lambda: addresses, make=asked, rate=200).start()
    try:
        world.version("two", 2)
        world.until("mv", "two", lambda v: v.get("status", {}).get("index"))
        right = Right(world, [one, "two"])
        world.ask("two", "r1")
        world.serves(2)
        world.operator.kill()
        time.sleep(1)
        world.operator.start()
        world.ask(one, "back")
        world.serves(3)
        world.ask("two", "r2")
        world.serves(4)
        assert world.operator.stop() == 0
        time.sleep(1)
        world.operator.start()
        time.sleep(1)
    finally:
        answers = load.stop()
    assert failures(answers) == {}
    assert len(answers) > 1000
    for answer in answers:
        right.check(answer)
    assert {a.version for a in answers} == {one, "two"}
    switches = [a.version for a in answers]
    assert switches[0] == one
    assert switches[-1] == "two"
    assert_invariants(world.revisions.stop())


class KillEverywhere:
    """Kills at the first try of each write before it is passed on, at the second after; the third is let through."""

    def __init__(self) -> None:
        self.tries: dict[tuple[str, str], int] = {}
        self.kills: list[tuple[str, str, str]] = []
        self.armed = False

    def __call__(self, verb: str, path: str, body: bytes) -> str | None:
        if not self.armed:
            return None
        write = verb, path.rpartition("/namespaces/")[2] + str(hash(_stable(body)))
        self.tries[write] = self.tries.get(write, 0) + 1
        when = {1: "before", 2: "after"}.get(self.tries[write])
        if when is not None:
            self.kills.append((when, verb, path))
        return when


def _stable(body: bytes) -> bytes:
    import re

    return re.sub(rb'([0-9]{4}-[0-9]{2}-[0-9]{2}T)?[0-9:.]+Z|"resourceVersion": ?"[0-9]+"', b"", body)


def test_killed_before_and_after_each_write_it_ends_promoted_and_back_and_never_between(world: World) -> None:
    world.operator.start()
    world.retriever()
    one = world.first()
    world.version("two", 2)
    world.until("mv", "two", lambda v: v.get("status", {}).get("index"))
    world.serves(1)
    killer = KillEverywhere()
    world.proxy.plan = killer
    killer.armed = True
    world.ask("two", "r1")
    world.until("mv", "two", lambda v: v["status"].get("stage") == "active", revive=True)
    world.serves(2, revive=True)
    world.ask(one, "back")
    world.until("mv", "two", lambda v: v["status"].get("stage") == "failed", revive=True)
    world.until("mv", one, lambda v: v["status"].get("promotion", {}).get("result") == "RolledBack", revive=True)
    world.serves(3, revive=True)
    killer.armed = False
    assert len(killer.kills) >= 16, killer.kills
    retriever = world.get("rtr", "news")["status"]
    assert [c["version"] for c in retriever["changes"]] == [one, "two", one]
    assert retriever["embedding"]["active"] == one
    told = ServingConfig.from_json(world.get("configmap", "news-serving")["data"]["serving.json"])
    assert told.of(ModelType.EMBEDDING).active == one  # type: ignore[union-attr]
    assert_invariants(world.revisions.stop())


def test_a_reranker_is_trained_promoted_and_taken_back_the_same_way(world: World) -> None:
    import httpx

    shutil.copytree(build_tiny_cross_encoder(world.folder / "cross"), world.volume / "cross")
    world.operator.start()
    world.retriever(reranker={"baseModel": "pvc://docs/cross"}, serving={"replicas": 1})
    world.first()
    first = world.until("rtr", "news", lambda r: (r.get("status", {}).get("reranker") or {}).get("active"))
    one = first["status"]["reranker"]["active"]
    job = {
        "retriever": "news",
        "type": "reranker",
        "dataSource": {"minExamples": 10},
        "hyperparameters": {"epochs": 60, "batchSize": 32, "learningRate": 0.002, "maxSequenceLength": 32},
        "validation": {"splitRatio": 0.8, "earlyStoppingPatience": 0},
        "evaluation": {"scoreMetric": "ndcgAt10"},
        "evalThreshold": 0.01,
    }
    world.apply({"apiVersion": API, "kind": "TrainingJob", "metadata": {"name": "rerank"}, "spec": job})
    done = world.until("tj", "rerank", lambda t: t.get("status", {}).get("phase") in {"Succeeded", "Failed"})
    assert done["status"]["phase"] == "Succeeded", done["status"]["message"]
    two = done["status"]["modelVersion"]
    world.until("mv", two, lambda v: v["status"].get("stage") == "staged")
    world.ask(two, "r1")
    world.until("mv", two, lambda v: v["status"].get("stage") == "active")
    address = world.until_served("reranker", two)
    body = {"query": "red house", "top_k": 3}
    answer = httpx.post(f"http://{address}/v1/search", json=body, trust_env=False)
    assert answer.headers["x-attune-reranker"] == two
    assert "x-attune-index" in answer.headers
    world.ask(one, "back")
    world.until("mv", two, lambda v: v["status"].get("stage") == "failed")
    world.until_served("reranker", one)
    assert world.get("rtr", "news")["status"]["embedding"]["active"] == world.first()
    assert_invariants(world.revisions.stop())
