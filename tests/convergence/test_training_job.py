"""A TrainingJob against the faulty fake cluster: whatever fails, it settles in the state of the undisturbed run."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from attune.contract import ExitCode, Stage, StageSpec
from fake_cluster import FakeCluster, Killed, Outcome, flaky
from worlds import World, failing, make_world, retriever, scripted, training_job


async def trained(world: World, job: dict[str, Any] | None = None) -> dict[str, Any]:
    world.cluster.put(retriever())
    world.cluster.put(job or training_job())
    await world.settle()
    return world.cluster.find("TrainingJob")


def outcome(cluster: FakeCluster) -> dict[str, Any]:
    """What users see at the end, without times."""
    job, versions = cluster.find("TrainingJob"), cluster.all("ModelVersion")
    return {
        "phase": job["status"]["phase"],
        "reason": job["status"]["reason"],
        "message": job["status"]["message"],
        "version": job["status"]["modelVersion"],
        "dataset": job["status"]["dataset"],
        "attempts": [(a["stage"], a["number"], a.get("exitCode"), a["reason"]) for a in job["status"]["attempts"]],
        "conditions": {c["type"]: (c["status"], c["reason"]) for c in job["status"]["conditions"]},
        "versions": {v["metadata"]["name"]: v["status"]["stage"] for v in versions},
        "active": cluster.find("Retriever")["status"]["embedding"]["active"],
        "jobs": sorted(n for k, _, n in cluster.created if k == "Job"),
    }


async def test_an_undisturbed_run_ends_succeeded_with_a_staged_version_and_its_numbers() -> None:
    world = make_world()
    job = await trained(world)
    assert job["status"]["phase"] == "Succeeded"
    assert job["status"]["message"] == (
        "emb-v2-20260315: nDCG@10 0.800 (active) → 0.900 (+12.5%, 95% CI +0.050 to +0.150) on 200 queries"
    )
    version = world.cluster.find("ModelVersion", "emb-v2-20260315")
    assert version["status"]["stage"] == "staged"
    assert version["status"]["evaluationMetrics"]["ndcgAt10"] == 0.9
    assert "faithfulness" not in version["status"]["evaluationMetrics"]
    assert world.cluster.find("ModelVersion", "emb-v1-20260315")["status"]["stage"] == "active"
    assert world.cluster.find("Retriever")["status"]["embedding"]["active"] == "emb-v1-20260315"


async def test_after_convergence_nothing_is_written_until_something_changes() -> None:
    world = make_world()
    await trained(world)
    writes = list(world.cluster.writes)
    for _ in range(5):
        world.cluster.clock.advance(timedelta(minutes=7))
        await world.look()
    assert world.cluster.writes == writes


async def undisturbed() -> tuple[dict[str, Any], int]:
    world = make_world()
    await trained(world)
    return outcome(world.cluster), len(world.cluster.writes)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_kill_at_any_write_ends_in_the_same_state_and_creates_each_job_once(when: str) -> None:
    expected, writes = await undisturbed()
    assert writes > 15
    for at in range(writes):
        world = make_world()
        world.cluster.fault = _kill(at, when)
        await trained(world)
        assert world.restarts == 1, f"no kill {when} write {at}"
        assert outcome(world.cluster) == expected, f"kill {when} write {at}: {world.cluster.writes[at]}"
        assert_each_created_once(world.cluster)
        assert_terminal_stays(world.cluster)


def _kill(at: int, when: str) -> Any:
    def fault(number: int, now: str, what: str) -> None:
        if number == at and now == when:
            raise Killed

    return fault


@pytest.mark.parametrize("every", [2, 3, 5])
async def test_lost_requests_and_lost_answers_change_nothing_in_the_end(every: int) -> None:
    expected, _ = await undisturbed()
    world = make_world()
    world.cluster.fault = flaky(every)
    await trained(world)
    assert world.errors
    assert outcome(world.cluster) == expected
    assert_each_created_once(world.cluster)


async def test_a_lost_pod_is_retried_up_to_the_backoff_limit_and_the_history_is_kept() -> None:
    world = make_world(failing(Stage.TRAIN, code=137))
    job = await trained(world, training_job(backoffLimit=2))
    status = job["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "BackoffLimitExceeded")
    assert "3 attempts failed (backoffLimit 2)" in status["message"]
    assert [(a["stage"], a["number"], a["exitCode"]) for a in status["attempts"] if a["stage"] == "train"] == [
        ("train", 1, 137),
        ("train", 2, 137),
        ("train", 3, 137),
    ]
    starts = [datetime.fromisoformat(a["startedAt"]) for a in status["attempts"] if a["stage"] == "train"]
    assert starts[1] - starts[0] >= timedelta(seconds=10)
    assert starts[2] - starts[1] >= timedelta(seconds=20)
    assert world.cluster.find("ModelVersion", status["modelVersion"])["status"]["stage"] == "failed"


async def test_a_second_attempt_that_succeeds_ends_the_job_well() -> None:
    world = make_world(failing(Stage.TRAIN, code=ExitCode.INTERRUPTED, attempts=range(1, 2)))
    status = (await trained(world))["status"]
    assert status["phase"] == "Succeeded"
    assert [(a["stage"], a["number"], a["exitCode"]) for a in status["attempts"]] == [
        ("prepare", 1, 0),
        ("train", 1, 75),
        ("train", 2, 0),
        ("evaluate", 2, 0),
    ]


async def test_bad_data_is_final_and_says_what_the_stage_said() -> None:
    message = "412 pairs < 1000 (dataSource.minExamples): archive 412"
    world = make_world(failing(Stage.PREPARE, code=ExitCode.BAD_DATA, reason="InsufficientData", message=message))
    status = (await trained(world))["status"]
    assert (status["phase"], status["reason"], status["message"]) == ("Failed", "InsufficientData", message)
    assert len(status["attempts"]) == 1


async def test_a_result_that_vanished_with_its_pod_is_computed_again() -> None:
    def trainer(spec: StageSpec, attempt: int) -> Outcome:
        if spec.owner.kind == "TrainingJob" and spec.stage is Stage.TRAIN and attempt == 1:
            return Outcome(0, None, lose_pod=True)
        return scripted(spec, attempt)

    world = make_world(trainer)
    status = (await trained(world))["status"]
    assert status["phase"] == "Succeeded"
    assert [a["reason"] for a in status["attempts"]] == ["Completed", "ResultLost", "Completed", "Completed"]


async def test_a_deleted_stage_job_is_an_attempt_that_failed() -> None:
    world = make_world()
    world.cluster.put(retriever())
    world.cluster.put(training_job())
    deleted = False
    for _ in range(40):
        await world.look()
        trains = [
            j for j in world.cluster.all("Job") if "-train" in j["metadata"]["name"] and "tune" in j["metadata"]["name"]
        ]
        if trains and not deleted:
            world.cluster.remove("Job", trains[0]["metadata"]["name"])
            deleted = True
        world.cluster.run_jobs()
        world.cluster.clock.advance(timedelta(seconds=10))
    status = world.cluster.find("TrainingJob")["status"]
    assert status["phase"] == "Succeeded"
    assert "JobDeleted" in [a["reason"] for a in status["attempts"]]


async def test_terminal_stays_terminal_after_its_jobs_were_collected() -> None:
    world = make_world()
    before = await trained(world)
    for job in world.cluster.all("Job"):
        world.cluster.remove("Job", job["metadata"]["name"])
    await world.settle()
    assert world.cluster.find("TrainingJob")["status"] == before["status"]
    assert world.cluster.all("Job") == []


async def test_suspend_suspends_the_running_job_and_resume_continues_it() -> None:
    world = make_world()
    world.cluster.put(retriever())
    await world.settle()
    world.cluster.put(training_job())
    world.cluster.hold = True
    await world.settle(6)
    world.cluster.put(training_job(suspend=True))
    await world.settle(6)
    job = world.cluster.find("TrainingJob")
    stage = next(j for j in world.cluster.all("Job") if j["metadata"]["name"].startswith("tune"))
    assert job["status"]["phase"] == "Suspended"
    assert stage["spec"]["suspend"] is True
    world.cluster.put(training_job(suspend=False))
    world.cluster.hold = False
    await world.settle()
    job = world.cluster.find("TrainingJob")
    assert job["status"]["phase"] == "Succeeded"
    assert {c["type"]: c["status"] for c in job["status"]["conditions"]}["Suspended"] == "False"
    assert [a["number"] for a in job["status"]["attempts"]] == [1, 1, 1]


async def test_a_deadline_ends_the_job_and_removes_what_runs() -> None:
    world = make_world()
    world.cluster.put(retriever())
    await world.settle()
    world.cluster.hold = True
    world.cluster.put(training_job(activeDeadlineSeconds=60))
    await world.settle(20)
    job = world.cluster.find("TrainingJob")
    assert (job["status"]["phase"], job["status"]["reason"]) == ("Failed", "DeadlineExceeded")
    assert "activeDeadlineSeconds 60" in job["status"]["message"]
    assert [j for j in world.cluster.all("Job") if j["metadata"]["name"].startswith("tune")] == []


async def test_ttl_removes_the_job_and_leaves_the_version() -> None:
    world = make_world()
    world.cluster.put(retriever())
    world.cluster.put(training_job(ttlSecondsAfterFinished=30))
    await world.settle()
    world.cluster.clock.advance(timedelta(minutes=2))
    await world.look()
    assert world.cluster.all("TrainingJob") == []
    assert world.cluster.find("ModelVersion", "emb-v2-20260315")["status"]["stage"] == "staged"


async def test_two_jobs_at_once_get_two_numbers() -> None:
    world = make_world()
    world.cluster.put(retriever())
    world.cluster.put(training_job("first"))
    world.cluster.put(training_job("second"))
    await world.settle()
    names = {j["status"]["modelVersion"] for j in world.cluster.all("TrainingJob")}
    assert names == {"emb-v2-20260315", "emb-v3-20260315"}
    assert {j["status"]["phase"] for j in world.cluster.all("TrainingJob")} == {"Succeeded"}


async def test_disabled_fine_tuning_waits_and_still_imports() -> None:
    world = make_world(FINETUNE_ENABLED="false")
    status = (await trained(world))["status"]
    assert (status["phase"], status["reason"]) == ("Pending", "FineTuningDisabled")
    assert world.cluster.find("Retriever")["status"]["embedding"]["active"] == "emb-v1-20260315"


async def test_a_retriever_that_comes_later_is_waited_for() -> None:
    world = make_world()
    world.cluster.put(training_job())
    await world.settle(5)
    assert world.cluster.find("TrainingJob")["status"]["reason"] == "RetrieverNotFound"
    world.cluster.put(retriever())
    await world.settle()
    assert world.cluster.find("TrainingJob")["status"]["phase"] == "Succeeded"


def assert_each_created_once(cluster: FakeCluster) -> None:
    jobs = [address for address in cluster.created if address[0] == "Job"]
    assert len(jobs) == len(set(jobs))
    attempts = [
        (
            o["metadata"]["labels"]["attune.dev/owner-uid"],
            o["metadata"]["labels"]["attune.dev/stage"],
            o["metadata"]["labels"]["attune.dev/attempt"],
        )
        for o in cluster.all("Job")
    ]
    assert len(attempts) == len(set(attempts))


def assert_terminal_stays(cluster: FakeCluster) -> None:
    """Invariant 3, at every stored revision."""
    ended: dict[str, str] = {}
    for revision in cluster.history:
        if revision["kind"] != "TrainingJob":
            continue
        phase, uid = revision.get("status", {}).get("phase"), revision["metadata"]["uid"]
        assert uid not in ended or phase == ended[uid]
        if phase in {"Succeeded", "Failed"}:
            ended[uid] = phase


async def test_an_object_that_cannot_be_read_says_so_in_an_event_and_is_left_as_it_is() -> None:
    world = make_world()
    world.cluster.put(retriever())
    damaged = training_job()
    damaged["spec"]["hyperparameters"] = {"epochs": "many"}
    world.cluster.put(damaged)
    await world.settle()
    events = [e for e in world.cluster.events if e["reason"] == "Unreadable"]
    assert events
    assert "spec.hyperparameters.epochs" in events[0]["message"]
    assert "'many'" in events[0]["message"]
    assert "status" not in world.cluster.find("TrainingJob")


async def test_a_version_that_is_worse_is_failed_and_its_numbers_are_said_once() -> None:
    def worse(spec: StageSpec, attempt: int) -> Outcome:
        done = scripted(spec, attempt)
        if spec.stage is not Stage.EVALUATE or done.result is None or done.result.evaluation is None:
            return done
        told = done.result.evaluation
        metrics = told.metrics.model_copy(update={"verdict": "worse"})
        evaluation = told.model_copy(update={"metrics": metrics})
        return Outcome(0, done.result.model_copy(update={"evaluation": evaluation}))

    world = make_world(worse)
    status = (await trained(world))["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "WorseThanActive")
    assert status["message"].count("nDCG@10") == 1


async def test_a_run_that_is_over_notes_that_it_saw_a_newer_spec_and_runs_no_more() -> None:
    world = make_world()
    world.cluster.put(retriever())
    world.cluster.put(training_job())
    await world.settle()
    found = world.cluster.find("TrainingJob")
    jobs = len(world.cluster.all("Job"))
    world.cluster.put({**found, "spec": {**found["spec"], "suspend": True}})
    await world.settle()
    after = world.cluster.find("TrainingJob")
    assert (
        after["status"]["observedGeneration"] == after["metadata"]["generation"] == found["metadata"]["generation"] + 1
    )
    assert (after["status"]["phase"], len(world.cluster.all("Job"))) == ("Succeeded", jobs)
