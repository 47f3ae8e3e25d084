"""A version that another server answers for: OpenAI's form (another Attune), text-embeddings-inference's, and their failures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts import Made
from attune.contract import ServedUpstream, VersionState
from attune_retrieval.artifact import open_verified
from inference_server import Inference
from serving_process import ServingProcess, served, serving_config
from tiny_bert import sentences

TEXTS = [text for _, text in sentences()[:12]]


@pytest.fixture
def inference(one: Made) -> Iterator[Inference]:
    made = Inference(open_verified(one.folder, one.digest).encoder).start()
    yield made
    made.stop()


def config(made: Made, url: str, api: str, generation: int = 1) -> Any:
    upstream = ServedUpstream.model_validate({"url": url, "api": api})
    return serving_config(served(made, path="upstream"), upstream=upstream, generation=generation)


def vectors(answer: Any) -> Any:
    return np.array([row["embedding"] for row in answer.json()["data"]], np.float32)


@pytest.mark.parametrize("path", ["", "/v1", "/v1/"])
def test_another_openai_server_answers_for_the_version(
    process: Callable[..., ServingProcess], one: Made, path: str
) -> None:
    behind = process("behind")
    behind.tell(serving_config(served(one)))
    behind.start()
    behind.until(behind.ready)
    server = process("before")
    server.tell(config(one, behind.url + path, "openai"))
    server.start()
    server.until(server.ready)
    answer = server.post("/v1/embeddings", {"input": TEXTS})
    assert answer.headers["x-attune-version"] == one.name
    expected = open_verified(one.folder, one.digest).encoder.encode(TEXTS, "document")
    assert (vectors(answer) * expected).sum(axis=1).min() > 0.9999
    requests = behind.metric("attune_serving_requests_total", endpoint="embeddings", version=one.name, code="200")
    assert requests == 2  # the golden texts, and these


def test_text_embeddings_inference_answers_and_gets_the_key(
    process: Callable[..., ServingProcess], one: Made, inference: Inference
) -> None:
    server = process(ATTUNE_UPSTREAM_API_KEY="secret-of-the-upstream")
    server.tell(config(one, inference.url, "tei"))
    server.start()
    server.until(server.ready)
    expected = open_verified(one.folder, one.digest).encoder.encode(TEXTS, "document")
    assert (vectors(server.post("/v1/embeddings", {"input": TEXTS})) * expected).sum(axis=1).min() > 0.9999
    many = server.post("/v1/embeddings", {"input": TEXTS * 8})
    assert (vectors(many) * np.tile(expected, (8, 1))).sum(axis=1).min() > 0.9999
    assert set(inference.keys) == {"Bearer secret-of-the-upstream"}
    assert "secret-of-the-upstream" not in server.log


@pytest.mark.parametrize(
    ("status", "text", "words"),
    [
        (500, "out of memory", "answered 500: out of memory"),
        (200, "<html>busy</html>", "answered something else than embeddings"),
        (200, json.dumps([[1.0] * 32]), "for 12 texts"),
        (200, json.dumps([[float("nan")] * 32] * 12), "no numbers"),
    ],
)
def test_an_upstream_that_fails_is_named_and_counted_for_the_version(
    process: Callable[..., ServingProcess], one: Made, inference: Inference, status: int, text: str, words: str
) -> None:
    server = process()
    server.tell(config(one, inference.url, "tei"))
    server.start()
    server.until(server.ready)
    inference.broken = (status, text)
    answer = server.post("/v1/embeddings", {"input": TEXTS})
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "upstream_failed"
    assert inference.url in answer.json()["error"]["message"]
    assert words in answer.json()["error"]["message"]
    assert answer.headers["x-attune-version"] == one.name
    assert server.metric("attune_serving_errors_total", endpoint="embeddings", version=one.name) == 1
    inference.broken = None
    assert server.post("/v1/embeddings", {"input": TEXTS}).status_code == 200


def test_an_upstream_with_another_model_is_never_asked_for_answers(
    process: Callable[..., ServingProcess], two: Made, inference: Inference
) -> None:
    server = process()
    server.tell(config(two, inference.url, "tei"))
    server.start()
    server.until(lambda: server.report().versions and server.report().versions[0].state is VersionState.FAILED)
    report = server.report().versions[0]
    assert report.reason == "UpstreamDiffers"
    assert "does not serve emb-v2" in str(report.message)
    assert not server.ready()


def test_an_upstream_that_is_away_at_the_start_is_waited_for(
    process: Callable[..., ServingProcess], one: Made, inference: Inference
) -> None:
    inference.broken = (503, "starting")
    server = process()
    server.tell(config(one, inference.url, "tei"))
    server.start()
    server.until(lambda: server.report().versions and server.report().versions[0].state is VersionState.FAILED)
    assert server.report().versions[0].reason == "UpstreamUnavailable"
    inference.broken = None
    server.until(server.ready)


def test_an_upstream_version_without_an_upstream_is_not_answered_by_another_way(
    process: Callable[..., ServingProcess], one: Made, tmp_path: Path
) -> None:
    server = process()
    server.tell(serving_config(served(one, path="upstream")))
    server.start()
    server.until(lambda: server.report().versions and server.report().versions[0].state is VersionState.FAILED)
    assert server.report().versions[0].reason == "UpstreamMissing"
    assert not server.ready()
