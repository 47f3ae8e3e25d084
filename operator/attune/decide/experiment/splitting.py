"""The Retriever's side of ABTests: load the challenger, split the traffic, promote the winner, take the split away. Pure.

Everything that moves is in Retriever.status, as it is for promotions: the test itself only asks (it is Pending, or Concluded with a
promotion that is Pending) and reads the answer in `testOutcomes`. Called by `retriever` where nobody asked for a promotion by hand.
"""

from datetime import datetime

from attune.api import (
    ABTest,
    ABTestPhase,
    Action,
    ActiveModel,
    Candidate,
    RetrieverStatus,
    Split,
    TestOutcome,
    TestResult,
    Winner,
)
from attune.api.display import percent
from attune.contract import ModelType
from attune.decide import pointer, promotion
from attune.decide.decision import Event
from attune.decide.experiment import challengers
from attune.decide.gates import Problem
from attune.decide.pointer import Move
from attune.decide.promotion import Request
from attune.decide.rollback import watch
from attune.observation import SeenRetriever

Step = tuple[RetrieverStatus, tuple[Event, ...]]
MOST_OUTCOMES = 3


def step(seen: SeenRetriever, model_type: ModelType, now: datetime) -> Step:
    """The next move for the tests of one type."""
    status = seen.retriever.status
    active = status.of(model_type)
    if active is None or active.active is None:
        return status, ()
    if active.split is None:
        return _start(seen, model_type, now)
    running = next((t for t in seen.tests if t.metadata.uid == active.split.uid), None)
    if running is None or running.metadata.deletion_timestamp is not None:
        return _take_away(seen, model_type, f"test {active.split.test} was deleted")
    if challengers.asks_for_promotion(running):
        return _promote(seen, running, model_type, now)
    if running.status.phase in challengers.FINAL or running.spec.cancel:
        return _end(seen, running, model_type, now)
    if running.spec.traffic_split > active.split.fraction:
        return _raise_split(seen, running, model_type)
    return status, ()


def is_testing(candidate: Candidate | None) -> bool:
    """Whether this version is loaded for a test, and not to become active."""
    return candidate is not None and candidate.test is not None


# ---- start


def _start(seen: SeenRetriever, model_type: ModelType, now: datetime) -> Step:
    """The first in line: its challenger is loaded by every replica before any traffic is split."""
    status = seen.retriever.status
    known = status.candidate(model_type)
    line = challengers.in_line(seen.retriever, seen.tests, seen.versions, model_type)
    if not line:
        return (pointer.without_candidate(status, model_type), ()) if is_testing(known) else (status, ())
    test = line[0]
    request = _request(seen, test, model_type)
    assert request is not None  # what is in line has a version
    if problem := promotion.problem_of(request):
        told = outcome_of(test, TestResult.REFUSED, f"{problem.reason}: {problem.message}", now)
        return answered(pointer.without_candidate(status, model_type), told), ()
    waiting = promotion.wait_of(request)
    ours = known is not None and known.request_id == _request_id(test)
    if ours and waiting is None:
        return _split(seen, test, model_type)
    candidate = Candidate(
        type=model_type,
        version=request.name,
        request_id=_request_id(test),
        test=test.metadata.name,
        since=known.since if ours and known else now,
        message=pointer.cut(waiting or "replicas are told to load it", pointer.CAUSE),
    )
    events = () if ours else (Event("Testing", f"test {test.metadata.name}: {request.name}: {candidate.message}"),)
    return pointer.with_candidate(status, candidate), events


def _split(seen: SeenRetriever, test: ABTest, model_type: ModelType) -> Step:
    status = pointer.without_candidate(seen.retriever.status, model_type)
    split = Split(
        test=test.metadata.name, challenger=test.spec.model_b, fraction=test.spec.traffic_split, uid=test.metadata.uid
    )
    told = f"test {split.test}: {split.challenger} answers {percent(100 * split.fraction)} of the queries"
    return _with_split(status, model_type, split), (Event("TestStarted", told),)


