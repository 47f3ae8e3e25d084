"""Several processes train one model: started by torchrun as in a Pod, over gloo; the model is that of one process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attune.contract import ExitCode, ModelType, Stage, StageResult, StageSpec
from attune_retrieval.artifact import open_verified
from attune_trainer.launching import Group
from attune_trainer.running import result_uri, run
from attune_trainer.signals import Termination
from attune_trainer.train.world import World
from tiny_bert import build_tiny_cross_encoder, sentences

pytestmark = pytest.mark.timeout(1500)
MakeSpec = Callable[..., StageSpec]
SpecsFrom = Callable[[Path, Path], MakeSpec]


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def pods(spec: StageSpec, folder: Path, *, nodes: int, processes: int) -> list[subprocess.Popen[bytes]]:
    """As the operator's Job starts them, each with a termination log of its own."""
    path = folder / "stage.json"
    path.write_text(spec.to_json())
    told = {
        "ATTUNE_NODES": str(nodes),
        "ATTUNE_PROCESSES_PER_NODE": str(processes),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    started = []
    for node in range(nodes):
        (folder / f"end-{node}").touch()
        env = {**os.environ, **told, "JOB_COMPLETION_INDEX": str(node)}
        env["ATTUNE_TERMINATION_LOG"] = str(folder / f"end-{node}")
        argv = [sys.executable, "-m", "attune_trainer", "train", "--spec", str(path)]
        with (folder / f"log-{node}").open("wb") as log:
            started.append(subprocess.Popen(argv, env=env, stdout=log, stderr=subprocess.STDOUT))
    return started


def ended(started: list[subprocess.Popen[bytes]]) -> list[int]:
    return [process.wait(timeout=600) for process in started]


def logs(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in sorted(folder.glob("log-*")))


def vectors(result: StageResult) -> Any:
    assert result.model is not None, result.message
    encoder = open_verified(Path(result.model.uri), result.model.digest).encoder
    return encoder.encode([text for _, text in sentences()[:40]], "document")


def test_two_pods_give_the_model_of_one_process(tmp_path: Path, specs_from: SpecsFrom, tiny_model: Path) -> None:
    """A batch of nine rows is shared as five and four, and the last of an epoch may be one row alone."""
    (tmp_path / "two").mkdir()
    spec = specs_from(tmp_path / "two", tiny_model)(Stage.TRAIN, epochs=2, batch_size=9, learning_rate=1e-3)
    codes = ended(pods(spec, tmp_path, nodes=2, processes=1))
    assert codes == [0, 0], logs(tmp_path)[-4000:]
    together = StageResult.from_json(Path(result_uri(spec)).read_bytes())
    assert together.succeeded
    told = [StageResult.from_termination_message((tmp_path / f"end-{n}").read_text()) for n in range(2)]
    assert told[0] is not None
    assert told[0].model == together.model
    assert told[1] is None, "the first process tells"
    (tmp_path / "one").mkdir()
    alone_spec = specs_from(tmp_path / "one", tiny_model)(Stage.TRAIN, epochs=2, batch_size=9, learning_rate=1e-3)
    alone = run(alone_spec, Termination(), lambda _: None).result
    np.testing.assert_allclose(vectors(together), vectors(alone), atol=1e-4)
    assert together.model is not None
    assert alone.model is not None
    ours, theirs = together.model.training, alone.model.training
    assert ours is not None
    assert theirs is not None
    assert ours.loss == pytest.approx(theirs.loss, rel=1e-4)
    assert ours.validation_ndcg_at10 == pytest.approx(theirs.validation_ndcg_at10, abs=0.02)


@pytest.mark.parametrize("loss", ["bce", "listwise"])
def test_two_processes_in_a_pod_give_the_reranker_of_one(tmp_path: Path, specs_from: SpecsFrom, loss: str) -> None:
    base = build_tiny_cross_encoder(
        tmp_path / "cross"
    )  # with dropout, which training leaves out: else they could not agree
    asked: dict[str, Any] = {"epochs": 1, "batch_size": 9, "learning_rate": 1e-3, "loss": loss}
    asked["spec_type"] = ModelType.RERANKER
    found = []
    for name in ("together", "alone"):
        (tmp_path / name).mkdir()
        spec = specs_from(tmp_path / name, base)(Stage.TRAIN, **asked)
        if name == "together":
            codes = ended(pods(spec, tmp_path / name, nodes=1, processes=2))
            assert codes == [0], logs(tmp_path / name)[-4000:]
            result = StageResult.from_json(Path(result_uri(spec)).read_bytes())
        else:
            result = run(spec, Termination(), lambda _: None).result
        assert result.model is not None, result.message
        found.append(open_verified(Path(result.model.uri), None).reranker.score(sentences()[:40]))
    together, alone = (np.log(relevance / (1 - relevance)) for relevance in map(np.asarray, found))
    if loss == "listwise":  # says nothing of what is added to all scores of a list: rounding decides the head's bias
        together, alone = together - together.mean(), alone - alone.mean()
    np.testing.assert_allclose(together, alone, atol=5e-4)


def test_pods_that_are_asked_to_end_leave_a_checkpoint_from_which_one_process_goes_on(
    tmp_path: Path, specs_from: SpecsFrom, tiny_model: Path
) -> None:
    spec = specs_from(tmp_path, tiny_model)(Stage.TRAIN, epochs=30, batch_size=8, learning_rate=1e-3)
    started = pods(spec, tmp_path, nodes=2, processes=1)
    until = time.monotonic() + 600
    while '"step":' not in logs(tmp_path) and time.monotonic() < until and started[0].poll() is None:
        time.sleep(0.2)
    for process in started:
        process.send_signal(signal.SIGTERM)
    assert ended(started) == [ExitCode.INTERRUPTED, ExitCode.INTERRUPTED], logs(tmp_path)[-4000:]
    told = StageResult.from_termination_message((tmp_path / "end-0").read_text())
    assert told is not None
    assert "is published" in told.message, told.message
    steps: list[int] = []
    termination = Termination()

    def saw(progress: Any) -> None:
        if progress.step:
            steps.append(progress.step)
            termination.requested = True

    run(spec, termination, saw, interval=0.0)
    assert steps[0] > 1, "it began from the start"


def test_a_failure_of_one_ends_all_with_the_cause_and_its_exit_code(
    tmp_path: Path, specs_from: SpecsFrom, tiny_model: Path
) -> None:
    spec = specs_from(tmp_path, tiny_model)(Stage.TRAIN, precision="fp16")
    codes = ended(pods(spec, tmp_path, nodes=1, processes=2))
    assert codes == [ExitCode.BAD_CONFIG], logs(tmp_path)[-4000:]
    told = StageResult.from_termination_message((tmp_path / "end-0").read_text())
    assert told is not None
    assert "fp16 needs a GPU" in told.message


def test_one_process_alone_is_not_started_by_another() -> None:
    assert Group.told({}) is None
    assert Group.told({"ATTUNE_NODES": "1", "ATTUNE_PROCESSES_PER_NODE": "1"}) is None
    assert Group.told({"ATTUNE_NODES": "2", "TORCHELASTIC_RUN_ID": "1"}) is None
    told = {"ATTUNE_NODES": "2", "MASTER_ADDR": "job-0.peers", "MASTER_PORT": "20001", "JOB_COMPLETION_INDEX": "1"}
    assert Group.told(told) == Group(2, 1, 1, "job-0.peers", 20001)


def test_the_rows_of_a_batch_are_shared_out_whole() -> None:
    rows = tuple(range(11))
    shares = [World(rank, 3).share(rows) for rank in range(3)]
    assert sorted(row for share in shares for row in share) == list(rows)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
