"""An embeddings endpoint in OpenAI's form: texts out, unit vectors in. Used by `hosted`; serving asks it on its own event loop.

What may pass by itself (429, 5xx, time-outs, answers that are no answers) is tried again, as long after as the server asks for;
what will not (a wrong key, a model that is not there) ends at once, in the server's own words.
"""

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import numpy as np
import stamina

from attune.contract import KEY_VARIABLE, HostedModel, key_variable
from attune_retrieval.errors import BadConfig, RetrievalError, StoreUnavailable
from attune_retrieval.graph import Floats

ATTEMPTS, LONGEST_PAUSE, SECONDS_IN_ALL = 8, 30.0, 300.0
TIMEOUT = httpx.Timeout(45.0, connect=10.0)
MOST_TEXTS, MOST_CHARACTERS = 256, 200_000
"""Of one request. The public API takes 2,048 texts and 300,000 tokens; smaller requests lose less when one fails."""
AT_ONCE = 4
QUERY_SECONDS, QUERY_ATTEMPTS = 20.0, 2
"""Of a request that somebody waits for."""
_PASSING = frozenset({408, 409, 425, 429})


class Busy(Exception):
    """Not now. `retry_after` in seconds, where the server said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Answer:
    """Unit vectors, shape (texts, dimensions), and the tokens that the server counted."""

    vectors: Floats
    tokens: int


def embed(model: HostedModel, texts: Sequence[str], advance: Callable[[float], None] | None = None) -> Answer:
    """All texts, a few requests at a time, in their order. BadConfig, StoreUnavailable (ApiUnavailable, QuotaExhausted)."""
    parts = list(batches(texts))
    given_up = threading.Event()
    found: list[Answer] = []
    pool = ThreadPoolExecutor(min(AT_ONCE, max(1, len(parts))), thread_name_prefix="embed")
    try:
        with httpx.Client(timeout=TIMEOUT) as client:
            for answer in pool.map(lambda part: _patiently(client, model, part, given_up), parts):
                found.append(answer)
                if advance:
                    advance(len(found) / len(parts))
    finally:  # an end by SIGTERM must not wait for retries
        given_up.set()
        pool.shutdown(wait=False, cancel_futures=True)
    return joined(model, found)


async def embed_now(client: httpx.AsyncClient, model: HostedModel, texts: Sequence[str]) -> Answer:
    """As `embed`, for somebody who waits: one more try and no more. Raises Busy, too."""
    found = []
    for part in batches(texts):
        async for attempt in stamina.retry_context(on=Busy, attempts=QUERY_ATTEMPTS, wait_initial=0.1, wait_max=0.2):
            with attempt:
                try:
                    url, body = request_of(model, part)
                    answer = await client.post(url, json=body, headers=headers(model), timeout=QUERY_SECONDS)
                except httpx.HTTPError as error:
                    raise Busy(f"{model.base_url} did not answer: {_told(error)}") from error
                found.append(answer_of(model, answer, len(part)))
    return joined(model, found)


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """In order, up to MOST_TEXTS and MOST_CHARACTERS each. The API takes no empty text: a blank stands for it."""
    batch: list[str] = []
    size = 0
    for text in texts:
        if batch and (len(batch) >= MOST_TEXTS or size + len(text) > MOST_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(text or " ")
        size += len(text)
    if batch:
        yield batch


def request_of(model: HostedModel, texts: Sequence[str]) -> tuple[str, dict[str, object]]:
    """Address and body."""
    body: dict[str, object] = {"input": list(texts), "model": model.model, "encoding_format": "float"}
    if model.dimensions is not None:
        body["dimensions"] = model.dimensions
    return model.base_url.rstrip("/") + "/embeddings", body


def key_of(base_url: str) -> str:
    """The key of this server; by hand, where no variable is of this server alone, OPENAI_API_KEY. Empty: none is sent."""
    return os.environ.get(key_variable(base_url), os.environ.get(KEY_VARIABLE, "")).strip()


def headers(model: HostedModel) -> dict[str, str]:
    key = key_of(model.base_url)
    return {"Authorization": f"Bearer {key}"} if key else {}


def answer_of(model: HostedModel, answer: httpx.Response, count: int) -> Answer:
    """Raises Busy, or the error that says what is wrong."""
    if answer.status_code != 200:
        raise refusal(model.base_url, answer.status_code, answer.text, answer.headers.get("retry-after"))
    try:
        body = answer.json()
        rows = [row["embedding"] for row in sorted(body["data"], key=lambda row: row["index"])]
        found = np.asarray(rows, dtype=np.float32)
        tokens = int((body.get("usage") or {}).get("total_tokens") or 0)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Busy(f"{model.base_url} answered something else than embeddings: {answer.text[:200]}") from error
    lengths = np.linalg.norm(found, axis=1, keepdims=True) if found.ndim == 2 else np.zeros((1, 1))
    if found.ndim != 2 or found.shape[0] != count or not np.isfinite(found).all() or not (lengths > 0).all():
        raise Busy(f"{model.base_url} answered {found.shape} for {count} texts, or values that are no vectors")
    return Answer(np.asarray(found / lengths, dtype=np.float32), tokens)


def refusal(base_url: str, status: int, text: str, retry_after: str | None = None) -> RetrievalError | Busy:
    """What an answer that is not 200 means, in the server's own words."""
    told = f"{base_url} answered {status}: {words_of(text)}"
    if status in {401, 403}:
        return BadConfig(
            f"{told}; put a key that is valid there as {KEY_VARIABLE} into the Secret that secretRef names"
            + ("" if key_of(base_url) else " (no key was sent)"),
            reason="Unauthorized",
        )
    if status == 429 and "insufficient_quota" in text:
        return StoreUnavailable(f"{told}; raise the limit of that account", reason="QuotaExhausted")
    if status in _PASSING or status >= 500:
        return Busy(told, _seconds(retry_after))
    return BadConfig(told, reason="ApiRefused")


