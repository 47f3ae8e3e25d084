"""From a form to an answer: choose the version, embed, search its own collection, rerank. Called by `app`.

Everything of one request happens in one `Serving`: the query's vector and the collection it is compared with always belong
to one version (invariant 5), whatever is swapped meanwhile.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import httpx
import numpy as np

from attune.contract import ModelType
from attune_retrieval.encoding import Role
from attune_retrieval.graph import Floats, Tokens
from attune_retrieval.index import Hit
from attune_serving import upstream
from attune_serving.assign import Assignment, assign
from attune_serving.batching import QueueFull
from attune_serving.forms import ACTIVE, EmbeddingsForm, RerankForm, SearchForm
from attune_serving.loading import is_unit
from attune_serving.refusals import Refused, blamed, not_ready, too_large
from attune_serving.replica import Replica, Serving
from attune_serving.searching import Searcher
from attune_serving.settings import Settings
from attune_serving.shelf import Loaded

INLINE_CHARACTERS = 4000
"""Texts up to this length are cut into tokens on the event loop: a thread would cost more."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors in the order of the texts, and who gave them."""

    vectors: Floats
    tokens: int
    by: Assignment
    collection: str | None


@dataclass(frozen=True, slots=True)
class Ranked:
    """(position, score) best first, and who gave them."""

    order: tuple[tuple[int, float], ...]
    tokens: int
    by: Assignment


@dataclass(frozen=True, slots=True)
class Found:
    """Hits best first, and who gave them."""

    hits: tuple[Hit, ...]
    by: Assignment
    collection: str
    reranked_by: Assignment | None = None


