"""The next step of an ABTest: refused, waiting for its turn, judged at every look, ended. Called by `reconcile`.

The traffic itself is moved by the Retriever (`experiment.splitting`): a test runs when, and only as long as, the Retriever's split
names its uid.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from attune.api import (
    ABTest,
    ABTestPhase,
    ABTestStatus,
    ActiveModel,
    Change,
    ModelVersion,
    PromotionResult,
    Retriever,
    TestPromotion,
    TestResult,
    Winner,
)
from attune.contract import ModelType
from attune.decide import retention
from attune.decide.conditions import Said, said
from attune.decide.decision import NOTHING, Decision, Event, observed
from attune.decide.experiment import brevity, challengers, schedule
from attune.decide.experiment.challengers import FINAL, Entry
from attune.decide.experiment.look import Reading, look_at
from attune.decide.experiment.verdict import Verdict, verdict
from attune.decide.gates import Problem
from attune.observation import MetricsProblem, Samples, SeenABTest

PENDING_LOOK = timedelta(seconds=30)
"""How often a test that waits looks at what it waits for, besides every change of it."""


def decide_ab_test(seen: SeenABTest, now: datetime) -> Decision:
    """Next step of an A/B test. Pure: no I/O, no clock."""
    test = seen.test
    if test.metadata.deletion_timestamp is not None:
        return NOTHING
    if test.status.phase in FINAL:
        return observed(_follow_promotion(seen), test.status, test.metadata.generation)
    if test.spec.cancel:
        return _end(seen, ABTestPhase.CANCELLED, Problem("CancelRequested", "cancelled: spec.cancel is true"), now)
    if test.status.phase is ABTestPhase.RUNNING:
        if gone := taken_away(seen):
            return _end(seen, ABTestPhase.CANCELLED, gone, now)
        return _judge(seen, now)
    if problem := _refusal(seen):
        return _end(seen, ABTestPhase.FAILED, problem, now)
    if (pointer := _pointer(seen)) is not None and _is_ours(test, pointer):
        return _started(seen, pointer, now)
    return _wait(seen, now)


# ---- before it runs


def _refusal(seen: SeenABTest) -> Problem | None:
    """What the test's own rules say, then what the Retriever answered."""
    if seen.retriever is None:
        return None
    answer = challengers.outcome_of(seen.retriever, seen.test)
    if answer is not None and answer.result is TestResult.REFUSED:
        reason, _, message = answer.message.partition(": ")
        return Problem(reason if message else "Refused", message or answer.message)
    return challengers.problem_of(Entry(seen.test, seen.retriever, seen.versions))


def _wait(seen: SeenABTest, now: datetime) -> Decision:
    """Pending, with what it waits for."""
    message = next(what for rule in WAITS if (what := rule(seen)) is not None)
    status = _status(seen, phase=ABTestPhase.PENDING, reason="Waiting", message=f"Waiting: {message}")
    return Decision(
        status=said(status, Said("Complete", False, "Waiting", message), seen.test.metadata.generation, now),
        requeue_after=PENDING_LOOK,
    )


def no_retriever(seen: SeenABTest) -> str | None:
    name = seen.test.spec.retriever
    if seen.retriever is not None:
        return None
    return f"no Retriever {name} in this namespace; apply it, or correct spec.retriever"


def nothing_active(seen: SeenABTest) -> str | None:
    pointer = _pointer(seen)
    if pointer is not None and pointer.active is not None:
        return None
    return f"Retriever {seen.test.spec.retriever} has no active version yet"


def another_runs(seen: SeenABTest) -> str | None:
    pointer = _pointer(seen)
    if pointer is None or pointer.split is None:
        return None
    return f"{pointer.split.test} runs"


def another_version_on_its_way(seen: SeenABTest) -> str | None:
    """A promotion under way, or this test's own challenger being loaded."""
    candidate = seen.retriever.status.candidate(_type(seen)) if seen.retriever else None
    if candidate is None:
        return None
    if candidate.test == seen.test.metadata.name:
        return f"{candidate.version}: {candidate.message}"
    return f"{candidate.version} is about to be {'tested' if candidate.test else 'promoted'}"


def another_comes_first(seen: SeenABTest) -> str | None:
    if seen.retriever is None:
        return None
    line = challengers.in_line(seen.retriever, (seen.test, *seen.others), seen.versions, _type(seen))
    first = line[0].metadata.name if line else seen.test.metadata.name
    return f"{first} comes first" if first != seen.test.metadata.name else None


def not_staged_yet(seen: SeenABTest) -> str | None:
    version = _challenger(seen)
    if version is None or not challengers.not_yet(version):
        return None
    return f"{version.metadata.name} is {version.status.stage.value if version.status.stage else 'not started'}"


def its_turn(seen: SeenABTest) -> str | None:
    return f"{seen.test.spec.model_b} is about to be loaded"


