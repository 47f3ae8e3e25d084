"""The trainer as a process, the way a pod runs it: killed, told to end, out of disk, and run by hand from archive to table."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from attune.contract import (
    ArtifactRef,
    ExitCode,
    HardNegatives,
    OwnerRef,
    Stage,
    StageResult,
    StageSpec,
    TrainingConfig,
    last_progress,
)
from tiny_bert import build_tiny_model, sentences, write_jsonl, write_snapshot

pytestmark = pytest.mark.e2e
TRAINER = [sys.executable, "-m", "attune_trainer"]
WAIT = 240


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "bert")


@dataclass
class Pod:
    """The place of one pod: its spec, its termination message, its scratch folder."""

    folder: Path
    spec: StageSpec

    def environment(self) -> dict[str, str]:
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        (self.folder / "stage.json").write_text(self.spec.to_json())
        return os.environ | {
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(self.folder / "tmp"),
            "ATTUNE_TERMINATION_LOG": str(self.folder / "message"),
        }

    def start(self, **options: Any) -> subprocess.Popen[str]:
        command = [*TRAINER, self.spec.stage.value, "--spec", str(self.folder / "stage.json")]
        return subprocess.Popen(
            command, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )

    def message(self) -> StageResult:
        found = StageResult.from_termination_message((self.folder / "message").read_text())
        assert found is not None
        return found


@pytest.fixture
def pod(tmp_path: Path, tiny_model: Path) -> Callable[..., Pod]:
    snapshot = write_snapshot(tmp_path / "snapshot")

    def make(name: str, storage: str = "store", epochs: int = 40) -> Pod:
        config = TrainingConfig(
            base_model=str(tiny_model),
            epochs=epochs,
            batch_size=8,
            learning_rate=1e-3,
            max_sequence_length=32,
            early_stopping_patience=0,
            hard_negatives=HardNegatives(per_query=1),
        )
        spec = StageSpec(
            stage=Stage.TRAIN,
            owner=OwnerRef(kind="TrainingJob", namespace="news", name="tune", uid="12345678-abcd"),
            retriever="news",
            storage=str(tmp_path / storage),
            config=config,
            dataset=snapshot,
            model=ArtifactRef(name="emb-v2", uri=str(tmp_path / storage / "versions" / "emb-v2")),
        )
        return Pod(tmp_path / name, spec)

    return make


def checkpoints(pod: Pod) -> list[int]:
    folder = Path(pod.spec.storage) / "news" / "news" / "runs" / "tune-12345678" / "checkpoints"
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_trainer_killed_mid_epoch_goes_on_and_ends_like_one_that_was_not(pod: Callable[..., Pod]) -> None:
    killed = pod("killed")
    process = killed.start()
    wait_for(lambda: len(checkpoints(killed)) >= 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed.folder / "message").exists()
    kept = max(checkpoints(killed))
    again = pod("again")
    output, errors = again.start().communicate(timeout=WAIT)
    assert again.message().succeeded, errors
    assert f"going on from the checkpoint of step {kept}" in errors
    progress = last_progress(output)
    assert progress is not None
    assert progress.percent == 100
    assert checkpoints(again) == []
    undisturbed = pod("undisturbed", storage="other-store")
    assert undisturbed.start().wait(WAIT) == ExitCode.OK
    one, other = again.message().model, undisturbed.message().model
    assert one is not None
    assert other is not None
    mine, theirs = (load_file(Path(model.uri) / "model.safetensors") for model in (one, other))
    for name, values in mine.items():
        assert abs(values - theirs[name]).max() < 1e-5, name
    assert one.training is not None
    assert other.training is not None
    assert one.training.best_epoch == other.training.best_epoch


def test_sigterm_leaves_a_checkpoint_and_asks_for_another_attempt(pod: Callable[..., Pod]) -> None:
    told = pod("told", epochs=100)
    process = told.start()
    wait_for(lambda: checkpoints(told), process)
    before = max(checkpoints(told))
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED, errors
    result = told.message()
    assert result.reason == "Interrupted"
    assert max(checkpoints(told)) >= before
    assert f"step {max(checkpoints(told))} of" in result.message
    assert last_progress(output) is not None
    assert not (Path(told.spec.storage) / "versions" / "emb-v2").exists()


def test_a_full_disk_is_a_retry_with_nothing_half_written(pod: Callable[..., Pod]) -> None:
    full = pod("full", epochs=2)

    def small_files_only() -> None:
        # Writing past a limit of the process fails like writing to a full disk.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    _, errors = full.start(preexec_fn=small_files_only).communicate(timeout=WAIT)
    result = full.message()
    assert not result.succeeded
    assert result.reason in {"DiskFull", "StoreUnavailable"}, errors
    assert full.start().wait(WAIT) == ExitCode.OK


def by_hand(*arguments: str) -> str:
    """Standard output of the trainer's command line, in a process of its own."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "140"}
    done = subprocess.run(
        [*TRAINER, *arguments], env=environment, capture_output=True, text=True, timeout=WAIT, check=False
    )
    assert done.returncode == ExitCode.OK, done.stderr
    return done.stdout


