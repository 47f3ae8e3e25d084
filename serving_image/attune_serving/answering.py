"""From a form to an answer: choose the version, embed, search its own collection, rerank. Called by `app`.

Everything of one request happens in one `Serving`: the query's vector and the collection it is compared with always belong
to one version (invariant 5), whatever is swapped meanwhile, and whichever version answers in the end.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from attune.contract import ModelType
from attune_retrieval.graph import Floats
from attune_retrieval.index import Hit
from attune_retrieval.index.fusion import Scores
from attune_retrieval.weighing import blended
from attune_serving.asking import Asking, Patience, text_of
from attune_serving.assign import Assignment, assign
from attune_serving.cutting import cut, lengths_of, shortened
from attune_serving.forms import ACTIVE, EmbeddingsForm, RerankForm, SearchForm
from attune_serving.guarding import Guarding, Guards, Turn
from attune_serving.refusals import Refused, not_ready
from attune_serving.replica import Replica, Serving
from attune_serving.settings import Settings
from attune_serving.shelf import Loaded


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
    asking: Asking
    guards: Guards
    guarding: Guarding

    async def embed(self, form: EmbeddingsForm) -> Embedded:
        """Texts are documents unless they are said to be queries.

        Only what is said to be a query, and comes alone, takes part in a test: one answer has vectors of one space. Documents go
        into an index of the client's own, so that only a version of the same space may answer in place of another.
        """
        serving = self._serving()
        asked = form.texts[0] if form.role == "query" and len(form.texts) == 1 else None
        by = self._assigned(serving, ModelType.EMBEDDING, form.model, asked)
        turn = self._turn(serving, ModelType.EMBEDDING, form.model, by)
        shortened(turn.loaded, form.dimensions)
        if turn.spare is not None and not _may_stand_in(turn.loaded, turn.spare, form):
            turn = replace(turn, spare=None)

        async def ask(loaded: Loaded, patience: Patience) -> tuple[Floats, int, str | None]:
            vectors, tokens = await self.asking.vectors(loaded, form.texts, form.role, patience)
            return cut(vectors, shortened(loaded, form.dimensions)), tokens, loaded.model.version.collection

        with turn.held():
            (vectors, tokens, collection), by = await self.guarding.answer(turn, ask)
        return Embedded(vectors, tokens, by, collection)

    async def rerank(self, form: RerankForm) -> Ranked:
        """All documents, best first, cut at top_n."""
        serving = self._serving()
        by = self._assigned(serving, ModelType.RERANKER, form.model, form.query)
        turn = self._turn(serving, ModelType.RERANKER, form.model, by)

        async def ask(loaded: Loaded, patience: Patience) -> tuple[Floats, int]:
            return await self.asking.scores(loaded, form.query, form.documents, patience)

        with turn.held():
            (scores, tokens), by = await self.guarding.answer(turn, ask)
        order = np.argsort(-scores, kind="stable")[: form.top_n]
        return Ranked(tuple((int(n), float(scores[n])) for n in order), tokens, by)

    async def search(self, form: SearchForm) -> Found:
        """Embed, search the collection of the very version that embedded, rerank where that is wanted."""
        serving = self._serving()
        by = self._assigned(serving, ModelType.EMBEDDING, form.model, form.query)
        first, second = self._turn(serving, ModelType.EMBEDDING, form.model, by), self._reranking(serving, form)
        if first.spare is not None and first.spare.model.collection is None:
            first = replace(first, spare=None)
        depth = form.top_k if second is None else max(form.top_k, self.settings.rerank_depth)

        async def ask(loaded: Loaded, patience: Patience) -> tuple[list[Hit], str]:
            hits = await self.asking.hits(loaded, form, depth, patience, self._on_spread(loaded))
            return hits, str(loaded.model.version.collection)

        with first.held(), second.held() if second is not None else nullcontext():
            (hits, collection), by = await self.guarding.answer(first, ask)
            reranked_by = second.by if second is not None else None
            if second is not None and hits:
                hits, reranked_by = await self._reordered(second, form.query, hits)
        return Found(tuple(hits[: form.top_k]), by, collection, reranked_by)

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

    def _turn(self, serving: Serving, model_type: ModelType, model: str, by: Assignment) -> Turn:
        """Who is asked. Another takes over for the active version only, and only where none was named: not for a challenger."""
        loaded, served = serving.versions[by.version], serving.of(model_type)
        if model != ACTIVE or served is None or by.version != served.active:
            return Turn(model_type, by, loaded)
        guard = self.guards.of(model_type, by.version)
        spare = serving.versions.get(served.previous) if guard is not None and served.previous is not None else None
        return Turn(model_type, by, loaded, guard, spare)

    def _reranking(self, serving: Serving, form: SearchForm) -> Turn | None:
        if form.rerank is False or (form.rerank is None and serving.of(ModelType.RERANKER) is None):
            return None
        by = self._assigned(serving, ModelType.RERANKER, ACTIVE, form.query)
        return self._turn(serving, ModelType.RERANKER, ACTIVE, by)

    # ---- the answers

    def _on_spread(self, loaded: Loaded) -> Callable[[float], None]:
        return self.guarding.attempts.of(ModelType.EMBEDDING, loaded.name).spread.observe

    async def _reordered(self, turn: Turn, query: str, hits: Sequence[Hit]) -> tuple[list[Hit], Assignment]:
        """By the reranker's score and, as its version wants it, that of the search. What was not among the first candidates is
        not seen by it."""
        seen = hits[: self.settings.rerank_depth]

        async def ask(loaded: Loaded, patience: Patience) -> Scores:
            relevance, _ = await self.asking.scores(loaded, query, [text_of(hit) for hit in seen], patience)
            return blended([hit.score for hit in seen], relevance, loaded.model.rerank_weight)

        scores, by = await self.guarding.answer(turn, ask)
        order = np.argsort(-scores, kind="stable")
        best = [Hit(h.id, float(scores[n]), h.title, h.content, h.published_at) for n in order for h in (seen[n],)]
        return [*best, *hits[len(seen) :]], by


def _may_stand_in(one: Loaded, other: Loaded, form: EmbeddingsForm) -> bool:
    """Whether the other's answer is of use: documents go into an index, so that they must be of the same space."""
    lengths = form.dimensions is None or form.dimensions in lengths_of(other)
    return lengths and (form.role == "query" or _same_space(one, other))


def _same_space(one: Loaded, other: Loaded) -> bool:
    space = one.model.version.embedding_space
    return space is not None and space == other.model.version.embedding_space