WAITS: tuple[Callable[[SeenABTest], str | None], ...] = (
    no_retriever,
    nothing_active,
    not_staged_yet,
    another_runs,
    another_version_on_its_way,
    another_comes_first,
    its_turn,
)


def _started(seen: SeenABTest, pointer: ActiveModel, now: datetime) -> Decision:
    test = seen.test
    share = f"{100 * test.spec.traffic_split:g}%"
    message = f"{test.spec.model_b} answers {share} of the queries, {pointer.active} the others"
    status = _status(
        seen, phase=ABTestPhase.RUNNING, reason="Running", message=message, model_a=pointer.active, started_at=now
    )
    status = said(status, Said("Complete", False, "Running", message), test.metadata.generation, now)
    return Decision(status=status, events=(Event("Started", message),), requeue_after=schedule.interval(test))


# ---- while it runs


def taken_away(seen: SeenABTest) -> Problem | None:
    """Why a test that ran cannot go on; None: it can."""
    test, retriever = seen.test, seen.retriever
    if retriever is None:
        return Problem("RetrieverDeleted", f"cancelled: Retriever {test.spec.retriever} was deleted")
    pointer = _pointer(seen)
    for name in (test.status.model_a, test.spec.model_b):
        version = next((v for v in seen.versions if v.metadata.name == name), None)
        if version is None:
            return Problem("VersionDeleted", f"cancelled: ModelVersion {name} was deleted")
    if pointer is None or not _is_ours(test, pointer):
        return _moved(test, retriever, _type(seen))
    challenger = next(v for v in seen.versions if v.metadata.name == test.spec.model_b)
    if not retention.could_serve(challenger):
        return Problem(
            "VersionFailed", f"cancelled: {test.spec.model_b} cannot serve any more: {challenger.status.notes}"
        )
    return None


def _moved(test: ABTest, retriever: Retriever, model_type: ModelType) -> Problem:
    """The newest move since the test started ended it."""
    started = test.status.started_at
    mine = [c for c in retriever.status.changes or () if c.type is model_type]
    changes = [c for c in mine if started is None or c.at >= started]
    change: Change | None = changes[-1] if changes else None
    if change is None:
        name = retriever.metadata.name
        return Problem("SplitRemoved", f"cancelled: Retriever {name} splits no traffic for it any more")
    cause = change.cause or change.action.value
    return Problem(change.action.value, f"cancelled: {change.previous or 'nothing'} → {change.version} ({cause})")


def _judge(seen: SeenABTest, now: datetime) -> Decision:
    """One look, when it is due. Without samples nothing is decided, whatever the time."""
    test = seen.test
    if seen.samples is None:
        return Decision(status=_status(seen), requeue_after=schedule.until_next(test, now))
    if isinstance(seen.samples, MetricsProblem):
        return _blind(seen, seen.samples, now)
    if test.status.ledger not in {None, seen.samples.ledger}:
        other = {"lowest_p_values": None}  # of another sample, which says nothing of this one
        test = test.model_copy(update={"status": test.status.model_copy(update=other)})
    reading = look_at(seen.samples, test)
    found = verdict(reading, test, last=now >= schedule.ends_at(test))
    status = _read(seen, seen.samples, reading, found, now)
    if found.winner is None:
        running = said(
            status,
            Said("Complete", False, found.reason, brevity.sentence(found.message)),
            test.metadata.generation,
            now,
        )
        later = schedule.until_next(test.model_copy(update={"status": running}), now)
        return Decision(status=running, requeue_after=later)
    return _conclude(seen, status, found, now)


def _blind(seen: SeenABTest, problem: MetricsProblem, now: datetime) -> Decision:
    """Said, and waited for; long after its end a test that cannot be read is inconclusive."""
    test = seen.test
    missing = Said("MetricsUnavailable", True, problem.reason, problem.message)
    status = said(_status(seen, looked_at=now), missing, test.metadata.generation, now)
    known = next((c for c in seen.test.status.conditions or () if c.type == missing.kind and c.status == "True"), None)
    events = () if known is not None else (Event("MetricsUnavailable", problem.message, warning=True),)
    since = known.last_transition_time if known is not None else now
    if now < max(schedule.ends_at(test), since) + schedule.grace(test):
        return Decision(status=status, events=events, requeue_after=schedule.interval(test))
    why = f"inconclusive: its time is over, and its metrics cannot be read: {problem.message}"
    return _conclude(seen, status, Verdict(Winner.INCONCLUSIVE, "MetricsUnavailable", why, f"Keep A: {why}"), now)


