"""What clients may send: read, or refused with the field, the value and what is allowed. Against a real process."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from artifacts import Made
from attune.contract import IndexSpec, ServedModel, ServedSplit
from attune_retrieval.artifact import open_verified
from attune_serving.assign import bucket
from serving_process import ServingProcess, served, serving_config
from tiny_bert import sentences


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, artifacts: tuple[Made, Made], index: IndexSpec
) -> Iterator[ServingProcess]:
    process = ServingProcess(
        tmp_path_factory.mktemp("server"),
        ATTUNE_MAX_TEXTS="64",
        ATTUNE_MAX_BODY_BYTES="100000",
        ATTUNE_MAX_CHARACTERS="2000",
        ATTUNE_MAX_REQUEST_TOKENS="1500",
    )
    versions = [served(made, collection=f"c_{made.name.replace('-', '_')}", documents=120) for made in artifacts]
    split = ServedSplit(test="news-ab", challenger="emb-v2", fraction=0.5, salt="salt")
    process.tell(serving_config(*versions, index=index, embedding=ServedModel(active="emb-v1", split=split)))
    process.start()
    process.until(process.ready)
    yield process
    process.kill()


@pytest.fixture
def encoder(artifacts: tuple[Made, Made]) -> Callable[[str], Any]:
    return lambda name: open_verified(next(m.folder for m in artifacts if m.name == name), None).encoder


def test_embeddings_come_in_order_and_are_those_of_the_exported_model(server: ServingProcess, encoder: Any) -> None:
    texts = [text for _, text in sentences()[:40]]
    answer = server.post("/v1/embeddings", {"input": texts, "model": "emb-v2", "input_type": "document"})
    body = answer.json()
    assert [d["index"] for d in body["data"]] == list(range(40))
    found = np.array([d["embedding"] for d in body["data"]], np.float32)
    assert (found * encoder("emb-v2").encode(texts, "document")).sum(axis=1).min() > 0.9999
    assert body["model"] == answer.headers["x-attune-version"] == "emb-v2"
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 40


def test_base64_is_the_same_vector(server: ServingProcess) -> None:
    plain = server.post("/v1/embeddings", {"input": "red house", "model": "emb-v1"}).json()["data"][0]["embedding"]
    coded = server.post("/v1/embeddings", {"input": "red house", "model": "emb-v1", "encoding_format": "base64"}).json()
    assert np.allclose(np.frombuffer(base64.b64decode(coded["data"][0]["embedding"]), "<f4"), plain, atol=1e-6)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("embeddings", {}, 400, "input: give a text"),
        ("embeddings", {"input": []}, 400, "input: give a text"),
        ("embeddings", {"input": ["a", 3]}, 400, "tokens are not taken"),
        ("embeddings", {"input": [[1, 2, 3]]}, 400, "check_embedding_ctx_length=False"),
        ("embeddings", {"input": ["a", None]}, 400, "input[1]: NoneType"),
        ("embeddings", {"input": "  "}, 400, "input[0]: the text is empty"),
        ("embeddings", {"input": "a", "dimensions": 64}, 400, "have 32 numbers"),
        ("embeddings", {"input": "a", "encoding_format": "int8"}, 400, "allowed are base64, float"),
        ("embeddings", {"input": "a", "input_type": "passage"}, 400, "allowed are document, query"),
        ("embeddings", {"input": "a", "model": "text-embedding-3-small"}, 404, "there are active, emb-v1, emb-v2"),
        ("embeddings", {"input": "a", "model": 7}, 400, "model: give active"),
        ("embeddings", {"input": ["a"] * 65}, 413, "65 texts; at most 64"),
        ("embeddings", {"input": "a" * 2001}, 413, "2001 characters; at most 2000"),
        ("embeddings", {"input": ["a" * 1900] * 60}, 413, "larger than 100000 bytes"),
        ("embeddings", {"input": ["a " * 80] * 40}, 413, "2560 tokens; at most 1500"),
        ("rerank", {"query": "a", "documents": ["b"]}, 404, "no reranker is served here"),
        ("rerank", {"query": "", "documents": ["b"]}, 400, "query: give a text"),
        ("rerank", {"query": "a", "documents": "b"}, 400, "documents: give a list"),
        ("rerank", {"query": "a", "documents": ["b"], "top_n": 0}, 400, "top_n: 0"),
        ("search", {"query": "a", "top_k": "many"}, 400, "top_k: 'many'"),
        ("search", {"query": "a", "top_k": 5000}, 413, "at most 1000"),
        ("search", {"query": "a", "filter": {"author": "x"}}, 400, "there are id, title, publishedAt"),
        ("search", {"query": "a", "filter": {"publishedAt": {"gte": "soon"}}}, 400, "write 2026-01-31"),
        ("search", {"query": "a", "rerank": "yes"}, 400, "rerank: 'yes'; give true or false"),
        ("search", {"query": "a", "rerank": True}, 404, "no reranker is served here"),
        ("feedback", {"query": "a", "metric": "9lives", "value": 1}, 400, "metric: '9lives'"),
        ("feedback", {"query": "a", "metric": "clicks", "value": "many"}, 400, "value: 'many'"),
        (
            "feedback",
            {"query": "a", "metric": "clicks", "value": 1, "version": "emb-v9"},
            404,
            "'emb-v9' is not served",
        ),
    ],
)
def test_what_is_wrong_is_refused_with_the_way_out(
    server: ServingProcess, path: str, body: Any, status: int, words: str
) -> None:
    answer = server.post(f"/v1/{path}", body)
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert words in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("content", [b"{broken", b"[1]", b'"text"', b"\xff\xfe", b'{"input": "\\ud800"}', b""])
def test_what_is_no_json_object_is_refused(server: ServingProcess, content: bytes) -> None:
    answer = httpx.post(f"{server.url}/v1/embeddings", content=content, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_json"


def test_other_methods_and_paths_are_refused_in_the_same_form(server: ServingProcess) -> None:
    for answer, status, code in (
        (server.get("/v1/embeddings"), 405, "method_not_allowed"),
        (server.get("/v2/anything"), 404, "path_not_found"),
        (server.post("/v1/chat/completions", {}), 404, "path_not_found"),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert "/v1/embeddings" in answer.json()["error"]["message"]
    assert server.get("/v1/embeddings").headers["allow"] == "POST"


def test_queries_are_split_by_their_text_and_say_so(server: ServingProcess, artifacts: tuple[Made, Made]) -> None:
    seen = set()
    for query, _ in sentences()[:30]:
        for path, body in (("embeddings", {"input": query, "input_type": "query"}), ("search", {"query": query})):
            headers = server.post(f"/v1/{path}", body).headers
            arm = "B" if bucket("salt", query) < 5000 else "A"
            assert (headers["x-attune-arm"], headers["x-attune-test"]) == (arm, "news-ab")
            assert headers["x-attune-version"] == {"A": "emb-v1", "B": "emb-v2"}[arm]
            assert headers["x-attune-index"] == {"A": "c_emb_v1", "B": "c_emb_v2"}[arm]
            seen.add(arm)
    assert seen == {"A", "B"}
    by_arm = server.metric("attune_serving_test_requests_total", version="emb-v2", test="news-ab", arm="B")
    assert by_arm is not None
    assert by_arm >= 2


@pytest.mark.parametrize(
    "body",
    [
        {"input": "red house", "input_type": "document"},
        {"input": ["red house", "blue car"], "input_type": "query"},
        {"input": "red house"},
        {"input": "red house", "model": "emb-v1", "input_type": "query"},
    ],
    ids=["document", "several queries", "nothing said", "by name"],
)
def test_what_takes_part_in_no_test_is_answered_by_the_active_version(server: ServingProcess, body: Any) -> None:
    headers = server.post("/v1/embeddings", body).headers
    assert "x-attune-test" not in headers
    assert headers["x-attune-version"] == "emb-v1"


def test_a_search_asks_the_collection_of_the_version_that_embedded(server: ServingProcess, encoder: Any) -> None:
    query = "green river"
    answer = server.post("/v1/search", {"query": query, "top_k": 5, "hybrid": False})
    version = answer.headers["x-attune-version"]
    texts = [text for _, text in sentences()]
    scores = encoder(version).encode(texts, "document") @ encoder(version).encode([query], "query")[0]
    best = [f"d{n:03}" for n in np.argsort(-scores)[:5]]
    hits = answer.json()["data"]
    assert [h["id"] for h in hits] == best
    assert hits[0]["score"] == pytest.approx(float(scores.max()), abs=1e-3)
    assert hits[0]["content"] == texts[int(best[0][1:])]


def test_hybrid_is_the_default_and_finds_the_words(server: ServingProcess) -> None:
    hits = server.post("/v1/search", {"query": "silver chair", "top_k": 3}).json()["data"]
    assert "silver" in hits[0]["content"]
    assert "chair" in hits[0]["content"]


def test_a_filter_narrows(server: ServingProcess) -> None:
    body = {"query": "red house", "top_k": 120, "filter": {"publishedAt": {"gte": "2026-01-28"}}}
    hits = server.post("/v1/search", body).json()["data"]
    assert {h["id"] for h in hits} == {"d027", "d055", "d083", "d111"}


def test_feedback_without_a_version_goes_to_the_one_that_answered(server: ServingProcess) -> None:
    query = next(q for q, _ in sentences() if bucket("salt", q) < 5000)
    assert server.post("/v1/feedback", {"query": query, "metric": "stars", "value": 4}).json()["version"] == "emb-v2"
    assert (
        server.post("/v1/feedback", {"query": query, "metric": "stars", "value": True, "version": "emb-v1"}).status_code
        == 200
    )
    assert server.metric("attune_serving_feedback_value_sum", version="emb-v2", metric="stars") == 4.0


def test_before_anything_is_served_every_endpoint_says_so(process: Callable[..., ServingProcess]) -> None:
    server = process("empty")
    server.start()
    for path, body in (
        ("embeddings", {"input": "a"}),
        ("rerank", {"query": "a", "documents": ["b"]}),
        ("search", {"query": "a"}),
        ("feedback", {"query": "a", "metric": "stars", "value": 1, "version": "anything"}),
    ):
        answer = server.post(f"/v1/{path}", body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "not_ready")
        assert int(answer.headers["retry-after"]) >= 1
    assert server.get("/readyz").status_code == 503
    assert server.get("/healthz").status_code == 200
    assert server.report().active == {}
    assert server.metric("attune_serving_feedback_total") is None


def test_a_search_where_there_is_nothing_to_search_says_so(process: Callable[..., ServingProcess], one: Made) -> None:
    server = process("plain")
    server.tell(serving_config(served(one)))
    server.start()
    server.until(server.ready)
    answer = server.post("/v1/search", {"query": "red house"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "no_index")
    assert "emb-v1 has no collection" in answer.json()["error"]["message"]


def test_a_queue_that_is_full_answers_429_with_a_time_to_come_back(
    process: Callable[..., ServingProcess], one: Made
) -> None:
    server = process("small", ATTUNE_MAX_QUEUE_TOKENS="16", ATTUNE_MAX_BATCH_TEXTS="1")
    server.tell(serving_config(served(one)))
    server.start()
    server.until(server.ready)
    texts = [text for _, text in sentences()[:60]] * 8
    with httpx.Client(trust_env=False, timeout=60) as client:
        import concurrent.futures

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            body = {"input": texts, "model": "active"}
            answers = list(pool.map(lambda _: client.post(f"{server.url}/v1/embeddings", json=body), range(16)))
    refused = [a for a in answers if a.status_code == 429]
    assert {a.status_code for a in answers} == {200, 429}
    assert int(refused[0].headers["retry-after"]) >= 1
    assert refused[0].json()["error"]["code"] == "queue_full"


def test_settings_that_are_wrong_stop_the_start_with_one_line(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "attune_serving"],
        env=os.environ | {"ATTUNE_HTTP_PORT": "many"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith('ATTUNE_HTTP_PORT="many":')