def words_of(text: str) -> str:
    """`error.message` of OpenAI's form, or the beginning of whatever it is."""
    try:
        found = json.loads(text)["error"]
        return str(found["message"] if isinstance(found, dict) else found)[:500]
    except (ValueError, KeyError, TypeError):
        return " ".join(text.split())[:300] or "no words"


def joined(model: HostedModel, answers: Sequence[Answer]) -> Answer:
    """One answer of all batches."""
    if len({answer.vectors.shape[1] for answer in answers}) > 1:
        raise StoreUnavailable(f"{model.base_url} answered vectors of different lengths", reason="ApiUnavailable")
    if not answers:
        return Answer(np.zeros((0, 0), dtype=np.float32), 0)
    return Answer(np.concatenate([answer.vectors for answer in answers]), sum(answer.tokens for answer in answers))


def _patiently(client: httpx.Client, model: HostedModel, texts: Sequence[str], given_up: threading.Event) -> Answer:
    def again(error: Exception) -> bool | float:
        if given_up.is_set() or not isinstance(error, Busy):
            return False
        return True if error.retry_after is None else min(error.retry_after, LONGEST_PAUSE)

    try:
        for attempt in stamina.retry_context(
            on=again, attempts=ATTEMPTS, wait_initial=0.5, wait_max=LONGEST_PAUSE, timeout=SECONDS_IN_ALL
        ):
            with attempt:
                return _ask(client, model, texts)
    except Busy as error:
        raise StoreUnavailable(f"{error} ({ATTEMPTS} attempts)", reason="ApiUnavailable") from error
    raise AssertionError("stamina ends by an answer or an error")


def _ask(client: httpx.Client, model: HostedModel, texts: Sequence[str]) -> Answer:
    url, body = request_of(model, texts)
    try:
        answer = client.post(url, json=body, headers=headers(model))
    except httpx.HTTPError as error:
        raise Busy(f"{model.base_url} did not answer: {_told(error)}") from error
    return answer_of(model, answer, len(texts))


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text)) if text else None
    except ValueError:
        return None
