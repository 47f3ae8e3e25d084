"""A training that hangs ends itself: with a reason, an exit code that is tried again, and no help from the main thread."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from attune.contract import ExitCode, StageResult
from attune_trainer.errors import Stalled
from attune_trainer.train.stall import DEFAULT_SECONDS, StallGuard, limit_seconds


def test_signs_of_life_keep_it_quiet_and_silence_ends_it_once() -> None:
    ends: list[Stalled] = []
    guard = StallGuard(ends.append, limit=0.4)
    with guard.watching():
        for step in range(8):
            time.sleep(0.1)
            guard.beat(f"after step {step} of 8")
        assert ends == []
        time.sleep(1.0)
    (stalled,) = ends
    assert stalled.reason == "Stalled"
    assert not ExitCode.is_final(stalled.exit_code)
    assert "after step 7 of 8" in str(stalled)
    assert "ATTUNE_STALL_SECONDS" in str(stalled)


def test_nobody_looks_once_the_run_is_over_or_where_it_is_turned_off() -> None:
    ends: list[Stalled] = []
    with StallGuard(ends.append, limit=0.2).watching():
        pass
    with StallGuard(ends.append, limit=0).watching():
        time.sleep(0.3)
    time.sleep(0.4)
    assert ends == []


def test_the_limit_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_STALL_SECONDS", "90")
    assert limit_seconds() == 90
    monkeypatch.setenv("ATTUNE_STALL_SECONDS", "soon")
    assert limit_seconds() == DEFAULT_SECONDS


HANGING = """
import sys, time
from functools import partial
from pathlib import Path
from attune.contract import OwnerRef, Stage, StageSpec, TrainingConfig
from attune_trainer.running import _give_up, _now
from attune_trainer.train.stall import StallGuard
from attune_trainer.train.world import ALONE
spec = StageSpec(stage=Stage.TRAIN, owner=OwnerRef(kind="TrainingJob", namespace="n", name="t", uid="1" * 8), retriever="r",
                 storage=sys.argv[1], config=TrainingConfig(base_model="-"))
with StallGuard(partial(_give_up, spec, _now(), ALONE), limit=0.3).watching():
    time.sleep(60)
"""


def test_the_process_ends_while_its_main_thread_hangs_and_leaves_its_result(tmp_path: Path) -> None:
    end = tmp_path / "end"
    env = {"ATTUNE_TERMINATION_LOG": str(end), "PATH": "/usr/bin"}
    argv = [sys.executable, "-c", HANGING, str(tmp_path / "store")]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=55, check=False)
    assert done.returncode == ExitCode.UNEXPECTED, done.stderr
    told = StageResult.from_termination_message(end.read_text())
    assert told is not None
    assert (told.succeeded, told.reason) == (False, "Stalled")
    (stored,) = (tmp_path / "store").rglob("result.json")
    assert json.loads(stored.read_text())["reason"] == "Stalled"
