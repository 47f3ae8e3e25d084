"""What clients send, read into frozen values: OpenAI's embeddings, Cohere's and Jina's rerank, search and feedback. Pure.

Each reader takes the parsed JSON and the limits, and raises Refused with the field, the value and what is allowed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from attune.contract.counting import ERROR, LATENCY
from attune_retrieval.encoding import Role
from attune_retrieval.errors import BadData
from attune_retrieval.index import Condition, parse_filter
from attune_serving.refusals import Refused, invalid, too_large
from attune_serving.settings import Settings

Json = dict[str, Any]
METRIC = re.compile(r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$")
ACTIVE = "active"
MEASURED = (LATENCY, ERROR)


@dataclass(frozen=True, slots=True)
class EmbeddingsForm:
    """POST /v1/embeddings."""

    texts: tuple[str, ...]
    model: str
    role: Role
    encoding: Literal["float", "base64"]
    dimensions: int | None = None
    """To how many numbers vectors are cut; None: whole ones."""


@dataclass(frozen=True, slots=True)
class RerankForm:
    """POST /v1/rerank."""

    query: str
    documents: tuple[str, ...]
    top_n: int
    return_documents: bool
    model: str


@dataclass(frozen=True, slots=True)
class SearchForm:
    """POST /v1/search. `rerank` and `hybrid` None: as the Retriever has it."""

    query: str
    top_k: int
    conditions: tuple[Condition, ...]
    rerank: bool | None
    hybrid: bool | None
    model: str


@dataclass(frozen=True, slots=True)
class FeedbackForm:
    """POST /v1/feedback. Without `version` the answer's version is found by the same hash that assigned it."""

    query: str
    metric: str
    value: float
    version: str | None


def embeddings(body: Json, limits: Settings) -> EmbeddingsForm:
    given = body.get("input")
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts:
        raise invalid("input", "give a text, or a list of texts")
    if any(isinstance(t, int | list) and not isinstance(t, bool) for t in texts):
        raise invalid("input", "tokens are not taken, only texts; in LangChain set check_embedding_ctx_length=False")
    said = _choice(body, "input_type", {"query", "document", "search_query", "search_document"}, "document")
    encoding = _choice(body, "encoding_format", {"float", "base64"}, "float")
    return EmbeddingsForm(
        texts=_texts(texts, "input", limits),
        model=_model(body),
        role="query" if said in {"query", "search_query"} else "document",
        encoding="base64" if encoding == "base64" else "float",
        dimensions=_number(body, "dimensions", 0, 1, 65_536) or None,
    )


def rerank(body: Json, limits: Settings) -> RerankForm:
    given = body.get("documents")
    if not isinstance(given, list) or not given:
        raise invalid("documents", 'give a list of texts, or of {"text": …}')
    texts = [d.get("text") if isinstance(d, dict) else d for d in given]
    documents = _texts(texts, "documents", limits)
    return RerankForm(
        query=_query(body, limits),
        documents=documents,
        top_n=min(len(documents), _number(body, "top_n", len(documents), 1, 1_000_000)),
        return_documents=_flag(body, "return_documents") or False,
        model=_model(body),
    )


def search(body: Json, limits: Settings) -> SearchForm:
    try:
        conditions = parse_filter(body.get("filter"))
    except BadData as error:
        raise Refused(400, "invalid_value", str(error), param="filter") from error
    return SearchForm(
        query=_query(body, limits),
        top_k=_number(body, "top_k", 10, 1, limits.max_top_k),
        conditions=conditions,
        rerank=_flag(body, "rerank"),
        hybrid=_flag(body, "hybrid"),
        model=_model(body),
    )


def feedback(body: Json, limits: Settings) -> FeedbackForm:
    metric, value, version = body.get("metric"), body.get("value"), body.get("version")
    if not isinstance(metric, str) or not METRIC.match(metric):
        raise invalid("metric", f"{metric!r} is no name; letters, digits, '_', '.', '-', at most 63, a letter first")
    if metric in MEASURED:
        raise invalid("metric", f"{metric} is measured by serving itself; send your own under another name")
    if isinstance(value, bool):
        value = float(value)
    if not isinstance(value, int | float) or not abs(value) < 1e12:
        raise invalid("value", f"{value!r} is no number between -1e12 and 1e12")
    if version is not None and not isinstance(version, str):
        raise invalid("version", "give the X-Attune-Version of the answer, or leave it out")
    return FeedbackForm(_query(body, limits), metric, float(value), version)


READERS: dict[str, Callable[[Json, Settings], Any]] = {
    "embeddings": embeddings,
    "rerank": rerank,
    "search": search,
    "feedback": feedback,
}


def _texts(given: list[Any], param: str, limits: Settings) -> tuple[str, ...]:
    if len(given) > limits.max_texts:
        raise too_large(param, f"{len(given)} texts; at most {limits.max_texts} in one request (ATTUNE_MAX_TEXTS)")
    for number, text in enumerate(given):
        if not isinstance(text, str):
            raise invalid(f"{param}[{number}]", f"{type(text).__name__}, not a text")
        if not text.strip():
            raise invalid(f"{param}[{number}]", "the text is empty; it has no meaning to embed")
        if len(text) > limits.max_characters:
            raise too_large(
                f"{param}[{number}]",
                f"{len(text)} characters; at most {limits.max_characters} (ATTUNE_MAX_CHARACTERS). Cut the text into passages",
            )
    return tuple(given)


def _query(body: Json, limits: Settings) -> str:
    query = body.get("query")
    if not isinstance(query, str) or not query.strip():
        raise invalid("query", "give a text")
    return _texts([query], "query", limits)[0]


def _model(body: Json) -> str:
    model = body.get("model") or ACTIVE
    if not isinstance(model, str):
        raise invalid("model", f"give {ACTIVE}, or the name of a version")
    return model


def _choice(body: Json, param: str, allowed: set[str], default: str) -> str:
    value = body.get(param)
    if value is None:
        return default
    if value not in allowed:
        raise invalid(param, f"{value!r}; allowed are {', '.join(sorted(allowed))}")
    return str(value)


def _number(body: Json, param: str, default: int, low: int, high: int) -> int:
    value = body.get(param)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise invalid(param, f"{value!r}; give a whole number from {low}")
    if value > high:
        raise too_large(param, f"{value}; at most {high}")
    return value


def _flag(body: Json, param: str) -> bool | None:
    value = body.get(param)
    if value is not None and not isinstance(value, bool):
        raise invalid(param, f"{value!r}; give true or false")
    return value
