"""One stage in a process of its own, that a test may kill at any moment. The process is made by a server that has the libraries loaded."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import ForkServerProcess

from attune.contract import StageSpec

_CONTEXT = multiprocessing.get_context("forkserver")
LOADED = (
    "openai.resources.fine_tuning",
    "openai.resources.files",
    "attune_trainer.running",
    "attune_trainer.hosted.artifact",
    "attune_trainer.hosted.fine_tuning",
    "attune_trainer.train.pairs",
    "safetensors.numpy",
)
_CONTEXT.set_forkserver_preload(list(LOADED))


def _run(spec: str) -> None:
    from attune_trainer.running import run
    from attune_trainer.signals import Termination

    with Termination().installed() as termination:
        ended = run(StageSpec.from_json(spec), termination, lambda _: None)
    os._exit(int(ended.exit_code))


def started(spec: StageSpec) -> ForkServerProcess:
    """At work; `join` it, `kill` it."""
    process = _CONTEXT.Process(target=_run, args=(spec.to_json(),), daemon=True)
    process.start()
    return process