def _read(seen: SeenABTest, samples: Samples, reading: Reading, found: Verdict, now: datetime) -> ABTestStatus:
    """The status with everything that one look says."""
    test = seen.test
    status = _status(
        seen,
        reason=found.reason,
        message=brevity.sentence(found.message),
        recommendation=brevity.sentence(found.recommendation),
        looked_at=now,
        ledger=samples.ledger or None,
        samples_a=reading.samples_a,
        samples_b=reading.samples_b,
        metrics_a=brevity.arm(reading.metrics_a),
        metrics_b=brevity.arm(reading.metrics_b),
        p_values=brevity.numbers(reading.p_values),
        lowest_p_values=brevity.numbers(reading.lowest_p_values),
        intervals=brevity.intervals(reading.intervals),
        confidence=reading.confidence,
        sample_ratio_p_value=reading.sample_ratio_p_value,
        planned_looks=reading.planned_looks or None,
        looks=schedule.thinned((*(test.status.looks or ()), brevity.look(reading.look))),
    )
    generation = test.metadata.generation
    noted = Said("MetricsUnavailable", False, "Noted" if samples.notes else "Read", "; ".join(samples.notes) or "read")
    status = said(status, noted, generation, now)
    if found.sample_ratio_mismatch or any(c.type == "SampleRatioMismatch" for c in status.conditions or ()):
        what = (
            brevity.sentence(found.message) if found.sample_ratio_mismatch else "the arms have the shares they should"
        )
        told = Said("SampleRatioMismatch", found.sample_ratio_mismatch, "ChiSquare", what)
        status = said(status, told, generation, now)
    return status


def _conclude(seen: SeenABTest, status: ABTestStatus, found: Verdict, now: datetime) -> Decision:
    test = seen.test
    promotion = None
    if found.winner is Winner.B and test.spec.auto_promote:
        promotion = TestPromotion(
            result=PromotionResult.PENDING, message="autoPromote: the Retriever is about to promote it"
        )
    ended = status.model_copy(
        update={
            "phase": ABTestPhase.CONCLUDED,
            "winner": found.winner,
            "reason": found.reason,
            "message": brevity.sentence(found.message),
            "recommendation": brevity.sentence(found.recommendation),
            "concluded_at": now,
            "promotion": promotion,
        }
    )
    ended = said(
        ended, Said("Complete", True, found.reason, brevity.sentence(found.message)), test.metadata.generation, now
    )
    winner = found.winner.value if found.winner else ""
    return Decision(status=ended, events=(Event("Concluded", f"winner: {winner}. {found.recommendation}"),))


# ---- when it is over


def _end(seen: SeenABTest, phase: ABTestPhase, why: Problem, now: datetime) -> Decision:
    status = _status(seen, phase=phase, reason=why.reason, message=why.message, concluded_at=now)
    status = said(status, Said("Complete", False, why.reason, why.message), seen.test.metadata.generation, now)
    return Decision(status=status, events=(Event(phase.value, f"{why.reason}: {why.message}", warning=True),))


def _follow_promotion(seen: SeenABTest) -> Decision:
    """The Retriever's answer to the winner's promotion."""
    asked, retriever = seen.test.status.promotion, seen.retriever
    if asked is None or asked.result is not PromotionResult.PENDING:
        return NOTHING
    answer = challengers.outcome_of(retriever, seen.test) if retriever else None
    if answer is not None:
        promoted = answer.result is TestResult.PROMOTED
        result = PromotionResult.PROMOTED if promoted else PromotionResult.REFUSED
        told = Event("Promoted" if promoted else "PromotionRefused", answer.message, warning=not promoted)
        status = _status(seen, promotion=TestPromotion(result=result, message=answer.message))
        return Decision(status=status, events=(told,))
    pointer = _pointer(seen)
    if retriever is not None and pointer is not None and _is_ours(seen.test, pointer):
        return NOTHING
    why = "the Retriever does not split traffic for this test any more; promote it by hand, if it is still wanted"
    status = _status(seen, promotion=TestPromotion(result=PromotionResult.REFUSED, message=why))
    return Decision(status=status, events=(Event("PromotionRefused", why, warning=True),))


# ---- parts


def _status(seen: SeenABTest, **update: Any) -> ABTestStatus:
    return seen.test.status.model_copy(update={"observed_generation": seen.test.metadata.generation, **update})


def _challenger(seen: SeenABTest) -> ModelVersion | None:
    return next((v for v in seen.versions if v.metadata.name == seen.test.spec.model_b), None)


def _type(seen: SeenABTest) -> ModelType:
    """The type of the challenger; where it is gone, that of the pointer which names this test."""
    challenger = _challenger(seen)
    if challenger is not None:
        return challenger.spec.type
    for model_type in ModelType:
        pointer = seen.retriever.status.of(model_type) if seen.retriever else None
        if pointer is not None and _is_ours(seen.test, pointer):
            return model_type
    return ModelType.EMBEDDING


def _pointer(seen: SeenABTest) -> ActiveModel | None:
    return seen.retriever.status.of(_type(seen)) if seen.retriever is not None else None


def _is_ours(test: ABTest, pointer: ActiveModel) -> bool:
    return pointer.split is not None and pointer.split.uid == test.metadata.uid
