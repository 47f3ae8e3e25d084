"""Searches in vector stores, which block: in threads, a bounded number at once, a bounded number waiting. Used by `answering`.

A store that hangs costs its searches an answer in time, and nobody else anything: embeddings and reranking go on, and so do the
searches of other versions, as each has threads of its own.
"""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from attune.contract import IndexSpec
from attune_retrieval.errors import BadData, StoreUnavailable
from attune_retrieval.graph import Floats
from attune_retrieval.index import Collection, Fusion, Hit, hurried, search
from attune_retrieval.index.fusion import DEFAULT
from attune_serving.forms import SearchForm
from attune_serving.refusals import Refused
from attune_serving.shelf import Loaded

Hits = list[Hit]
SPREAD_OVER = 10
"""The best score is compared with that of so many hits further down."""


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """How the collections of an index are searched for a version, where a request does not ask otherwise."""

    index: IndexSpec
    fusion: Fusion = DEFAULT

    def fusion_for(self, form: SearchForm) -> Fusion | None:
        """None: by vectors alone."""
        return self.fusion if (self.index.hybrid if form.hybrid is None else form.hybrid) else None


class Searcher:
    """`threads` searches at the same time, at most `queued` more that wait, each answered within `seconds` or refused."""

    def __init__(self, threads: int, queued: int, seconds: float) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._threads = threads
        self._most = threads + queued
        self._seconds = seconds
        self._now = 0

    @property
    def crowd(self) -> float:
        """Searches in it for each thread, those that were given up among them: above 1, some wait."""
        return self._now / self._threads

    def close(self) -> None:
        """Nothing is asked any more; what hangs in a store is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def search(
        self,
        collection: Collection,
        settings: SearchSettings,
        vector: Floats,
        form: SearchForm,
        depth: int,
        *,
        on_spread: Callable[[float], None] = lambda _: None,
    ) -> Hits:
        """`depth` hits, best first. Refused: 429 where too many wait, 503 where the store is away or too slow.

        `on_spread` is told, in another thread, how far apart the scores of the dense part are (see `spread`).
        """
        fusion = settings.fusion_for(form)

        def saw(dense: Sequence[Hit]) -> None:
            if (found := spread(dense)) is not None:
                on_spread(found)

        def look() -> Hits:
            with hurried():
                return search(
                    collection,
                    vector,
                    form.query,
                    depth,
                    distance=settings.index.distance,
                    conditions=form.conditions,
                    fusion=fusion,
                    on_dense=saw,
                )

        try:
            return await self._run(look)
        except TimeoutError as error:
            raise _away(f"{collection.name}: the store did not answer within {self._seconds:g} s", 5) from error
        except StoreUnavailable as error:
            raise _away(str(error), 2) from error
        except BadData as error:
            raise _away(str(error), 10) from error

    async def _run(self, look: Callable[[], Hits]) -> Hits:
        if self._now >= self._most:
            raise Refused(
                429, "queue_full", f"{self._now} searches wait for the vector store; try later", retry_after=1
            )
        self._now += 1
        looking = asyncio.get_running_loop().run_in_executor(self._pool, look)
        looking.add_done_callback(self._ended)  # a search that was given up still takes its thread
        async with asyncio.timeout(self._seconds):
            return await asyncio.shield(looking)

    def _ended(self, done: "asyncio.Future[Hits]") -> None:
        self._now -= 1
        with suppress(asyncio.CancelledError):
            done.exception()  # looked at, so that asyncio does not report what nobody waited for


class Searchers:
    """A Searcher for each loaded version: one whose collection hangs takes no thread from the version that answers in its place."""

    def __init__(self, threads: int, queued: int, seconds: float) -> None:
        self._made: weakref.WeakKeyDictionary[Loaded, Searcher] = weakref.WeakKeyDictionary()
        self._limits = (threads, queued, seconds)

    def of(self, loaded: Loaded) -> Searcher:
        """Its own; closed when the version is gone."""
        found = self._made.get(loaded)
        if found is None:
            found = self._made[loaded] = Searcher(*self._limits)
            weakref.finalize(loaded, found.close)
        return found

    def close(self) -> None:
        for one in self._made.values():
            one.close()


def spread(dense: Sequence[Hit]) -> float | None:
    """The best score less that of the tenth hit, or of the last one where there are fewer; None for fewer than two.

    Whatever documents are found, those of a sound model differ; where its vectors have collapsed into one, this is nothing.
    """
    if len(dense) < 2:
        return None
    return dense[0].score - dense[min(len(dense), SPREAD_OVER) - 1].score


def _away(message: str, retry_after: float) -> Refused:
    return Refused(503, "index_unavailable", message, retry_after=retry_after)
