"""An import that gets SIGTERM in the middle of the export, where the exporter catches what is raised.

Run as a process: `python interrupted_export.py SPEC WHERE`. Its exit code is the stage's.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attune.contract import Progress, StageSpec

EXPORTS = 92
"""Percent of the stage at which the export begins."""
SENT = "SIGTERM was sent"


def _send() -> None:
    os.write(1, SENT.encode())  # the exporter takes sys.stdout
    os.kill(os.getpid(), signal.SIGTERM)


def _while_tracing() -> None:
    """The exporter turns it into an error of its own."""
    import torch

    normalize = torch.nn.functional.normalize

    def forward(*args: Any, **more: Any) -> Any:
        _send()
        return normalize(*args, **more)

    torch.nn.functional.normalize = forward  # type: ignore[assignment]


def _while_operators_are_registered() -> None:
    """The exporter logs it and goes on."""
    registration = importlib.import_module("torch.onnx._internal.exporter._registration")
    made, sent = registration.OnnxDecompMeta, []

    def meta(*args: Any, **more: Any) -> Any:
        if not sent:
            sent.append(True)
            _send()
        return made(*args, **more)

    registration.OnnxDecompMeta = meta  # type: ignore[attr-defined]


WHERE: dict[str, Callable[[], None]] = {"tracing": _while_tracing, "registering": _while_operators_are_registered}


def main(spec: Path, where: str) -> int:
    from attune_trainer.running import run
    from attune_trainer.signals import Termination

    def arm(progress: Progress) -> None:
        if progress.percent == EXPORTS:
            WHERE[where]()

    with Termination().installed() as termination:
        return int(run(StageSpec.from_json(spec.read_text()), termination, arm, interval=0).exit_code)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
