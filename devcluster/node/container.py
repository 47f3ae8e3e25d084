"""One container as a process in a session of its own: start, wait, stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from devcluster.node.volumes import Mount

LAUNCHER = Path(__file__).with_name("launch.py")
PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
KEPT_BYTES = 4096


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
        spec = run / "launch.json"
        spec.write_text(
            json.dumps(
                {
                    "argv": program.argv,
                    "env": program.env,
                    "cwd": program.cwd or str(run / "home"),
                    "scratch": str(run),
                    "mounts": [
                        {"source": str(m.source), "target": m.target, "readOnly": m.read_only} for m in program.mounts
                    ],
                }
            )
        )
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(LAUNCHER),
                str(spec),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(process)

    async def wait(self) -> int:
        """Exit code; 128 + n when a signal ended it, as container runtimes report it."""
        code = await self._process.wait()
        self._signal(signal.SIGKILL)  # what it left behind in its session
        return code if code >= 0 else 128 - code

    async def stop(self, grace: float) -> int:
        """SIGTERM, then SIGKILL after `grace` seconds; answers the exit code."""
        self._signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.wait(), max(grace, 0.01))
        except TimeoutError:
            self._signal(signal.SIGKILL)
            return await self.wait()

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return


def base_environment(folder: Path) -> dict[str, str]:
    """What an image would set. Nothing of the environment that the node itself was started in."""
    return {"PATH": PATH, "HOME": str(folder), "LANG": "C.UTF-8", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def message_of(termination_log: Path, log: Path, policy: str, exit_code: int) -> str:
    """The termination message: at most 4 KiB of the file, or of the log's end where that is asked for."""
    text = termination_log.read_bytes()[:KEPT_BYTES] if termination_log.exists() else b""
    if not text and policy == "FallbackToLogsOnError" and exit_code != 0:
        text = log.read_bytes()[-2048:]
    return text.decode(errors="replace")
