"""One container as a process with a session, mounts and a process namespace of its own: start, wait, stop."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from devcluster.node.volumes import Mount

LAUNCHER = Path(__file__).with_name("launch.py")
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
PROGRAMS = sorted({sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[2])})
"""What images would hold: the environment, its Python, and the checkout that the environment's packages lie in."""
KEPT_BYTES, FALLBACK_BYTES = 4096, 2048


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, and how it sees the world."""

    argv: tuple[str, ...]
    env: dict[str, str]
    mounts: tuple[Mount, ...]
    folder: Path
    """The container's own folder: scratch, working directory, logs."""
    cwd: str | None = None


class Process:
    """A running program."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, program: Program, log: Path) -> Process:
        """Start it, its output going to `log`. A program that cannot be started ends with 128 and says why there."""
        run = program.folder / f"run-{log.stem}"
        (run / "home").mkdir(parents=True, exist_ok=True)
        mounts = [{"source": str(m.source), "target": m.target, "readOnly": m.read_only} for m in program.mounts]
        spec = {
            "argv": program.argv,
            "env": program.env,
            "cwd": program.cwd or str(run / "home"),
            "scratch": str(run),
            "mounts": mounts,
            "programs": PROGRAMS,
        }
        with log.open("ab") as output:
            return cls(await _launch(spec, run / "launch.json", output))

    async def execute(self, command: list[str], env: dict[str, str], folder: Path) -> int:
        """Run a command inside the container, without output; ended with it when the caller is cancelled."""
        spec = {"argv": command, "env": env, "cwd": "/", "enter": self._process.pid}
        with tempfile.NamedTemporaryFile(dir=folder, suffix=".json") as file:
            inside = Process(await _launch(spec, Path(file.name), asyncio.subprocess.DEVNULL))
            try:
                return await inside.wait()
            finally:
                inside.kill()

    async def wait(self) -> int:
        """Exit code; 128 + n when a signal ended it, as container runtimes report it."""
        code = await self._process.wait()
        return code if code >= 0 else 128 - code

    def terminate(self) -> None:
        """SIGTERM, to the program only."""
        if self._process.returncode is None:
            self._process.terminate()

    def kill(self) -> None:
        """SIGKILL, to all that the container runs."""
        if self._process.returncode is None:
            self._process.kill()


async def _launch(spec: dict[str, Any], path: Path, output: IO[bytes] | int) -> asyncio.subprocess.Process:
    path.write_text(json.dumps({**spec, "parent": os.getpid()}))
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-I",
        "-S",
        str(LAUNCHER),
        str(path),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def base_environment(folder: Path) -> dict[str, str]:
    """What an image would set. Nothing of the environment that the node itself was started in."""
    return {"PATH": PATH, "HOME": str(folder), "LANG": "C.UTF-8", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def message_of(termination_log: Path, log: Path, policy: str, exit_code: int) -> str:
    """The termination message: at most 4 KiB of the file, or of the log's end where that is asked for."""
    text = termination_log.read_bytes()[:KEPT_BYTES] if termination_log.exists() else b""
    if not text and policy == "FallbackToLogsOnError" and exit_code != 0:
        text = log.read_bytes()[-FALLBACK_BYTES:]
    return text.decode(errors="replace")