@dataclass
class Answering:
    """The work behind the endpoints. Raises Refused for what cannot be answered."""

    replica: Replica
    settings: Settings
    _client: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)

    def __post_init__(self) -> None:
        known = self.settings
        self._searcher = Searcher(known.index_threads, known.max_queue_searches, known.search_seconds)

    async def close(self) -> None:
        await self._client.aclose()
        self._searcher.close()

    async def embed(self, form: EmbeddingsForm) -> Embedded:
        """Texts are documents unless they are said to be queries.

        Only what is said to be a query, and comes alone, takes part in a test: one answer has vectors of one space.
        """
        serving = self._serving()
        asked = form.texts[0] if form.role == "query" and len(form.texts) == 1 else None
        by = self._assigned(serving, ModelType.EMBEDDING, form.model, asked)
        with self._held(serving, by) as loaded:
            vectors, tokens = await self._vectors(loaded, form.texts, form.role)
            return Embedded(vectors, tokens, by, loaded.model.version.collection)

    async def rerank(self, form: RerankForm) -> Ranked:
        """All documents, best first, cut at top_n."""
        serving = self._serving()
        by = self._assigned(serving, ModelType.RERANKER, form.model, form.query)
        with self._held(serving, by) as loaded:
            scores, tokens = await self._scores(loaded, form.query, form.documents)
        order = np.argsort(-scores, kind="stable")[: form.top_n]
        return Ranked(tuple((int(n), float(scores[n])) for n in order), tokens, by)

    async def search(self, form: SearchForm) -> Found:
        """Embed, search the collection of the very version that embedded, rerank where that is wanted."""
        serving = self._serving()
        by = self._assigned(serving, ModelType.EMBEDDING, form.model, form.query)
        reranker = self._reranker(serving, form)
        second = self._loaded(serving, reranker) if reranker is not None else None
        depth = form.top_k if second is None else max(form.top_k, self.settings.rerank_depth)
        with second.use() if second is not None else nullcontext():
            with self._held(serving, by) as loaded:
                hits = await self._hits(loaded, form, depth)
                collection = str(loaded.model.version.collection)
            if second is not None and reranker is not None and hits:
                with blamed(reranker):
                    hits = await self._reordered(second, form.query, hits)
        return Found(tuple(hits[: form.top_k]), by, collection, reranker)

    def assigned(self, query: str) -> Assignment:
        """Who answered this query, if it was asked a moment ago: for feedback that does not say."""
        return self._assigned(self._serving(), ModelType.EMBEDDING, ACTIVE, query)

    def named(self, version: str) -> Assignment:
        """A version that this replica knows, whatever its type: for feedback that names it."""
        if self._serving().config.version(version) is None:
            raise Refused(404, "version_not_found", f"version {version!r} is not served here", param="version")
        return Assignment(version)

    # ---- which version

    def _serving(self) -> Serving:
        serving = self.replica.serving
        if serving is None:
            raise not_ready()
        return serving

    def _assigned(self, serving: Serving, model_type: ModelType, model: str, query: str | None) -> Assignment:
        served = serving.of(model_type)
        if served is None:
            raise Refused(
                404,
                "model_not_found",
                f"no {model_type.value} is served here; add spec.{model_type.value} to the Retriever",
            )
        if model == ACTIVE:
            return assign(served, query)
        version = serving.config.version(model)
        if version is None or version.type is not model_type or model not in serving.versions:
            names = [n for n, v in sorted(serving.versions.items()) if v.model.version.type is model_type]
            raise Refused(
                404,
                "model_not_found",
                f"model {model!r} is not served here; there are {', '.join([ACTIVE, *names])}",
                param="model",
            )
        return Assignment(model)

    def _loaded(self, serving: Serving, by: Assignment) -> Loaded:
        return serving.versions[by.version]

    @contextmanager
    def _held(self, serving: Serving, by: Assignment) -> Iterator[Loaded]:
        """The version, for the duration of its part of a request; what goes wrong meanwhile is its fault."""
        with blamed(by), self._loaded(serving, by).use() as loaded:
            yield loaded

    def _reranker(self, serving: Serving, form: SearchForm) -> Assignment | None:
        if form.rerank is False or (form.rerank is None and serving.of(ModelType.RERANKER) is None):
            return None
        return self._assigned(serving, ModelType.RERANKER, ACTIVE, form.query)

    # ---- the models

    async def _vectors(self, loaded: Loaded, texts: Sequence[str], role: Role) -> tuple[Floats, int]:
        encoder = loaded.model.encoder
        if sum(map(len, texts)) <= INLINE_CHARACTERS:
            tokens = encoder.tokenize(texts, role)
        else:
            tokens = await asyncio.to_thread(encoder.tokenize, texts, role)
        count = self._counted(tokens)
        if loaded.model.upstream is not None:
            prompted = [encoder.prompts.get(role, "") + text for text in texts]
            try:
                vectors = await upstream.embed(self._client, loaded.model.upstream, loaded.name, prompted)
            except upstream.UpstreamError as error:
                raise Refused(502, "upstream_failed", str(error), retry_after=1) from error
        else:
            vectors = await self._computed(loaded, tokens)
        if not is_unit(vectors):
            raise Refused(
                500, "model_failed", f"{loaded.name} gave vectors that are no numbers; promote another version"
            )
        return vectors, count

    async def _scores(self, loaded: Loaded, query: str, documents: Sequence[str]) -> tuple[Floats, int]:
        pairs = [(query, document) for document in documents]
        tokens = await asyncio.to_thread(loaded.model.reranker.tokenize, pairs)
        count = self._counted(tokens)
        scores = (await self._computed(loaded, tokens)).reshape(len(pairs))
        if not np.isfinite(scores).all():
            raise Refused(
                500, "model_failed", f"{loaded.name} gave scores that are no numbers; promote another version"
            )
        return scores, count

    def _counted(self, tokens: Sequence[Tokens]) -> int:
        count, most = sum(map(len, tokens)), self.settings.max_request_tokens
        if count > most:
            raise too_large(
                "input",
                f"{count} tokens; at most {most} in one request (ATTUNE_MAX_REQUEST_TOKENS); send fewer texts at once",
            )
        return count

    async def _computed(self, loaded: Loaded, tokens: Sequence[Tokens]) -> Floats:
        try:
            return await loaded.batcher.submit(tokens)
        except QueueFull as full:
            raise Refused(
                429, "queue_full", f"{loaded.name}: {full}; try later", retry_after=full.retry_after
            ) from full

    async def _reordered(self, loaded: Loaded, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """By the reranker's score. What was not among the first candidates is not seen by it."""
        seen = hits[: self.settings.rerank_depth]
        scores, _ = await self._scores(loaded, query, [f"{hit.title} {hit.content}".strip() for hit in seen])
        order = np.argsort(-scores, kind="stable")
        best = [Hit(h.id, float(scores[n]), h.title, h.content, h.published_at) for n in order for h in (seen[n],)]
        return [*best, *hits[len(seen) :]]

    async def _hits(self, loaded: Loaded, form: SearchForm, depth: int) -> list[Hit]:
        collection, spec = loaded.model.collection, loaded.model.searched
        if collection is None or spec is None:
            raise Refused(
                409,
                "no_index",
                f"{loaded.name} has no collection: the Retriever defines no data.archive. /v1/embeddings and /v1/rerank work",
            )
        vectors, _ = await self._vectors(loaded, (form.query,), "query")
        return await self._searcher.search(collection, spec, vectors[0], form, depth)
