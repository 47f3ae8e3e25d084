"""A version that an API answers for, in a real serving process: loaded, searched, and what its failures do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from artifacts import Made, collection_of, write_sentences
from attune.contract import (
    HostedModel,
    IndexSpec,
    OpenAITraining,
    ServedModel,
    TrainingConfig,
    VersionState,
    key_variable,
)
from attune_retrieval.artifact import open_verified
from attune_retrieval.hosted import Adapter
from attune_retrieval.index import open_store
from openai_server import EMBEDS, Fault, OpenAIServer
from serving_process import ServingProcess, served, serving_config
from tiny_bert import sentences

Process = Callable[..., ServingProcess]
QUERY, ANSWER = sentences()[7]


@pytest.fixture(scope="module")
def api() -> Iterator[OpenAIServer]:
    made = OpenAIServer(key="sk-right").start()
    with pytest.MonkeyPatch.context() as patch:  # here, too, it is asked: to make the artifact and its collection
        patch.setenv(key_variable(made.url), "sk-right")
        yield made
    made.stop()


@pytest.fixture
def server(api: OpenAIServer, hosted: Made, index: IndexSpec) -> OpenAIServer:
    """As good as new. The artifact and its collection are made before."""
    api.faults, api.rotated = [], False
    api.keys.clear()
    return api


@pytest.fixture
def key(server: OpenAIServer) -> dict[str, str]:
    """What a Pod is given."""
    return {key_variable(server.url): "sk-right", "OPENAI_API_KEY": "of-the-judge"}


@pytest.fixture(scope="module")
def hosted(api: OpenAIServer, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """An adapter over the API's vectors."""
    from attune_trainer.export.artifact import Provenance
    from attune_trainer.hosted.artifact import write_hosted

    config = TrainingConfig(
        base_model=f"openai:{EMBEDS}",
        openai=OpenAITraining(base_url=api.url, model=EMBEDS),
        max_sequence_length=64,
        query_prompt="query: ",
    )
    weight = np.eye(64) + 0.05 * np.random.default_rng(0).normal(size=(64, 64))
    written = write_hosted(
        HostedModel(base_url=api.url, model=EMBEDS),
        Adapter(weight.astype(np.float32)),
        tmp_path_factory.mktemp("hosted") / "emb-v2",
        Provenance(source="training", base_model=config.base_model, config=config),
    )
    assert written.manifest.embedding_space is not None
    return Made("emb-v2", written.folder, written.digest, written.manifest.embedding_space, 64)


@pytest.fixture(scope="module")
def index(hosted: Made, tmp_path_factory: pytest.TempPathFactory) -> IndexSpec:
    spec = IndexSpec(store="lancedb", uri=f"file://{tmp_path_factory.mktemp('hosted-index')}")
    store = open_store(spec)
    write_sentences(store, hosted)
    store.close()
    return spec


def started(process: Process, config: Any, **settings: str) -> ServingProcess:
    made = process(**settings)
    made.tell(config)
    return made.start()


