"""An inference server that answers in place of the model in memory: OpenAI's form, or text-embeddings-inference's.

It is asked for the version by name (openai), so it must serve it under that name; what it answers is checked against the golden
answers before it may serve, and against NaN afterwards.
"""

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import numpy as np

from attune.contract import ServedUpstream, ServedVersion
from attune_retrieval.errors import BadData, StoreUnavailable
from attune_retrieval.graph import Floats

KEY_VARIABLE = "ATTUNE_UPSTREAM_API_KEY"
MIN_COSINE = 0.999
SECONDS = 30.0
MOST_TEXTS = {"openai": 2048, "tei": 32}
"""Texts of one request; text-embeddings-inference refuses more unless it was started with another --max-client-batch-size."""


class UpstreamError(Exception):
    """The upstream did not answer well; the message names it, and what it said."""


def request_of(upstream: ServedUpstream, version: str, texts: Sequence[str]) -> tuple[str, dict[str, object]]:
    """Address and body."""
    root = upstream.url.rstrip("/")
    if upstream.api == "tei":
        return f"{root}/embed", {"inputs": list(texts), "normalize": True, "truncate": True}
    path = "/embeddings" if root.endswith("/v1") else "/v1/embeddings"
    return root + path, {"input": list(texts), "model": version, "encoding_format": "float"}


def vectors_of(upstream: ServedUpstream, answer: httpx.Response, count: int) -> Floats:
    """Unit vectors in the order of the texts; UpstreamError for anything else."""
    if answer.status_code != 200:
        raise UpstreamError(f"{upstream.url} answered {answer.status_code}: {answer.text[:200]}")
    try:
        body = answer.json()
        rows = (
            body if upstream.api == "tei" else [r["embedding"] for r in sorted(body["data"], key=lambda r: r["index"])]
        )
        found = np.asarray(rows, dtype=np.float32)
    except (ValueError, KeyError, TypeError) as error:
        raise UpstreamError(f"{upstream.url} answered something else than embeddings: {answer.text[:200]}") from error
    if found.ndim != 2 or found.shape[0] != count or not np.isfinite(found).all():
        raise UpstreamError(f"{upstream.url} answered {found.shape} for {count} texts, or values that are no numbers")
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), dtype=np.float32)


def headers() -> dict[str, str]:
    key = os.environ.get(KEY_VARIABLE)
    return {"Authorization": f"Bearer {key}"} if key else {}


async def embed(client: httpx.AsyncClient, upstream: ServedUpstream, version: str, texts: Sequence[str]) -> Floats:
    """Vectors by the upstream, shape (len(texts), dimensions)."""
    most = MOST_TEXTS[upstream.api]
    parts = [texts[start : start + most] for start in range(0, len(texts), most)]
    found = await asyncio.gather(*(_embed(client, upstream, version, part) for part in parts))
    if len({part.shape[1] for part in found}) != 1:
        raise UpstreamError(f"{upstream.url} answered vectors of different lengths")
    return np.concatenate(found)


async def _embed(client: httpx.AsyncClient, upstream: ServedUpstream, version: str, texts: Sequence[str]) -> Floats:
    address, body = request_of(upstream, version, texts)
    try:
        answer = await client.post(address, json=body, headers=headers(), timeout=SECONDS)
    except httpx.HTTPError as error:
        raise UpstreamError(f"{upstream.url} did not answer: {type(error).__name__}: {error}") from error
    return vectors_of(upstream, answer, len(texts))


def check_golden(upstream: ServedUpstream, version: ServedVersion, golden: Path, prompts: Mapping[str, str]) -> None:
    """The upstream gives the vectors of this very version; BadData (UpstreamDiffers) if not, StoreUnavailable if it is away."""
    entries = json.loads(golden.read_text(encoding="utf-8"))
    prompted = [prompts.get(entry["role"], "") + entry["text"] for entry in entries]
    address, body = request_of(upstream, version.name, prompted)
    try:
        answer = httpx.post(address, json=body, headers=headers(), timeout=SECONDS)
        found = vectors_of(upstream, answer, len(prompted))
    except (httpx.HTTPError, UpstreamError) as error:
        raise StoreUnavailable(f"upstream {upstream.url}: {error}", reason="UpstreamUnavailable") from error
    for entry, vector in zip(entries, found, strict=True):
        expected = np.asarray(entry["vector"], dtype=np.float32)
        cosine = float(vector @ expected) if vector.shape == expected.shape else 0.0
        if not cosine >= MIN_COSINE:
            raise BadData(
                f"{upstream.url} does not serve {version.name}: cosine {cosine:.4f} < {MIN_COSINE} to its recorded vector for "
                f"{entry['text'][:40]!r}; load that version there under its name",
                reason="UpstreamDiffers",
            )
