"""The loop of the probe: which pairs of versions are compared now, and what came of it. Made by `__main__`."""

import asyncio
from collections.abc import Callable
from time import monotonic

import structlog

from attune.contract import ModelType, ProbeReport, ServedProbe, ServingConfig
from attune_retrieval.labelled import Labelled
from attune_serving.attempts import Attempts
from attune_serving.probing.asker import Asker
from attune_serving.probing.questions import Questions
from attune_serving.probing.tally import Outcome, Pair, Tally, judged
from attune_serving.replica import Replica, Serving

log = structlog.get_logger(__name__)
SOME = 16
"""Queries after which a round says how far it is, until one was finished: with a large reranker that takes minutes."""
MOST_UNSAID = 5
"""So many queries in a row that say nothing end a round without a report: the replica has other worries."""


class Prober:
    """All methods are called on the event loop. `seconds`: from one round to the next."""

    def __init__(
        self,
        replica: Replica,
        asker: Asker,
        attempts: Attempts,
        seconds: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._replica = replica
        self._asker = asker
        self._attempts = attempts
        self._seconds = seconds
        self._clock = clock
        self._pairs: dict[ModelType, Pair] = {}
        self._questions: dict[ModelType, Questions] = {}
        self._wake = asyncio.Event()

    def configured(self, config: ServingConfig) -> None:
        """This is served from now on. A pair that was not there before begins now, also after a restart of the process."""
        self._asker.forget()
        for model_type in ModelType:
            model, pair = config.of(model_type), self._pairs.get(model_type)
            if pair is not None:
                pair.forget()
                if model is not None and pair.is_of(model.active, model.previous):
                    continue
                self._end(self._pairs.pop(model_type))
            if model is not None and model.previous is not None and model.previous != model.active:
                self._pairs[model_type] = Pair(model_type, model.active, model.previous, self._clock())
        self._wake.set()

    def reports(self) -> tuple[ProbeReport, ...]:
        """The newest of each pair that answers now."""
        return tuple(pair.report for pair in self._pairs.values() if pair.report is not None)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            self._wake.clear()
            try:
                for pair in list(self._pairs.values()):
                    await self.probe(pair)
            except Exception:
                log.exception("probing failed; it goes on")
            try:
                await asyncio.wait_for(self._wake.wait(), self._seconds)
            except TimeoutError:
                continue

    async def probe(self, pair: Pair) -> None:
        """One round, where this pair is to be probed now."""
        serving, now = self._replica.serving, self._clock()
        probe = _probe_of(serving, pair)
        if serving is None or probe is None or not pair.probed_at(now, probe.seconds):
            return
        questions = self._questions.get(pair.type)
        if questions is None or not questions.are_of(probe):
            questions = self._questions[pair.type] = Questions(probe)
        queries = await questions.read(now)
        if queries and (tally := await self._round(pair, queries, probe.seconds)) is not None:
            pair.whole = True
            self._tell(pair, tally)

    async def _round(self, pair: Pair, queries: tuple[Labelled, ...], seconds: float) -> Tally | None:
        """None where it was not finished: the pair's time is over, it does not answer any more, or the replica cannot say."""
        unsaid, tally = 0, Tally()
        if pair.begin():
            self._asker.forget()
        for query in queries:
            serving = self._replica.serving
            if serving is None or self._pairs.get(pair.type) is not pair or not pair.probed_at(self._clock(), seconds):
                return None
            found = judged(*await self._both(serving, pair, query))
            unsaid = unsaid + 1 if found is None else 0
            if unsaid >= MOST_UNSAID:
                if pair.rounds == 1:
                    log.warning("no probe: too many queries in a row say nothing", version=pair.active)
                return None
            if found is not None:
                tally.add(*found)
                if not pair.whole and tally.queries % SOME == 0:
                    self._tell(pair, tally)
        return tally

    async def _both(self, serving: Serving, pair: Pair, query: Labelled) -> tuple[Outcome, Outcome]:
        """The previous version is asked at the same time where the active one fails: is it the fault of what both need?"""
        active = await self._asker.outcome(serving, pair.type, pair.active, query)
        known = pair.known(query.id)
        if known is not None and active is not Outcome.FAILED:
            return active, known
        previous = await self._asker.outcome(serving, pair.type, pair.previous, query)
        pair.remember(query.id, previous)
        return active, previous

    def _tell(self, pair: Pair, tally: Tally) -> None:
        report = pair.counted(tally)
        self._attempts.probed(pair.type, pair.active, tally.queries, tally.hits)
        self._attempts.probed(pair.type, pair.previous, tally.queries, tally.previous_hits)
        log.debug("probed", **report.model_dump(mode="json"))

    def _end(self, pair: Pair) -> None:
        for name in (pair.active, pair.previous):
            self._attempts.unprobed(pair.type, name)


def _probe_of(serving: Serving | None, pair: Pair) -> ServedProbe | None:
    """What this pair is to be asked, if it still answers and has something to search."""
    if serving is None:
        return None
    model, searching = serving.of(pair.type), serving.of(ModelType.EMBEDDING)
    if model is None or searching is None or not pair.is_of(model.active, model.previous):
        return None
    needed = {searching.active, *({pair.active, pair.previous} if pair.type is ModelType.EMBEDDING else ())}
    loaded = [serving.versions.get(name) for name in needed]
    return model.probe if all(one is not None and one.model.collection is not None for one in loaded) else None
