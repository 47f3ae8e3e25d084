"""One labelled query, one version: was a document that answers it among the first ten? Asked as users ask, but counted nowhere."""

import asyncio
from time import monotonic

import numpy as np

from attune.contract import ModelType
from attune_retrieval.index import Hit
from attune_retrieval.labelled import Labelled
from attune_retrieval.weighing import blended
from attune_serving.asking import Asking, Patience, text_of
from attune_serving.attempts import failure_of
from attune_serving.forms import ACTIVE, SearchForm
from attune_serving.probing.tally import Outcome
from attune_serving.replica import Serving
from attune_serving.shelf import Loaded

FIRST = 10
"""Documents that a user would look at."""
CANDIDATES = 50
"""Documents that a reranker gets to see."""
LONGEST_SECONDS = 30.0
"""Of one piece of work: a query's vector and search, or one pair's score."""
RESTS = 3
"""Times as long as a piece of work took nothing is done after it: at most a quarter of what the replica can compute is taken."""


class Asker:
    """Works in pieces, with a pause of at least `pause` seconds after each: a user's request waits for no more than one of them."""

    def __init__(self, asking: Asking, pause: float = 0.01) -> None:
        self._asking = asking
        self._pause = pause
        self._candidates: dict[str, list[Hit]] = {}

    def forget(self) -> None:
        """The documents that rerankers put in order are to be searched anew."""
        self._candidates.clear()

    async def outcome(self, serving: Serving, model_type: ModelType, version: str, query: Labelled) -> Outcome:
        """What the version makes of the query."""
        loaded = serving.versions.get(version)
        if loaded is None:
            return Outcome.UNKNOWN
        try:
            embeds = model_type is ModelType.EMBEDDING
            first = await (self._nearest(loaded, query) if embeds else self._best(serving, loaded, query))
        except TimeoutError:
            return Outcome.UNKNOWN
        except Exception as error:
            return Outcome.UNKNOWN if failure_of(error) is None else Outcome.FAILED
        if first is None:
            return Outcome.UNKNOWN
        return Outcome.HIT if query.relevant.intersection(first) else Outcome.MISS

    async def _nearest(self, loaded: Loaded, query: Labelled) -> list[str] | None:
        """By the vectors alone: what words find would hide that vectors find nothing."""
        return [hit.id for hit in await self._searched(loaded, query, FIRST, hybrid=False)]

    async def _best(self, serving: Serving, loaded: Loaded, query: Labelled) -> list[str] | None:
        """The same candidates for both rerankers; None where there are none."""
        candidates = self._candidates.get(query.id)
        if candidates is None:
            candidates = await self._found(serving, query)
        if not candidates:
            return None
        self._candidates[query.id] = candidates
        with loaded.use():
            relevance = [await self._score(loaded, query, hit) for hit in candidates]
            scores = blended([hit.score for hit in candidates], relevance, loaded.model.rerank_weight)
        return [candidates[n].id for n in np.argsort(-scores, kind="stable")[:FIRST]]

    async def _found(self, serving: Serving, query: Labelled) -> list[Hit]:
        """By the embedding version that answers now. What goes wrong here is no fault of a reranker."""
        served = serving.of(ModelType.EMBEDDING)
        if served is None:
            return []
        try:
            return await self._searched(serving.versions[served.active], query, CANDIDATES, hybrid=None)
        except Exception:
            return []

    async def _searched(self, loaded: Loaded, query: Labelled, depth: int, *, hybrid: bool | None) -> list[Hit]:
        form = SearchForm(query.text, depth, (), rerank=False, hybrid=hybrid, model=ACTIVE)
        began = monotonic()
        try:
            with loaded.use():
                async with asyncio.timeout(LONGEST_SECONDS):
                    return await self._asking.hits(loaded, form, depth, Patience(), lambda _: None)
        finally:
            await self._rest(began)

    async def _score(self, loaded: Loaded, query: Labelled, hit: Hit) -> float:
        began = monotonic()
        async with asyncio.timeout(LONGEST_SECONDS):
            scores, _ = await self._asking.scores(loaded, query.text, [text_of(hit)], Patience())
        await self._rest(began)
        return float(scores[0])

    async def _rest(self, began: float) -> None:
        await asyncio.sleep(max(self._pause, RESTS * (monotonic() - began)))