def _raise_split(seen: SeenRetriever, test: ABTest, model_type: ModelType) -> Step:
    status = seen.retriever.status
    active = status.of(model_type)
    assert active is not None
    assert active.split is not None
    split = active.split.model_copy(update={"fraction": test.spec.traffic_split})
    told = f"test {split.test}: {percent(100 * active.split.fraction)} → {percent(100 * split.fraction)} of the queries"
    return _with_split(status, model_type, split), (Event("SplitRaised", told),)


# ---- end


def _end(seen: SeenRetriever, test: ABTest, model_type: ModelType, now: datetime) -> Step:
    """All queries go to A again. What lost is told so."""
    name, phase = test.metadata.name, test.status.phase
    status, events = _take_away(seen, model_type, f"test {name} is {phase.value if phase else 'over'}")
    if phase is ABTestPhase.CONCLUDED and test.status.winner is Winner.A:
        status = answered(status, outcome_of(test, TestResult.LOST, test.status.message or "A won", now))
    return status, events


def _take_away(seen: SeenRetriever, model_type: ModelType, why: str) -> Step:
    return _with_split(seen.retriever.status, model_type, None), (Event("SplitRemoved", why),)


# ---- promotion of the winner


def _promote(seen: SeenRetriever, test: ABTest, model_type: ModelType, now: datetime) -> Step:
    """By the same gates and the same one write as by hand."""
    status, request = seen.retriever.status, _request(seen, test, model_type)
    problem = promotion.problem_of(request) if request is not None else Problem("VersionDeleted", "it was deleted")
    if request is None or problem is not None:
        why = f"{problem.reason}: {problem.message}" if problem else ""
        status, events = _take_away(seen, model_type, f"test {test.metadata.name}: the winner is not promoted: {why}")
        return answered(status, outcome_of(test, TestResult.REFUSED, why, now)), events
    if promotion.wait_of(request) is not None:
        return status, ()
    cause = f"won test {test.metadata.name}: {test.status.recommendation or ''}"
    move = Move(request.version, Action.PROMOTED, cause, before=watch.before_promotion(seen, model_type))
    new = pointer.moved(seen.retriever, seen.versions, move, now)
    told = f"{request.active.metadata.name if request.active else 'nothing'} → {request.name}: {cause}"
    return answered(new, outcome_of(test, TestResult.PROMOTED, cause, now)), (Event("Promoted", told),)


# ---- parts


def _request(seen: SeenRetriever, test: ABTest, model_type: ModelType) -> Request | None:
    found = {v.metadata.name: v for v in seen.versions}
    challenger = found.get(test.spec.model_b)
    active = seen.retriever.status.of(model_type)
    if challenger is None:
        return None
    return Request(
        challenger, _request_id(test), seen, found.get(active.active or "") if active else None, for_test=True
    )


def _request_id(test: ABTest) -> str:
    return f"abtest:{test.metadata.name}"


def _with_split(status: RetrieverStatus, model_type: ModelType, split: Split | None) -> RetrieverStatus:
    active = status.of(model_type) or ActiveModel()
    return status.model_copy(
        update={
            model_type.value: active.model_copy(update={"split": split}),
            "serving_generation": (status.serving_generation or 0) + 1,
        }
    )


def outcome_of(test: ABTest, result: TestResult, message: str, now: datetime) -> TestOutcome:
    """The answer to a test."""
    return TestOutcome(
        test=test.metadata.name,
        uid=test.metadata.uid,
        version=test.spec.model_b,
        result=result,
        message=pointer.cut(message),
        at=now,
    )


def answered(status: RetrieverStatus, outcome: TestOutcome) -> RetrieverStatus:
    """With one more answer; the oldest makes room."""
    return status.model_copy(update={"test_outcomes": (*(status.test_outcomes or ()), outcome)[-MOST_OUTCOMES:]})
