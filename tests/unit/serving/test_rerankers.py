"""Rerankers: Cohere's and Jina's form, the second stage of a search, tests of their own. Against a real process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from artifacts import Made
from attune.contract import IndexSpec, ServedModel, ServedSplit, VersionState
from attune_retrieval import artifact
from attune_retrieval.artifact import open_verified
from attune_retrieval.reranking import OnnxReranker
from attune_retrieval.weighing import blended
from attune_serving.assign import bucket
from serving_process import ServingProcess, served, serving_config
from tiny_bert import sentences
from tiny_reranker import MadeReranker, tiny_reranker

DOCUMENTS = [text for _, text in sentences()[:30]]


@pytest.fixture(scope="module")
def rerankers(tmp_path_factory: pytest.TempPathFactory) -> tuple[MadeReranker, MadeReranker]:
    folder = tmp_path_factory.mktemp("rerankers")
    return tiny_reranker(folder, "rer-v1"), tiny_reranker(folder, "rer-v2", seed=1, weight=0.3)


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
    artifacts: tuple[Made, Made],
    rerankers: tuple[MadeReranker, MadeReranker],
    index: IndexSpec,
) -> Iterator[ServingProcess]:
    """An embedding version, and a test between two rerankers: half of the queries each."""
    process = ServingProcess(tmp_path_factory.mktemp("reranking"), ATTUNE_RERANK_DEPTH="20")
    embedding = served(artifacts[0], collection="c_emb_v1", documents=120)
    split = ServedSplit(test="rer-ab", challenger="rer-v2", fraction=0.5, salt="rerank-salt")
    process.tell(
        serving_config(
            embedding,
            *(r.served for r in rerankers),
            index=index,
            reranker=ServedModel(active="rer-v1", split=split),
        )
    )
    process.start()
    process.until(process.ready)
    yield process
    process.kill()


@pytest.fixture
def model(rerankers: tuple[MadeReranker, MadeReranker]) -> Callable[[str], OnnxReranker]:
    return lambda name: open_verified(next(r.folder for r in rerankers if r.name == name), None).reranker


def test_a_reranker_is_computed_in_float32_wherever_it_runs(
    rerankers: tuple[MadeReranker, MadeReranker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bf16 near scores tie; a tiny one would give its golden answers all the same."""
    monkeypatch.setattr(artifact, "fastest_precision", lambda: "bf16")
    opened = open_verified(rerankers[0].folder, None, precision="auto")
    assert opened.reranker.graph.precision == "fp32"


def scores_of(model: OnnxReranker, query: str, documents: list[str]) -> Any:
    return model.score([(query, document) for document in documents])


@pytest.mark.parametrize("form", [lambda text: text, lambda text: {"text": text}], ids=["texts", "objects"])
def test_results_are_best_first_with_the_scores_of_the_exported_model(
    server: ServingProcess, model: Callable[[str], OnnxReranker], form: Callable[[str], Any]
) -> None:
    body = {"model": "rer-v1", "query": "red house", "documents": [form(d) for d in DOCUMENTS], "top_n": 7}
    answer = server.post("/v1/rerank", body)
    expected = scores_of(model("rer-v1"), "red house", DOCUMENTS)
    results = answer.json()["results"]
    assert len(results) == 7
    for result in results:
        assert result["relevance_score"] == pytest.approx(float(expected[result["index"]]), abs=1e-4)
        assert "document" not in result
    found = [result["relevance_score"] for result in results]
    assert found == sorted(found, reverse=True)
    assert min(found) >= float(np.sort(expected)[-7]) - 1e-4
    assert answer.headers["x-attune-version"] == "rer-v1"
    assert answer.json()["usage"]["total_tokens"] > 30


def test_documents_come_back_where_that_is_asked_for(server: ServingProcess) -> None:
    body = {"query": "red house", "documents": DOCUMENTS[:3], "return_documents": True}
    results = server.post("/v1/rerank", body).json()["results"]
    assert {r["index"]: r["document"]["text"] for r in results} == dict(enumerate(DOCUMENTS[:3]))


