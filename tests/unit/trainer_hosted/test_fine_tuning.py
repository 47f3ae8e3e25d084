"""Provider openai, method fineTune: one job at the API whatever is killed, and every way in which it may end."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attune.contract import ExitCode, StageResult, StageSpec
from attune_retrieval import manifest
from attune_retrieval.artifact import open_verified
from attune_trainer.errors import Interrupted
from attune_trainer.hosted import fine_tuning
from attune_trainer.hosted.cancelling import cancel
from attune_trainer.hosted.fine_tuning import RUN
from attune_trainer.running import run
from attune_trainer.signals import Termination
from openai_server import EMBEDS, Fault, OpenAIServer
from staged_process import started

MakeSpec = Callable[..., StageSpec]
Done = Callable[[StageSpec], StageResult]
PATIENCE = 300


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fine_tuning, "LONGEST_PAUSE", 0.05)
    monkeypatch.setattr(fine_tuning, "FIRST_PAUSE", 0.05)


def tune(make_spec: MakeSpec, **changes: Any) -> StageSpec:
    return make_spec(method="fineTune", **changes)


def ended(spec: StageSpec) -> tuple[str, int, str]:
    """Reason, exit code and message."""
    found = run(spec, Termination(), lambda _: None)
    return found.result.reason, int(found.exit_code), found.result.message


def test_the_pairs_are_uploaded_the_job_is_made_and_its_model_becomes_a_version(
    make_spec: MakeSpec, done: Done, server: OpenAIServer
) -> None:
    spec = tune(make_spec)
    result = done(spec)
    assert result.succeeded, result.message
    (job,) = server.jobs.values()
    assert job["metadata"][RUN].startswith(spec.owner.uid)
    assert job["hyperparameters"] == {"n_epochs": 3}
    assert job["suffix"] == "emb-v2"
    train = server.files[job["training_file"]]["content"].splitlines()
    assert len(train) == 96
    assert set(json.loads(train[0])) == {"query", "pos", "neg"}
    assert len(server.files[job["validation_file"]]["content"].splitlines()) == 12
    assert result.model is not None
    training = result.model.training
    assert training is not None
    assert training.fine_tuned_model == job["fine_tuned_model"]
    assert (training.api_tokens, training.loss, training.validation_loss) == (4321, 0.5, 0.75)
    assert job["fine_tuned_model"] in result.message
    described = manifest.read(Path(result.model.uri))
    assert described.openai is not None
    assert (described.openai.model, described.adapter) == (job["fine_tuned_model"], None)
    encoder = open_verified(Path(result.model.uri), result.model.digest).encoder
    expected = server.vectors(["red house"], job["fine_tuned_model"])
    assert np.allclose(encoder.encode(["red house"], "query"), expected, atol=1e-6)


def test_chat_lines_hold_the_query_and_its_answer(make_spec: MakeSpec, done: Done, server: OpenAIServer) -> None:
    assert done(tune(make_spec, file_format="chat")).succeeded
    (job,) = server.jobs.values()
    line = json.loads(server.files[job["training_file"]]["content"].splitlines()[0])
    assert [message["role"] for message in line["messages"]] == ["user", "assistant"]


def test_progress_is_told_from_the_events_of_the_job(make_spec: MakeSpec, server: OpenAIServer) -> None:
    server.looks = 4
    seen: list[Any] = []
    assert run(tune(make_spec), Termination(), seen.append, interval=0.0).result.succeeded
    assert {1, 2, 3} <= {progress.step for progress in seen}
    assert any(progress.loss == 0.5 for progress in seen)


class TestOneJob:
    """No second job is ever made, and no second file, whatever is killed or lost."""

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_pod_killed_at_any_request_ends_with_one_job(
        self, make_spec: MakeSpec, server: OpenAIServer, when: str
    ) -> None:
        server.page = 2
        kills = [0]

        def kill_at(number: int) -> Callable[[str, str, str], object]:
            seen = [0]

            def hook(now: str, method: str, path: str) -> object:
                if now != when:
                    return None
                seen[0] += 1
                if seen[0] != number:
                    return None
                kills[0] += 1
                process.kill()
                return when == "before"

            return hook

        number = 0
        while True:
            number += 1
            server.jobs.clear()
            server.files.clear()
            for _ in range(3):
                server.add_job()  # of somebody else, so that there is more than one page
            owner = tune(make_spec).owner.model_copy(update={"uid": f"{number:08}-0000", "name": f"tune-{number}"})
            spec, killed = tune(make_spec, spec_owner=owner), kills[0]
            server.hook = kill_at(number)
            process = started(spec)
            process.join(PATIENCE)
            server.hook = lambda *_: None
            if kills[0] == killed:
                assert process.exitcode == 0
                break
            assert process.exitcode == -signal.SIGKILL
            again = started(spec)
            again.join(PATIENCE)
            assert again.exitcode == 0, f"killed {when} request {number}"
            assert len(server.jobs) == 3 + 1, f"killed {when} request {number}"
            assert len(server.files) == 2, f"killed {when} request {number}"
        assert kills[0] > 12

    @pytest.mark.parametrize("how", ["lost", 500, "garbage", "reset", 429])
    @pytest.mark.parametrize("what", ["POST /v1/files", "POST /v1/fine_tuning/jobs$"])
    def test_an_answer_that_did_not_come_is_looked_for_before_it_is_asked_again(
        self, make_spec: MakeSpec, done: Done, server: OpenAIServer, what: str, how: int | str
    ) -> None:
        server.faults = [Fault(what, how)]
        result = done(tune(make_spec))
        assert result.succeeded, result.message
        assert (len(server.jobs), len(server.files)) == (1, 2)

    def test_a_server_that_keeps_no_metadata_is_searched_by_the_file(
        self, make_spec: MakeSpec, done: Done, server: OpenAIServer
    ) -> None:
        first = tune(make_spec)
        server.faults = [Fault("GET /v1/fine_tuning/jobs/ftjob-[0-9]+$", 401)]
        assert not done(first).succeeded
        (job,) = server.jobs.values()
        job["metadata"] = None
        assert done(first).succeeded
        assert len(server.jobs) == 1

    def test_another_run_makes_a_job_of_its_own(self, make_spec: MakeSpec, done: Done, server: OpenAIServer) -> None:
        first = tune(make_spec)
        assert done(first).succeeded
        second = tune(make_spec, spec_owner=first.owner.model_copy(update={"uid": "another-run"}))
        assert done(second).succeeded
        assert len(server.jobs) == 2

    def test_a_newer_operator_that_writes_more_into_the_spec_finds_the_job(
        self, make_spec: MakeSpec, done: Done, server: OpenAIServer
    ) -> None:
        server.faults = [Fault("GET /v1/fine_tuning/jobs/ftjob-[0-9]+$", 401)]
        assert not done(tune(make_spec)).succeeded
        assert done(tune(make_spec, config_min_improvement=0.02)).succeeded
        assert len(server.jobs) == 1

    def test_sigterm_leaves_the_job_at_work_and_the_next_pod_waits_for_it(
        self, make_spec: MakeSpec, server: OpenAIServer
    ) -> None:
        server.looks = -1
        process = started(tune(make_spec))
        until(lambda: server.asked("GET /v1/fine_tuning/jobs/ftjob") > 2)
        process.terminate()
        process.join(PATIENCE)
        assert process.exitcode == ExitCode.INTERRUPTED
        (job,) = server.jobs.values()
        assert job["status"] == "running"
        server.looks = 0
        again = started(tune(make_spec))
        again.join(PATIENCE)
        assert again.exitcode == 0
        assert list(server.jobs.values()) == [job]


class TestEnds:
    """Ends that a retry cannot change are final, in the API's own words; the others are tried again."""

    def test_a_model_that_cannot_be_tuned(self, make_spec: MakeSpec, server: OpenAIServer) -> None:
        reason, code, message = ended(tune(make_spec, model=EMBEDS))
        assert (reason, code) == ("ApiRefused", ExitCode.BAD_CONFIG)
        assert f"Model {EMBEDS} is not available for fine-tuning or does not exist." in message
        assert server.asked("POST /v1/fine_tuning/jobs$") == 1

    def test_a_model_that_gives_no_vectors_is_refused_before_anything_is_paid_for(
        self, make_spec: MakeSpec, server: OpenAIServer
    ) -> None:
        reason, code, message = ended(tune(make_spec, model="gpt-4o-mini"))
        assert (reason, code) == ("ApiRefused", ExitCode.BAD_CONFIG)
        assert "`gpt-4o-mini` does not exist" in message
        assert not server.files

    def test_a_wrong_key(self, make_spec: MakeSpec, server: OpenAIServer) -> None:
        server.faults = [Fault("GET /v1/files", 401, words="Incorrect API key provided")]
        reason, code, message = ended(tune(make_spec))
        assert (reason, code) == ("Unauthorized", ExitCode.BAD_CONFIG)
        assert "Incorrect API key provided" in message
        assert "OPENAI_API_KEY" in message

    def test_a_job_that_fails(self, make_spec: MakeSpec, server: OpenAIServer) -> None:
        server.outcome = "failed"
        for _ in range(2):
            reason, code, message = ended(tune(make_spec))
            assert (reason, code) == ("FineTuningFailed", ExitCode.BAD_CONFIG)
            assert "ftjob-0003 failed: the training file has 3 examples; at least 10 are needed" in message
        assert len(server.jobs) == 1

    def test_a_job_that_somebody_cancelled_there(self, make_spec: MakeSpec, server: OpenAIServer) -> None:
        server.outcome = "cancelled"
        reason, code, message = ended(tune(make_spec))
        assert (reason, code) == ("FineTuningCancelled", ExitCode.BAD_CONFIG)
        assert "was cancelled there" in message

    def test_a_job_that_never_ends_is_cancelled_in_the_end(
        self, make_spec: MakeSpec, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.looks = -1
        monkeypatch.setattr(fine_tuning, "MOST_HOURS", 1 / 3600)
        reason, code, message = ended(tune(make_spec))
        assert (reason, code) == ("FineTuningTooLong", ExitCode.BAD_CONFIG)
        assert "was not done after 0 hours (running), and was cancelled" in message
        (job,) = server.jobs.values()
        assert job["status"] == "cancelled"

    @pytest.mark.parametrize(("how", "retry_after"), [(429, 0.1), (500, None), ("garbage", None), ("reset", None)])
    def test_polling_goes_on_after_what_passes(
        self, make_spec: MakeSpec, done: Done, server: OpenAIServer, how: int | str, retry_after: float | None
    ) -> None:
        server.faults = [Fault("GET /v1/fine_tuning/jobs/ftjob-[0-9]+$", how, times=2, retry_after=retry_after)]
        result = done(tune(make_spec))
        assert result.succeeded, result.message

    def test_an_api_that_is_away_for_long_ends_the_attempt_and_not_the_job(
        self, make_spec: MakeSpec, done: Done, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fine_tuning, "READS", 1)
        server.faults = [Fault("GET /v1/fine_tuning/jobs/ftjob-[0-9]+$", 503, times=2, words="overloaded")]
        reason, code, message = ended(tune(make_spec))
        assert (reason, code) == ("ApiUnavailable", ExitCode.STORE_UNAVAILABLE)
        assert "overloaded" in message
        assert done(tune(make_spec)).succeeded
        assert len(server.jobs) == 1

    def test_a_server_that_hangs_ends_the_attempt(
        self, make_spec: MakeSpec, server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fine_tuning, "READS", 0)
        monkeypatch.setattr(fine_tuning, "SECONDS", 0.3)
        server.faults = [Fault("GET /v1/fine_tuning/jobs$", "hang", times=9)]
        reason, code, _ = ended(tune(make_spec))
        assert (reason, code) == ("ApiUnavailable", ExitCode.STORE_UNAVAILABLE)


class TestCancelling:
    """What the operator's Job does once a TrainingJob is gone."""

    def test_the_jobs_of_that_run_are_cancelled_and_no_others(self, make_spec: MakeSpec, server: OpenAIServer) -> None:
        server.page = 2
        mine = [server.add_job(metadata={RUN: "uid-1 digest"}), server.add_job(metadata={RUN: "uid-1 other"})]
        over = server.add_job(metadata={RUN: "uid-1 digest"}, status="succeeded")
        others = [server.add_job(metadata={RUN: "uid-12 digest"}), server.add_job(), server.add_job(metadata={})]
        assert cancel(server.url, "uid-1", wait=lambda _: None) == 2
        assert {job["status"] for job in mine} == {"cancelled"}
        assert over["status"] == "succeeded"
        assert {job["status"] for job in others} == {"validating_files"}

    def test_a_job_that_is_made_while_it_looks_is_found_at_a_later_look(self, server: OpenAIServer) -> None:
        """The last request of the train stage's Pod may come after the first look."""
        late: list[dict[str, Any]] = []

        def wait(seconds: float) -> None:
            if seconds >= 40:
                late.append(server.add_job(metadata={RUN: "uid-1 digest"}))

        assert cancel(server.url, "uid-1", wait=wait) == 1
        assert late[0]["status"] == "cancelled"

    def test_it_looks_for_longer_than_a_pod_takes_to_end(self) -> None:
        from attune_trainer.hosted.cancelling import LOOKS

        assert LOOKS[0] == 0
        assert LOOKS[-1] > 60

    def test_a_server_without_metadata_is_searched_by_the_files_of_the_run(
        self, make_spec: MakeSpec, done: Done, server: OpenAIServer
    ) -> None:
        server.looks = -1
        spec = tune(make_spec)
        stop_after(spec, server)
        (job,) = server.jobs.values()
        job["metadata"] = None
        assert cancel(server.url, spec.owner.uid, wait=lambda _: None) == 1

    def test_a_cancelled_run_that_is_looked_at_again_is_final(self, make_spec: MakeSpec, server: OpenAIServer) -> None:
        server.looks = -1
        spec = tune(make_spec)
        stop_after(spec, server)
        cancel(server.url, spec.owner.uid, wait=lambda _: None)
        assert ended(spec)[0] == "FineTuningCancelled"
        assert len(server.jobs) == 1


def stop_after(spec: StageSpec, server: OpenAIServer) -> None:
    """Run until it waits for the job, then end it as SIGTERM does."""
    termination = Termination(deferred=True)

    def stop() -> None:
        until(lambda: server.asked("GET /v1/fine_tuning/jobs/ftjob") > 1)
        termination.requested = True

    thread = threading.Thread(target=stop)
    thread.start()
    result = run(spec, termination, lambda _: None).result
    thread.join()
    assert result.reason == Interrupted.__name__, result.message


def until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)
