"""One loaded version is asked: texts to vectors, pairs to scores, a query to hits of its own collection. Used by `answering` and `probing`.

What a version answers is looked at before anyone gets it: vectors are of its dimensions, finite and not zero, scores are finite.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx
import numpy as np

from attune_retrieval.encoding import Role
from attune_retrieval.graph import Floats, Tokens
from attune_retrieval.hosted import HostedEncoder
from attune_retrieval.index import Hit
from attune_serving import hosted, upstream
from attune_serving.batching import QueueFull
from attune_serving.forms import SearchForm
from attune_serving.loading import is_unit
from attune_serving.refusals import Refused, too_large
from attune_serving.searching import Searchers, SearchSettings
from attune_serving.settings import Settings
from attune_serving.shelf import Loaded

INLINE_CHARACTERS = 4000
"""Texts up to this length are cut into tokens on the event loop: a thread would cost more."""
PATIENT_TOKENS = 512
"""An attempt may take the guard's seconds for each so many tokens."""
CONNECTIONS = httpx.Limits(max_connections=1024, max_keepalive_connections=100)
"""To the upstream. Requests that hang there must leave room for those of another version."""


@dataclass(slots=True)
class Patience:
    """How much longer than a short query on an idle server an attempt may take: by the work that it is, and that waits before it."""

    factor: float = 1.0

    def tokens(self, count: int) -> None:
        """So many are to be computed first, and for it."""
        self.factor = max(self.factor, count / PATIENT_TOKENS)

    def crowd(self, share: float) -> None:
        """So many searches there are for each thread."""
        self.factor = max(self.factor, share)


@dataclass
class Asking:
    """Raises Refused for what cannot be answered; what else is raised is a fault of the version."""

    settings: Settings
    _client: httpx.AsyncClient = field(default_factory=lambda: httpx.AsyncClient(limits=CONNECTIONS))

    def __post_init__(self) -> None:
        known = self.settings
        self._searchers = Searchers(known.index_threads, known.max_queue_searches, known.search_seconds)

    async def close(self) -> None:
        await self._client.aclose()
        self._searchers.close()

    async def vectors(self, loaded: Loaded, texts: Sequence[str], role: Role, patience: Patience) -> tuple[Floats, int]:
        """Unit vectors, shape (len(texts), dimensions), and how many tokens the texts are."""
        encoder = loaded.model.encoder
        if sum(map(len, texts)) <= INLINE_CHARACTERS:
            tokens = encoder.tokenize(texts, role)
        else:
            tokens = await asyncio.to_thread(encoder.tokenize, texts, role)
        count = self._counted(tokens)
        patience.tokens(count + loaded.batcher.depth)
        if isinstance(encoder, HostedEncoder):
            vectors = await hosted.vectors(self._client, encoder, texts, role)
        elif loaded.model.upstream is not None:
            prompted = [encoder.prompts.get(role, "") + text for text in texts]
            try:
                vectors = await upstream.embed(self._client, loaded.model.upstream, loaded.name, prompted)
            except upstream.UpstreamError as error:
                raise Refused(502, "upstream_failed", str(error), retry_after=1) from error
        else:
            vectors = await _computed(loaded, tokens)
        _is_sound(loaded, vectors)
        return vectors, count

    async def scores(
        self, loaded: Loaded, query: str, documents: Sequence[str], patience: Patience
    ) -> tuple[Floats, int]:
        """Of each document, shape (len(documents),), and how many tokens the pairs are."""
        pairs = [(query, document) for document in documents]
        tokens = await asyncio.to_thread(loaded.model.reranker.tokenize, pairs)
        count = self._counted(tokens)
        patience.tokens(count + loaded.batcher.depth)
        scores = (await _computed(loaded, tokens)).reshape(len(pairs))
        if not np.isfinite(scores).all():
            raise Refused(
                500, "model_failed", f"{loaded.name} gave scores that are no numbers; promote another version"
            )
        return scores, count

    async def hits(
        self, loaded: Loaded, form: SearchForm, depth: int, patience: Patience, on_spread: Callable[[float], None]
    ) -> list[Hit]:
        """`depth` documents of its own collection, best first."""
        collection, spec = loaded.model.collection, loaded.model.searched
        if collection is None or spec is None:
            raise Refused(
                409,
                "no_index",
                f"{loaded.name} has no collection: the Retriever defines no data.archive. /v1/embeddings and /v1/rerank work",
            )
        vectors, _ = await self.vectors(loaded, (form.query,), "query", patience)
        searcher = self._searchers.of(loaded)
        patience.crowd(searcher.crowd)
        settings = SearchSettings(spec, loaded.model.fusion)
        return await searcher.search(collection, settings, vectors[0], form, depth, on_spread=on_spread)

    def _counted(self, tokens: Sequence[Tokens]) -> int:
        count, most = sum(map(len, tokens)), self.settings.max_request_tokens
        if count > most:
            raise too_large(
                "input",
                f"{count} tokens; at most {most} in one request (ATTUNE_MAX_REQUEST_TOKENS); send fewer texts at once",
            )
        return count


def text_of(hit: Hit) -> str:
    """What a reranker reads of a document."""
    return f"{hit.title} {hit.content}".strip()


async def _computed(loaded: Loaded, tokens: Sequence[Tokens]) -> Floats:
    try:
        return await loaded.batcher.submit(tokens)
    except QueueFull as full:
        raise Refused(429, "queue_full", f"{loaded.name}: {full}; try later", retry_after=full.retry_after) from full


def _is_sound(loaded: Loaded, vectors: Floats) -> None:
    expected = loaded.model.version.dimensions
    if expected is not None and vectors.shape[-1] != expected:
        raise Refused(
            500,
            "wrong_dimension",
            f"{loaded.name} gave vectors of {vectors.shape[-1]} dimensions, it has {expected}; promote another version",
        )
    if not is_unit(vectors):
        raise Refused(500, "model_failed", f"{loaded.name} gave vectors that are no numbers; promote another version")
