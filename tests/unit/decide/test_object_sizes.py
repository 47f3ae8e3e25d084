"""Invariant 8: objects stay under 10 kB with all their lists full."""

from __future__ import annotations

from datetime import timedelta

from attune.api import ABTest, Action, AlertAction, Candidate, ModelVersion, Retriever, RetrieverStatus, TestResult
from attune.api.notifications import MOST_PENDING
from attune.contract import ExitCode, ModelType, StageResult
from attune.decide import decide_ab_test, pointer
from attune.decide.conditions import Said, said
from attune.decide.experiment import splitting
from attune.decide.notifications import announce
from attune.decide.pointer import Move
from attune.decide.rollback import alerts
from attune.observation import Alert, ArmSamples, Count, Samples, SeenABTest, Stratum, Sums
from schedules import Simulation, a_schedule, prepared
from versions import NOW, a_retriever, a_version

NAMES = [f"metric_number_{n}" for n in range(10)]


def test_a_test_with_ten_metrics_that_was_looked_at_for_long_stays_under_ten_kilobytes() -> None:
    roles = [
        {"role": "primary"},
        *({"role": "success"} for _ in range(8)),
        {"role": "guardrail", "nonInferiorityMargin": 0.05},
    ]
    test = ABTest.model_validate(
        {
            "metadata": {
                "name": "a-test-with-a-name",
                "namespace": "team",
                "uid": "0a1b2c3d-0000-4000-8000-000000000000",
            },
            "spec": {
                "retriever": "news",
                "modelB": "emb-v2",
                "trafficSplit": 0.5,
                "minSamples": 100,
                "maxDuration": "100h",
                "metrics": [{"name": name, **role} for name, role in zip(NAMES, roles, strict=True)],
                "analysis": {"method": "groupSequential", "interval": "1h"},
            },
            "status": {"phase": "Running", "modelA": "emb-v1", "startedAt": NOW.isoformat()},
        }
    )
    split = {"test": "a-test-with-a-name", "challenger": "emb-v2", "fraction": 0.5, "uid": test.metadata.uid}
    retriever = a_retriever({"embedding": {"active": "emb-v1", "split": split}})
    for hour in range(1, 100):
        a, b = 1234 * hour, 1234 * hour + hour % 7
        metrics = {name: Sums(a, a / 3 + 0.123456789 * n, a / 2 + n / 7) for n, name in enumerate(NAMES)}
        samples = Samples(
            (Stratum(0.5, ArmSamples(a, metrics), ArmSamples(b, metrics)),), NOW + hour * timedelta(hours=1), NOW
        )
        seen = SeenABTest(test, retriever, (a_version(1, "active"), a_version(2)), samples=samples)
        decision = decide_ab_test(seen, NOW + hour * timedelta(hours=1))
        test = test.model_copy(update={"status": decision.status})
    assert test.status.looks is not None
    assert test.status.planned_looks is not None
    assert len(test.status.looks) == 20
    assert len(test.status.planned_looks) >= 19
    assert len(test.model_dump_json(by_alias=True, exclude_none=True)) < 10_000


def test_a_retriever_with_every_list_full_stays_under_ten_kilobytes() -> None:
    long = "Promote emb-v7-20260315: clicks +4.1% (95% CI +1.2% to +7.0%) on 1,312 queries; p99 latency 21 ms. " * 4
    names = [f"emb-v{n}-20260315" for n in range(1, 10)]
    retriever = a_retriever({"embedding": {"active": names[0]}})
    versions = tuple(version_named(name, n) for n, name in enumerate(names, 1))
    for n, version in enumerate(versions * 2):
        action = Action.ROLLED_BACK if n % 2 else Action.PROMOTED
        move = Move(
            version, action, long, f"cli-{n:012x}", Count(900, 123_456, 1_234, {0.05: 100_000, float("inf"): 123_456})
        )
        retriever = with_status(retriever, pointer.moved(retriever, versions, move, NOW))
        trial = an_ab_test(f"test-of-version-{n}", version.metadata.name)
        told = splitting.answered(retriever.status, splitting.outcome_of(trial, TestResult.LOST, long, NOW))
        retriever = with_status(retriever, told)
    status = retriever.status
    for kind in ModelType:
        candidate = Candidate(type=kind, version=names[0], request_id="r" * 40, since=NOW, message="m" * pointer.CAUSE)
        status = pointer.with_candidate(status, candidate)
    firing = [Alert(f"{n:016x}", NOW, True, names[0], "AttuneVersionErrors", long) for n in range(20)]
    status = alerts.noted(status, firing, AlertAction.ROLLED_BACK)
    assert len(status.handled_alerts or ()) == alerts.MOST_ALERTS
    for name in ("Ready", "Serving", "IndexReady", "RolledBack", "Watching", "Guarded"):
        status = said(status, Said(name, True, "AllFollow", long[:300]), 7, NOW)
    status = said(status, Said(announce.CONDITION, False, announce.FAILED, long[: announce.WORDS]), 7, NOW)
    waiting = tuple(f"a-target-of-20-chars/{n:016x}" for n in range(MOST_PENDING))
    status = status.model_copy(update={"pending_notifications": waiting})
    assert len(status.changes or ()) == pointer.MOST_CHANGES
    assert len(status.quarantined or ()) == pointer.MOST_QUARANTINED
    assert len(status.outcomes or ()) == pointer.MOST_OUTCOMES
    assert len(status.test_outcomes or ()) == splitting.MOST_OUTCOMES
    assert len(with_status(retriever, status).model_dump_json(by_alias=True, exclude_none=True)) < 10_000


def with_status(retriever: Retriever, status: RetrieverStatus) -> Retriever:
    return retriever.model_copy(update={"status": status})


def version_named(name: str, number: int) -> ModelVersion:
    version = a_version(number)
    return version.model_copy(update={"metadata": version.metadata.model_copy(update={"name": name})})


def an_ab_test(name: str, challenger: str) -> ABTest:
    return ABTest.model_validate(
        {
            "metadata": {"name": name, "namespace": "team", "uid": "0a1b2c3d-0000-4000-8000-000000000000"},
            "spec": {"retriever": "news", "modelB": challenger, "metrics": [{"name": "m", "role": "primary"}]},
        }
    )


def test_a_schedule_with_everything_in_its_status_stays_under_ten_kilobytes() -> None:
    long = "412 pairs < 1000 (dataSource.minExamples): archive 412; held out: 51; dropped: nearDuplicate 1,204. " * 20
    sources = {f"source{n}": 1_000_000 for n in range(8)}
    world = Simulation(
        a_schedule(training={"schedule": "0 2 * * 0"}, template={"type": "embedding", "backoffLimit": 9})
    )

    def result() -> StageResult:
        found = prepared(800)
        assert found.dataset is not None
        reasons = {f"aReasonToDropRows{n}": 1_000_000 for n in range(25)}
        dataset = found.dataset.model_copy(update={"by_source": sources, "dropped_by_reason": reasons})
        return found.model_copy(update={"dataset": dataset, "message": long})

    world.result, world.exit_code = result, int(ExitCode.STORE_UNAVAILABLE)
    for week in range(5):
        world.goto(f"2026-0{4 + week // 4}-{5 + 7 * (week % 4):02d}T02:00:01Z")
        world.settle(12 if week < 4 else 40)
        world.exit_code = 0 if week == 3 else world.exit_code
    attempts = world.schedule.status.preparation.attempts if world.schedule.status.preparation else None
    assert attempts is not None
    assert world.schedule.status.dataset is not None
    assert len(world.schedule.model_dump_json(by_alias=True, exclude_none=True)) < 10_000
