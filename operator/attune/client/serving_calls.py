"""The operations of a Retriever's serving Pods: search, embeddings, reranking, feedback. As `calls`, for another server."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import httpx
from pydantic import Field

from attune.client.core import Again, Call
from attune.contract import Contract

ACTIVE = "active"


class Answered(Contract):
    """Which version answered; what feedback about the answer is to name."""

    model: str = Field(description="The version that answered.")
    index: str | None = Field(None, description="The collection that was searched.")
    test: str | None = Field(None, description="The running test that the query takes part in.")
    arm: str | None = Field(None, description="A or B.")
    fallback: str | None = Field(None, description="The version that was to answer, and could not.")


class Hit(Contract):
    """A document that was found."""

    id: str
    score: float
    title: str | None = None
    content: str | None = None
    published_at: str | None = None


class Found(Answered):
    """Of a search, the best first."""

    hits: tuple[Hit, ...] = ()


class Embedded(Answered):
    """Of texts, in their order."""

    vectors: tuple[tuple[float, ...], ...] = ()


class Ranked(Contract):
    """A document and its score."""

    index: int
    relevance_score: float


class Reranked(Answered):
    """Of documents, the best first; `index` is the place of a document among those that were sent."""

    results: tuple[Ranked, ...] = ()


class Counted(Contract):
    """Feedback that was taken."""

    accepted: bool
    version: str


def search(
    query: str,
    *,
    top_k: int = 10,
    filter: Mapping[str, Any] | None = None,  # noqa: A002  its name there
    rerank: bool | None = None,
    hybrid: bool | None = None,
    model: str = ACTIVE,
) -> Call[Found]:
    """Documents for a query, by the version that serves it."""
    body = {"query": query, "top_k": top_k, "filter": filter, "rerank": rerank, "hybrid": hybrid, "model": model}
    return _post("search", body, lambda answer: Found(**_by(answer), hits=answer.json()["data"]))


def embed(
    texts: str | Sequence[str],
    *,
    input_type: Literal["query", "document"] = "document",
    model: str = ACTIVE,
    dimensions: int | None = None,
) -> Call[Embedded]:
    """Vectors of texts. Queries take part in a running test, documents never do."""
    given = [texts] if isinstance(texts, str) else list(texts)
    body = {"input": given, "input_type": input_type, "model": model, "dimensions": dimensions}

    def read(answer: httpx.Response) -> Embedded:
        rows = sorted(answer.json()["data"], key=lambda row: int(row["index"]))
        return Embedded(**_by(answer), vectors=tuple(tuple(row["embedding"]) for row in rows))

    return _post("embeddings", body, read)


def rerank(query: str, documents: Sequence[str], *, top_n: int | None = None, model: str = ACTIVE) -> Call[Reranked]:
    """Documents in the order of the reranker that serves."""
    body = {"query": query, "documents": list(documents), "top_n": top_n, "model": model}

    def read(answer: httpx.Response) -> Reranked:
        results = tuple(
            Ranked(index=one["index"], relevance_score=one["relevance_score"]) for one in answer.json()["results"]
        )
        return Reranked(**_by(answer), results=results)

    return _post("rerank", body, read)


def feedback(query: str, metric: str, value: float, *, version: str | None = None) -> Call[Counted]:
    """What a user thought of an answer, e.g. `feedback(query, "clicks", 1, version=found.model)`. A test counts a query once."""
    body = {"query": query, "metric": metric, "value": value, "version": version}
    return _post("feedback", body, lambda answer: Counted.from_json(answer.content), Again.UNSEEN)


def _post(endpoint: str, body: dict[str, Any], read: Any, again: Again = Again.ALWAYS) -> Call[Any]:
    given = {k: v for k, v in body.items() if v is not None}
    return Call("POST", f"/v1/{endpoint}", read, body=given, again=again)


def _by(answer: httpx.Response) -> dict[str, Any]:
    names = {"index": "index", "test": "test", "arm": "arm", "fallback": "fallback"}
    told = {name: answer.headers.get(f"x-attune-{header}") for name, header in names.items()}
    return {"model": answer.headers.get("x-attune-version") or answer.json()["model"], **told}