def test_each_type_answers_only_where_it_belongs(server: ServingProcess) -> None:
    wrong = server.post("/v1/rerank", {"query": "a", "documents": ["b"], "model": "emb-v1"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (404, "model_not_found")
    assert "there are active, rer-v1, rer-v2" in wrong.json()["error"]["message"]
    assert server.post("/v1/embeddings", {"input": "a", "model": "rer-v1"}).status_code == 404


@pytest.mark.parametrize("version", ["rer-v1", "rer-v2"])
def test_a_search_is_ordered_by_the_reranker_unless_that_is_not_wanted(
    server: ServingProcess, model: Callable[[str], OnnxReranker], version: str
) -> None:
    """rer-v1 orders alone, rer-v2 has three tenths beside the search."""
    query = next(q for q, _ in sentences() if (bucket("rerank-salt", q) < 5000) == (version == "rer-v2"))
    plain = server.post("/v1/search", {"query": query, "top_k": 20, "rerank": False})
    assert "x-attune-reranker" not in plain.headers
    candidates = plain.json()["data"]
    answer = server.post("/v1/search", {"query": query, "top_k": 5})
    assert answer.headers["x-attune-reranker"] == version
    assert answer.headers["x-attune-version"] == "emb-v1"
    scores = scores_of(model(version), query, [f"{c['title']} {c['content']}" for c in candidates])
    expected = blended([c["score"] for c in candidates], scores, 1.0 if version == "rer-v1" else 0.3)
    by_id = dict(zip([c["id"] for c in candidates], map(float, expected), strict=True))
    hits = answer.json()["data"]
    assert len(hits) == 5
    assert all(hit["score"] == pytest.approx(by_id[hit["id"]], abs=1e-4) for hit in hits)
    assert hits[-1]["score"] >= sorted(by_id.values())[-5] - 1e-4


def test_a_test_of_rerankers_splits_rerank_and_search_alike_and_both_are_counted(server: ServingProcess) -> None:
    seen = set()
    counted = {arm: _units(server, arm) for arm in ("A", "B")}
    asked = {"A": 0, "B": 0}
    for query, _ in sentences()[:16]:
        arm = "B" if bucket("rerank-salt", query) < 5000 else "A"
        version = {"A": "rer-v1", "B": "rer-v2"}[arm]
        alone = server.post("/v1/rerank", {"query": query, "documents": DOCUMENTS[:4]}).headers
        within = server.post("/v1/search", {"query": query, "top_k": 3}).headers
        assert (alone["x-attune-version"], alone["x-attune-test"], alone["x-attune-arm"]) == (version, "rer-ab", arm)
        assert within["x-attune-reranker"] == version
        assert (within["x-attune-reranker-test"], within["x-attune-reranker-arm"]) == ("rer-ab", arm)
        assert "x-attune-test" not in within
        asked[arm] += 2
        seen.add(arm)
    assert seen == {"A", "B"}
    assert {arm: _units(server, arm) - counted[arm] for arm in asked} == asked


def _units(server: ServingProcess, arm: str) -> float:
    version = {"A": "rer-v1", "B": "rer-v2"}[arm]
    return server.metric("attune_serving_test_requests_total", version=version, test="rer-ab", arm=arm) or 0.0


def test_pointers_to_a_version_of_the_other_type_are_not_followed(
    process: Callable[..., ServingProcess], one: Made, rerankers: tuple[MadeReranker, MadeReranker]
) -> None:
    server = process()
    server.tell(serving_config(rerankers[0].served, served(one)))
    server.start()
    problem = "embedding points to rer-v1, which is of type reranker; nothing is served yet"
    server.until(lambda: problem in str(server.report().problem))
    assert server.metric("attune_serving_config_problem", reason="UnknownVersion") == 1
    assert not server.ready()
    server.tell(serving_config(served(one), rerankers[0].served, generation=2))
    server.until(server.ready)


def test_an_artifact_of_the_other_type_is_refused(
    process: Callable[..., ServingProcess], one: Made, rerankers: tuple[MadeReranker, MadeReranker]
) -> None:
    server = process()
    mistaken = served(one).model_copy(
        update={"uri": str(rerankers[0].folder), "digest": rerankers[0].digest, "dimensions": None}
    )
    server.tell(serving_config(mistaken))
    server.start()
    server.until(lambda: server.report().versions and server.report().versions[0].state is VersionState.FAILED)
    assert server.report().versions[0].reason == "TypeMismatch"
    assert not server.ready()
