"""The labelled queries of a snapshot, kept once they are read. What cannot be read is said once, and tried again with growing pauses."""

import asyncio

import structlog

from attune.contract import ServedProbe
from attune_retrieval.errors import RetrievalError
from attune_retrieval.labelled import Labelled, read_labelled

log = structlog.get_logger(__name__)
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 300.0
"""Seconds."""


class Questions:
    """Of one ServedProbe. Times are of any clock that only goes forward, in seconds."""

    def __init__(self, probe: ServedProbe) -> None:
        self._probe = probe
        self._found: tuple[Labelled, ...] | None = None
        self._problem = ""
        self._next = 0.0
        self._pause = FIRST_PAUSE

    def are_of(self, probe: ServedProbe) -> bool:
        """For how long they are asked changes nothing of them."""
        mine = self._probe
        return (mine.uri, mine.digest, mine.queries) == (probe.uri, probe.digest, probe.queries)

    async def read(self, now: float) -> tuple[Labelled, ...]:
        """The queries; none while they cannot be read, or where no query has an answer."""
        if self._found is None and now >= self._next:
            try:
                self._found = await asyncio.to_thread(
                    read_labelled, self._probe.uri, self._probe.digest, self._probe.queries
                )
            except (RetrievalError, OSError) as error:
                self._wait(now, str(error))
            else:
                log.info("labelled queries read", snapshot=self._probe.uri, queries=len(self._found))
        return self._found or ()

    def _wait(self, now: float, problem: str) -> None:
        self._next = now + self._pause
        self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        if problem != self._problem:
            log.warning("no probe: the labelled queries cannot be read", problem=problem)
        self._problem = problem
