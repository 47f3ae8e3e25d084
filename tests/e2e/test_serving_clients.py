"""Clients as people use them, against a real server with the real all-MiniLM-L6-v2: openai, LangChain, Cohere's form of rerank."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from langchain_openai import OpenAIEmbeddings
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

from artifacts import Made
from attune.contract import ModelType, ServedModel, ServedVersion
from attune_retrieval.artifact import open_verified
from demo.__main__ import packaged_model
from serving_process import ServingProcess, served, serving_config
from tiny_bert import build_tiny_cross_encoder

pytestmark = pytest.mark.e2e
TEXTS = ["How do I rotate a TLS certificate?", "Payment channels settle on chain.", "naïve café, 東京", "x" * 5000]
WORDS = ("channel", "router", "onion", "invoice")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServingProcess, Any]]:
    from attune_trainer import base_model, cross_encoder
    from attune_trainer.export import artifact
    from attune_trainer.export.reranker import write_reranker

    folder = tmp_path_factory.mktemp("minilm")
    provenance = artifact.Provenance(source="import", base_model="all-MiniLM-L6-v2")
    model = base_model.load_model(packaged_model(), query_prompt="Represent this question: ")
    written = artifact.write(model, folder / "emb-v1", provenance)
    cross = write_reranker(
        cross_encoder.load(build_tiny_cross_encoder(folder / "cross"), max_length=32), folder / "rer-v1", provenance
    )
    made = Made("emb-v1", written.folder, written.digest, str(written.manifest.embedding_space), 384)
    reranker = ServedVersion(name="rer-v1", type=ModelType.RERANKER, uri=str(cross.folder), digest=cross.digest)
    process = ServingProcess(folder / "pod")
    process.tell(serving_config(served(made), reranker, reranker=ServedModel(active="rer-v1")))
    process.start()
    process.until(process.ready)
    yield process, open_verified(written.folder, written.digest).encoder
    process.kill()


def agrees(found: Any, expected: Any) -> bool:
    """Row by row, in the order of the texts."""
    given = np.asarray(found, np.float32)
    return given.shape == expected.shape and bool((given * expected).sum(axis=1).min() > 0.9999)


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_the_openai_client_gets_the_models_vectors_in_order(server: Any, encoding: str | None) -> None:
    process, encoder = server
    client = OpenAI(base_url=f"{process.url}/v1", api_key="none")
    more = {"encoding_format": encoding} if encoding else {}
    answer = client.embeddings.create(model="active", input=TEXTS, **more)
    assert [d.index for d in answer.data] == [0, 1, 2, 3]
    rows = [d.embedding for d in answer.data]
    if encoding == "base64":  # the client leaves what was asked for as it came
        rows = [np.frombuffer(base64.b64decode(row), "<f4") for row in rows]
    assert agrees(rows, encoder.encode(TEXTS, "document"))
    assert answer.model == "emb-v1"
    tokens = sum(map(len, encoder.tokenize(TEXTS, "document")))
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)


async def test_the_async_openai_client_too(server: Any) -> None:
    process, encoder = server
    async with AsyncOpenAI(base_url=f"{process.url}/v1", api_key="none") as client:
        answer = await client.embeddings.create(model="emb-v1", input=TEXTS)
    assert agrees([d.embedding for d in answer.data], encoder.encode(TEXTS, "document"))


async def test_many_requests_at_once_each_get_their_own_vectors(server: Any) -> None:
    """Lengths are mixed, so that texts of several requests are computed together and answers could be mistaken."""
    process, encoder = server
    asked = [
        [f"{word} number {n} " * (1 + (n * k) % 40) for k, word in enumerate(WORDS[: 1 + n % 4])] for n in range(40)
    ]
    async with AsyncOpenAI(base_url=f"{process.url}/v1", api_key="none", max_retries=0) as client:
        answers = await asyncio.gather(*(client.embeddings.create(model="active", input=one) for one in asked))
    for one, answer in zip(asked, answers, strict=True):
        assert agrees([d.embedding for d in answer.data], encoder.encode(one, "document"))


def test_the_openai_client_raises_its_own_error_for_an_unknown_model(server: Any) -> None:
    process, _ = server
    client = OpenAI(base_url=f"{process.url}/v1", api_key="none", max_retries=0)
    with pytest.raises(NotFoundError, match="there are active, emb-v1"):
        client.embeddings.create(model="text-embedding-3-small", input="a")


def test_the_openai_client_raises_its_own_errors_for_what_is_not_taken(server: Any) -> None:
    process, _ = server
    client = OpenAI(base_url=f"{process.url}/v1", api_key="none", max_retries=0)
    with pytest.raises(BadRequestError, match="matryoshkaDimensions") as refused:
        client.embeddings.create(model="active", input="a", dimensions=64)
    assert (refused.value.param, refused.value.type) == ("dimensions", "invalid_request_error")
    with pytest.raises(BadRequestError, match="tokens are not taken"):
        client.embeddings.create(model="active", input=[[1, 2, 3]])


def test_input_type_is_sent_as_an_extra_of_the_body_and_chooses_the_prompt(server: Any) -> None:
    process, encoder = server
    client = OpenAI(base_url=f"{process.url}/v1", api_key="none")
    query = encoder.encode(["a query"], "query")
    for said, expected in (
        ({"extra_body": {"input_type": "query"}}, query),
        ({"extra_body": {"input_type": "document"}}, encoder.encode(["a query"], "document")),
        ({}, encoder.encode(["a query"], "document")),
    ):
        raw = client.embeddings.with_raw_response.create(model="active", input="a query", **said)
        assert raw.headers["x-attune-version"] == "emb-v1"
        assert agrees([raw.parse().data[0].embedding], expected)
    assert not agrees(query, encoder.encode(["a query"], "document"))


def langchain(url: str, **more: Any) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(
        model="active", base_url=f"{url}/v1", api_key="none", check_embedding_ctx_length=False, **more
    )


@pytest.mark.parametrize("chunk_size", [1000, 3, 1])
def test_langchain_embeds_documents_alike_however_it_cuts_them_into_requests(server: Any, chunk_size: int) -> None:
    process, encoder = server
    found = langchain(process.url, chunk_size=chunk_size).embed_documents(TEXTS)
    assert agrees(found, encoder.encode(TEXTS, "document"))


async def test_langchain_embeds_queries_with_their_prompt(server: Any) -> None:
    process, encoder = server
    queries = langchain(process.url, model_kwargs={"extra_body": {"input_type": "query"}})
    expected = encoder.encode([TEXTS[0]], "query")
    assert agrees([queries.embed_query(TEXTS[0])], expected)
    assert agrees([await queries.aembed_query(TEXTS[0])], expected)


@pytest.mark.parametrize("documents", [["red house", "blue car"], [{"text": "red house"}, {"text": "blue car"}]])
def test_rerank_speaks_coheres_form(server: Any, documents: Any) -> None:
    process, _ = server
    body = {"model": "active", "query": "red house", "documents": documents, "top_n": 2, "return_documents": True}
    answer = httpx.post(f"{process.url}/v1/rerank", json=body, trust_env=False)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert {r["index"] for r in results} == {0, 1}
    assert results[0]["relevance_score"] >= results[1]["relevance_score"]
    assert results[0]["document"]["text"] in {"red house", "blue car"}
    assert answer.headers["x-attune-version"] == "rer-v1"
