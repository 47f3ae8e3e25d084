"""Faithfulness and relevance of a sample of the held-out queries, for the candidate and the active version. Called by the evaluate stage.

Three judgements of each answer; where both contenders found the same passages one answer is judged for both. What the judge did not
say in a readable form is left out and counted. A judge that is away leaves the metrics absent, with the reason; it fails nothing.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from attune.contract import Judgements, JudgeSource, JudgeSummary
from attune.contract.metrics import Interval
from attune_retrieval.encoding import Encoder
from attune_trainer.evaluate.bootstrap import interval
from attune_trainer.evaluate.comparison import JUDGED, Beyond, Comparison
from attune_trainer.evaluate.judged_before import Judged, JudgedBefore

if TYPE_CHECKING:
    from attune_trainer.evaluate.judge import Judge

log = logging.getLogger(__name__)
REPEATS = 3
AT_ONCE = 4
SECONDS = 1800.0
"""Whatever is not judged by then is left out."""
GIVE_UP = 3
"""Queries in a row that got no answer at all: the judge is away."""
FEWEST = 0.5
"""Share of the queries that must have a score, or the mean would be of those the judge happened to like."""
FEWEST_PAIRS = 10
"""Queries that both contenders need a score of, for an interval."""
PASSAGES = 5

Scores = dict[str, list[float]]
"""Of one answer: up to REPEATS values of each metric."""
Case = tuple[int, tuple[str, ...]]
"""A query by its position, and the documents that the answer is made from."""


@dataclass(frozen=True, slots=True)
class Sitting:
    """What a judgement needs: who judges, by which encoder, of how many queries."""

    source: JudgeSource
    encoder: Encoder | None
    queries: int
    seed: int
    resamples: int
    check: Callable[[], None] = lambda: None
    """Called now and then; may raise."""
    advance: Callable[[float], None] = lambda _: None
    seconds: float = SECONDS
    before: JudgedBefore | None = None
    """What an earlier try of the same evaluation has paid for; None: nothing is kept."""


@dataclass
class _Found:
    """What came of it."""

    scores: dict[Case, Scores] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    given_up: str | None = None
    calls: int = 0
    tokens: int = 0
    """What it cost, earlier tries included."""


def judged(compared: Comparison, sitting: Sitting) -> Beyond:
    """The judge's part of an evaluation, as far as it answered."""
    sample = sampled(len(compared.held_out.queries), sitting.queries, sitting.seed)
    mine = _cases(compared.candidate.rankings, sample)
    theirs = _cases(compared.active.rankings, sample) if compared.active else {}
    os.environ["RAGAS_DO_NOT_TRACK"] = "true"  # ragas knows no other name for it
    found = asyncio.run(_all(list(dict.fromkeys([*mine.values(), *theirs.values()])), compared, sitting))
    of_mine, of_theirs = _by_query(mine, found), _by_query(theirs, found)
    not_measured = {name: _why(name, of_mine[name], sample, found, sitting) for name in JUDGED}
    told = [name for name in JUDGED if not_measured[name] is None]
    clusters = compared.held_out.clusters()
    return Beyond(
        candidate={name: _mean(of_mine[name]) for name in told},
        active={name: _mean(of_theirs[name]) for name in told if len(of_theirs[name]) >= FEWEST * len(sample)},
        differences={
            name: difference
            for name in told
            if (difference := _difference(of_mine[name], of_theirs[name], clusters, sitting)) is not None
        },
        judge=JudgeSummary(
            model=sitting.source.model,
            queries=len(sample),
            repeats=REPEATS,
            faithfulness=_counted("faithfulness", mine, found),
            relevance=_counted("relevance", mine, found) if sitting.encoder else None,
            calls=found.calls,
            tokens=found.tokens,
        ),
        not_measured={name: why for name, why in not_measured.items() if why is not None},
    )


def sampled(total: int, wanted: int, seed: int) -> list[int]:
    """Positions of the queries that are judged: the same ones for every contender, and for the same seed every time."""
    return sorted(np.random.default_rng([seed, 3]).permutation(total)[:wanted].tolist())


def _cases(rankings: Sequence[Sequence[str]], sample: Sequence[int]) -> dict[int, Case]:
    return {at: (at, tuple(rankings[at][:PASSAGES])) for at in sample}