def test_it_answers_searches_by_the_api_and_its_adapter_with_its_own_key(
    process: Process, server: OpenAIServer, hosted: Made, index: IndexSpec, key: dict[str, str]
) -> None:
    config = serving_config(served(hosted, collection=collection_of(hosted)), index=index)
    running = started(process, config, **key)
    running.until(running.ready)
    encoder = open_verified(hosted.folder, hosted.digest).encoder
    answer = running.post("/v1/embeddings", {"input": QUERY, "input_type": "query"})
    assert answer.status_code == 200, answer.text
    found = np.array(answer.json()["data"][0]["embedding"], np.float32)
    assert float(found @ encoder.encode([QUERY], "query")[0]) > 0.9999
    documents = running.post("/v1/embeddings", {"input": [ANSWER] * 20}).json()["data"]
    assert float(np.array(documents[19]["embedding"]) @ encoder.encode([ANSWER], "document")[0]) > 0.9999
    hits = running.post("/v1/search", {"query": QUERY, "top_k": 3, "hybrid": False})
    assert hits.status_code == 200, hits.text
    assert hits.headers["x-attune-version"] == "emb-v2"
    assert len(hits.json()["data"]) == 3
    assert set(server.keys) == {"Bearer sk-right"}
    assert "sk-right" not in running.log


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (Fault("embeddings", 500, times=9, words="oops"), 503, "answered 500: oops"),
        (Fault("embeddings", 429, times=9, words="slow down", retry_after=7), 503, "slow down"),
        (Fault("embeddings", 401, times=9, words="Incorrect API key"), 502, "OPENAI_API_KEY"),
        (Fault("embeddings", "garbage", times=9), 503, "something else than embeddings"),
        (Fault("embeddings", "reset", times=9), 503, "did not answer"),
    ],
)
def test_what_the_api_does_not_answer_is_said_and_counted_for_the_version(
    process: Process, server: OpenAIServer, hosted: Made, key: dict[str, str], fault: Fault, status: int, words: str
) -> None:
    running = started(process, serving_config(served(hosted)), **key)
    running.until(running.ready)
    server.faults = [fault]
    answer = running.post("/v1/embeddings", {"input": QUERY})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"] == "upstream_failed"
    assert words in answer.json()["error"]["message"]
    assert answer.headers["x-attune-version"] == "emb-v2"
    assert fault.retry_after is None or answer.headers["retry-after"] == "7"
    assert running.metric("attune_serving_errors_total", endpoint="embeddings", version="emb-v2") == 1
    server.faults = []
    assert running.post("/v1/embeddings", {"input": QUERY}).status_code == 200


def test_one_failure_is_tried_again_before_anybody_hears_of_it(
    process: Process, server: OpenAIServer, hosted: Made, key: dict[str, str]
) -> None:
    running = started(process, serving_config(served(hosted)), **key)
    running.until(running.ready)
    server.faults = [Fault("embeddings", 500)]
    assert running.post("/v1/embeddings", {"input": QUERY}).status_code == 200


def test_the_guard_has_the_previous_version_answer_while_the_api_is_away(
    process: Process, server: OpenAIServer, hosted: Made, one: Made, key: dict[str, str]
) -> None:
    model = ServedModel(active="emb-v2", previous=one.name)
    running = started(process, serving_config(served(hosted), served(one), embedding=model), **key)
    running.until(running.ready)
    server.faults = [Fault("embeddings", 503, times=99)]
    answer = running.post("/v1/embeddings", {"input": QUERY, "input_type": "query"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-attune-version"] == one.name
    assert len(answer.json()["data"][0]["embedding"]) == one.dimensions
    (guard,) = running.report().guards
    assert (guard.failures, guard.reason) == (1, "upstream_failed")


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        (Fault("embeddings", 401, times=99, words="Incorrect API key"), "Unauthorized", "OPENAI_API_KEY"),
        (Fault("embeddings", 404, times=99, words="no such model"), "ApiRefused", "no such model"),
    ],
)
def test_it_does_not_become_ready_before_the_api_gave_the_golden_vectors_and_then_does(
    process: Process,
    server: OpenAIServer,
    hosted: Made,
    key: dict[str, str],
    fault: Fault,
    reason: str,
    words: str,
) -> None:
    server.faults = [fault]
    running = started(process, serving_config(served(hosted)), **key)
    running.until(lambda: running.report().versions and running.report().versions[0].state is VersionState.FAILED)
    told = running.report().versions[0]
    assert told.reason == reason
    assert words in str(told.message)
    assert not running.ready()
    server.faults = []
    running.until(running.ready)


def test_an_api_with_another_model_is_never_asked_for_answers(
    process: Process, server: OpenAIServer, hosted: Made, key: dict[str, str]
) -> None:
    server.rotated = True
    running = started(process, serving_config(served(hosted)), **key)
    running.until(lambda: running.report().versions and running.report().versions[0].state is VersionState.FAILED)
    assert running.report().versions[0].reason == "ApiDiffers"
