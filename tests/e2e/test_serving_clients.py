"""Clients as people use them, against a real server with the real all-MiniLM-L6-v2: openai, LangChain, Cohere's form of rerank."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from langchain_openai import OpenAIEmbeddings
from openai import AsyncOpenAI, NotFoundError, OpenAI

from artifacts import Made
from attune.contract import ModelType, ServedModel, ServedVersion
from attune_retrieval.artifact import open_verified
from demo.__main__ import packaged_model
from serving_process import ServingProcess, served, serving_config
from tiny_bert import build_tiny_cross_encoder

pytestmark = pytest.mark.e2e
TEXTS = ["How do I rotate a TLS certificate?", "Payment channels settle on chain.", "naïve café, 東京", "x" * 5000]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServingProcess, Any]]:
    from attune_trainer import base_model, cross_encoder
    from attune_trainer.export import artifact
    from attune_trainer.export.reranker import write_reranker

    folder = tmp_path_factory.mktemp("minilm")
    provenance = artifact.Provenance(source="import", base_model="all-MiniLM-L6-v2")
    written = artifact.write(base_model.load_model(packaged_model()), folder / "emb-v1", provenance)
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


def agrees(found: Any, encoder: Any) -> bool:
    expected = encoder.encode(TEXTS, "document")
    return bool((np.asarray(found, np.float32) * expected).sum(axis=1).min() > 0.9999)


@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_the_openai_client_gets_the_models_vectors_in_order(server: Any, encoding: str | None) -> None:
    process, encoder = server
    client = OpenAI(base_url=f"{process.url}/v1", api_key="none")
    more = {"encoding_format": encoding} if encoding else {}
    answer = client.embeddings.create(model="active", input=TEXTS, **more)
    assert [d.index for d in answer.data] == [0, 1, 2, 3]
    if encoding != "base64":
        assert agrees([d.embedding for d in answer.data], encoder)
    assert answer.model == "emb-v1"
    assert answer.usage.prompt_tokens > 20


async def test_the_async_openai_client_too(server: Any) -> None:
    process, encoder = server
    async with AsyncOpenAI(base_url=f"{process.url}/v1", api_key="none") as client:
        answer = await client.embeddings.create(model="emb-v1", input=TEXTS)
    assert agrees([d.embedding for d in answer.data], encoder)


def test_the_openai_client_raises_its_own_error_for_an_unknown_model(server: Any) -> None:
    process, _ = server
    client = OpenAI(base_url=f"{process.url}/v1", api_key="none", max_retries=0)
    with pytest.raises(NotFoundError, match="there are active, emb-v1"):
        client.embeddings.create(model="text-embedding-3-small", input="a")


def test_input_type_is_sent_as_an_extra_of_the_body(server: Any) -> None:
    process, _ = server
    client = OpenAI(base_url=f"{process.url}/v1", api_key="none")
    raw = client.embeddings.with_raw_response.create(
        model="active", input="a query", extra_body={"input_type": "query"}
    )
    assert raw.headers["x-attune-version"] == "emb-v1"


def test_langchain_embeds_documents_and_queries(server: Any) -> None:
    process, encoder = server
    embeddings = OpenAIEmbeddings(
        model="active", base_url=f"{process.url}/v1", api_key="none", check_embedding_ctx_length=False
    )
    assert agrees(embeddings.embed_documents(TEXTS), encoder)
    query = np.asarray(embeddings.embed_query(TEXTS[0]), np.float32)
    assert float(query @ encoder.encode([TEXTS[0]], "query")[0]) > 0.9999


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
