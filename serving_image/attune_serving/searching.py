"""Searches in vector stores, which block: in threads, a bounded number at once, a bounded number waiting. Used by `answering`.

A store that hangs costs its searches an answer in time, and nobody else anything: embeddings and reranking go on.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from attune.contract import IndexSpec
from attune_retrieval.errors import BadData, StoreUnavailable
from attune_retrieval.graph import Floats
from attune_retrieval.index import Collection, Fusion, Hit, search
from attune_serving.forms import SearchForm
from attune_serving.refusals import Refused

Hits = list[Hit]


class Searcher:
    """`threads` searches at the same time, at most `queued` more that wait, each answered within `seconds` or refused."""

    def __init__(self, threads: int, queued: int, seconds: float) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="search")
        self._most = threads + queued
        self._seconds = seconds
        self._now = 0

    def close(self) -> None:
        """Nothing is asked any more; what hangs in a store is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def search(
        self, collection: Collection, spec: IndexSpec, vector: Floats, form: SearchForm, depth: int
    ) -> Hits:
        """`depth` hits, best first. Refused: 429 where too many wait, 503 where the store is away or too slow."""
        hybrid = spec.hybrid if form.hybrid is None else form.hybrid
        fusion = Fusion() if hybrid else None

        def look() -> Hits:
            return search(
                collection,
                vector,
                form.query,
                depth,
                distance=spec.distance,
                conditions=form.conditions,
                fusion=fusion,
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


def _away(message: str, retry_after: float) -> Refused:
    return Refused(503, "index_unavailable", message, retry_after=retry_after)
