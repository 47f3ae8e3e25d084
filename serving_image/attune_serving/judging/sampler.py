"""Takes searches of running tests from the app, has a sampled share of them judged in the background. Made by `__main__`.

A judgement never delays an answer: what does not fit into the queue, or into the budget, is not judged, and counted as such.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

import httpx
import structlog

from attune.contract import ServedJudge
from attune.contract.counting import FAITHFULNESS
from attune_retrieval.index import Hit
from attune_serving.assign import Assignment
from attune_serving.judging.judge import JudgeError, faithfulness
from attune_serving.judging.sampling import Budget, is_sampled
from attune_serving.metrics import Metrics

log = structlog.get_logger(__name__)
QUEUE, WORKERS = 64, 2
MOST_REMEMBERED = 100_000
Judged = Callable[[Assignment, str, float], None]


@dataclass(frozen=True, slots=True)
class _Case:
    everyone: tuple[Assignment, ...]
    query: str
    passages: tuple[str, ...]


@dataclass
class Sampler:
    """`offer` searches; `judged` is told the scores."""

    judged: Judged
    metrics: Metrics
    clock: Callable[[], float] = monotonic
    _budget: Budget | None = None
    _queue: asyncio.Queue[_Case] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    _seen: set[int] = field(default_factory=set)
    _client: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)

    def offer(self, judge: ServedJudge | None, everyone: Sequence[Assignment], query: str, hits: Sequence[Hit]) -> None:
        """A search was answered. Costs nothing unless it takes part in a test, and there is a judge."""
        tested = tuple(by for by in everyone if by.unit is not None)
        if judge is None or not tested:
            return
        unit = tested[0].unit or 0
        if unit in self._seen or not is_sampled(unit, judge.share):
            return
        if not hits:
            self._tell(tested, 0.0)  # nothing was found, so nothing is supported; no need to ask
            return
        if self._budget is None or self._budget.judge != judge:
            self._budget = Budget(judge)
        reached = self._budget.take(self.clock())
        if reached is not None or self._queue.full():
            self.metrics.judgements.labels(reached or "queue").inc()
            return
        if len(self._seen) >= MOST_REMEMBERED:
            self._seen.clear()
        self._seen.add(unit)
        passages = tuple(f"{hit.title} {hit.content}".strip() for hit in hits)
        self._queue.put_nowait(_Case(tested, query, passages))

    async def run(self) -> None:
        """Until it is cancelled."""
        try:
            await asyncio.gather(*(self._work() for _ in range(WORKERS)))
        finally:
            with suppress(RuntimeError):
                await self._client.aclose()

    async def _work(self) -> None:
        while True:
            case = await self._queue.get()
            budget = self._budget
            assert budget is not None
            try:
                found = await faithfulness(self._client, budget.judge, case.query, case.passages)
            except JudgeError as error:
                log.warning("no judgement", problem=str(error))
                budget.spend(error.tokens)
                self.metrics.judgements.labels("failed").inc()
                continue
            except Exception:
                log.exception("judging failed; it goes on")
                self.metrics.judgements.labels("failed").inc()
                continue
            budget.spend(found.tokens)
            self.metrics.judgements.labels("judged").inc()
            self.metrics.judge_tokens.inc(found.tokens)
            self._tell(case.everyone, found.score)

    def _tell(self, everyone: tuple[Assignment, ...], score: float) -> None:
        for by in everyone:
            self.judged(by, FAITHFULNESS, score)