def test_everything_runs_by_hand_from_an_archive_to_a_table(tmp_path: Path, tiny_model: Path) -> None:
    rows = [
        {"id": f"a{n}", "title": f"{query} number {n} of many", "content": f"{text} {query} and {n} more words follow."}
        for n, (query, text) in enumerate(sentences())
    ]
    archive, out = write_jsonl(tmp_path / "archive.jsonl", rows), tmp_path / "out"
    options = ["--epochs", "1", "--max-sequence-length", "32", "--learning-rate", "0.001", "--hard-negatives", "1"]
    table = by_hand("run", "--archive", str(archive), "--base-model", str(tiny_model), "--out", str(out), *options)
    assert "nDCG@10" in table
    assert "held-out queries" in table
    snapshot = next((out / "local" / "run" / "datasets").iterdir())
    files = {"--corpus": "corpus.jsonl", "--queries": "queries.jsonl", "--qrels": "qrels.tsv"}
    beir = [part for option, name in files.items() for part in (option, str(snapshot / name))]
    answer = json.loads(by_hand("evaluate", "--model", str(out / "model"), "--baseline", str(tiny_model), *beir))
    told = {"ndcgAt10", "mrrAt10", "recallAt10", "queries", "documents", "baseline", "intervals", "verdict"}
    assert told <= answer.keys()
    assert 0 <= answer["baseline"]["ndcgAt10"] <= 1
    stored = json.loads((out / "local" / "run" / "runs" / "run-00000000" / "evaluate" / "result.json").read_text())
    metrics = stored["evaluation"]["metrics"]
    assert answer["ndcgAt10"] == pytest.approx(metrics["ndcgAt10"], abs=1e-4)
    shown = next(line for line in table.splitlines() if "nDCG@10" in line).split()[1:]
    measured = [metrics["bm25"], metrics["base"], metrics, metrics["hybridBaseline"], metrics["hybrid"]]
    assert [*shown[:3], *shown[-2:]] == [f"{one['ndcgAt10']:.3f}" for one in measured]


def test_help_answers_without_the_training_libraries() -> None:
    code = (
        "import sys, attune_trainer.__main__ as cli; from typer.testing import CliRunner;"
        "r = CliRunner().invoke(cli.app, ['--help']); assert r.exit_code == 0 and 'prepare' in r.output;"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'bm25s', 'datasets'} & set(sys.modules); assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_model_that_is_not_there_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    options = ["--model", str(tmp_path / "none"), "--corpus", "c", "--queries", "q"]
    done = subprocess.run([*TRAINER, "evaluate", *options], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == ExitCode.BAD_DATA
    assert done.stdout == ""
    assert "c does not exist" in done.stderr
    assert "Traceback" not in done.stderr