async def _all(cases: Sequence[Case], compared: Comparison, sitting: Sitting) -> _Found:
    """Judge every case, some at once; ends early where the judge is away or the time is over."""
    from attune_trainer.evaluate.judge import Judge

    found, judge, end = _Found(), Judge(sitting.source, sitting.encoder), time.monotonic() + sitting.seconds
    gate, in_a_row = asyncio.Semaphore(AT_ONCE), [0]
    texts = dict(zip(compared.held_out.documents, compared.held_out.texts, strict=True))
    queries = list(compared.held_out.queries.values())

    async def one(case: Case) -> None:
        async with gate:
            if found.given_up is None:
                question = (queries[case[0]], [texts[d] for d in case[1]])
                await _judge_once(judge, question, found.scores.setdefault(case, {}), found, sitting)
                in_a_row[0] = 0 if found.scores[case] else in_a_row[0] + 1
                if in_a_row[0] >= GIVE_UP and not any(found.scores.values()):
                    found.given_up = found.problems[-1]

    pending = {asyncio.ensure_future(one(case)) for case in cases}
    try:
        while pending:
            done, pending = await asyncio.wait(pending, timeout=0.5)
            for task in done:
                task.result()
            sitting.check()
            sitting.advance(1 - len(pending) / len(cases))
            if time.monotonic() > end:
                found.given_up = f"the time for judging ({sitting.seconds:.0f} s) was over"
                break
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await judge.close()
        found.calls, found.tokens = found.calls + judge.spent.calls, found.tokens + judge.spent.tokens
    return found


async def _judge_once(
    judge: "Judge", asked: tuple[str, list[str]], scores: Scores, found: _Found, sitting: Sitting
) -> None:
    """As `_judge`, unless an earlier try has judged it; kept for a later one where nothing is missing."""
    from attune_trainer.evaluate.judge import spending

    before, passages = sitting.before, asked[1]
    if before is None or not passages:
        await _judge(judge, asked, scores, found)
        return
    known = await asyncio.to_thread(before.find, *asked)
    if known is not None:
        scores.update(known.scores)
        found.calls, found.tokens = found.calls + known.calls, found.tokens + known.tokens
        return
    with spending() as spent:
        await _judge(judge, asked, scores, found)
    wanted = [name for name in JUDGED if name != "relevance" or sitting.encoder]
    if all(len(scores.get(name, ())) == REPEATS for name in wanted):
        made = Judged(scores=scores, calls=spent.calls, tokens=spent.tokens)
        await asyncio.to_thread(before.keep, *asked, made)


async def _judge(judge: "Judge", asked: tuple[str, list[str]], scores: Scores, found: _Found) -> None:
    """One answer, judged REPEATS times; whatever has no score is missing from `scores`."""
    from attune_trainer.evaluate.judge import Away, Unreadable

    query, passages = asked
    try:
        answer = await judge.answer(query, passages) if passages else None
        if answer is None:
            scores.update({name: [0.0] * REPEATS for name in JUDGED})
            return
        for _ in range(REPEATS):
            for name in JUDGED:
                try:
                    value = await (
                        judge.relevance(query, answer)
                        if name == "relevance"
                        else judge.faithfulness(query, answer, passages)
                    )
                except Unreadable as error:
                    found.problems.append(f"unreadable: {error}")
                    continue
                if value is not None:
                    scores.setdefault(name, []).append(value)
    except Unreadable as error:
        found.problems.append(f"unreadable: {error}")
    except Away as error:
        found.problems.append(str(error))
        if error.final:
            found.given_up = str(error)


def _by_query(cases: Mapping[int, Case], found: _Found) -> dict[str, dict[int, float]]:
    """Metric → query → mean of the judgements that it has."""
    return {
        name: {
            at: float(np.mean(values)) for at, case in cases.items() if (values := found.scores.get(case, {}).get(name))
        }
        for name in JUDGED
    }


def _mean(of_queries: Mapping[int, float]) -> float:
    return round(float(np.mean(list(of_queries.values()))), 5)


def _counted(name: str, cases: Mapping[int, Case], found: _Found) -> Judgements:
    scored = sum(len(found.scores.get(case, {}).get(name, ())) for case in cases.values())
    return Judgements(scored=scored, asked=REPEATS * len(cases))


def _why(
    name: str, of_queries: Mapping[int, float], sample: Sequence[int], found: _Found, sitting: Sitting
) -> str | None:
    """Why a metric is absent; None: it is measured."""
    if name == "relevance" and sitting.encoder is None:
        return "it takes an embedding model to place questions, and there is no active one"
    if of_queries and len(of_queries) >= FEWEST * len(sample):
        return None
    last = found.given_up or (found.problems[-1] if found.problems else "it was not asked")
    return f"the judge gave a score for {len(of_queries)} of {len(sample)} queries: {last[:240]}"


def _difference(
    mine: Mapping[int, float], theirs: Mapping[int, float], clusters: Sequence[str], sitting: Sitting
) -> Interval | None:
    """95% interval of candidate minus active, on the queries that both have a score of."""
    both = [at for at in mine if at in theirs]
    if len(both) < FEWEST_PAIRS:
        return None
    change: NDArray[np.float64] = np.array([mine[at] - theirs[at] for at in both])
    return interval(change, [clusters[at] for at in both], resamples=sitting.resamples, seed=sitting.seed)
