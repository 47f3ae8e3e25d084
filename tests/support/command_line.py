"""`attune` as its users run it: the installed script, as a process, on a kubeconfig."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SCRIPTS = Path(sys.executable).parent
SECONDS = 120


@dataclass(frozen=True)
class Done:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """Runs `attune ARGUMENTS` in a namespace; `columns` is the width of the terminal that it thinks it has."""

    kubeconfig: Path
    namespace: str
    columns: int = 120
    environment: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str) -> Done:
        return self.of([str(SCRIPTS / "attune"), *arguments, "-n", self.namespace])

    def ok(self, *arguments: str) -> Done:
        """As a call, and it must end well."""
        done = self(*arguments)
        assert done.code == 0, f"{arguments}: exit code {done.code}\n{done.out}\n{done.err}"
        return done

    def of(self, command: list[str]) -> Done:
        """Any command in this environment, with the installed scripts on the PATH."""
        process = self.start(command)
        out, err = process.communicate(timeout=SECONDS)
        assert "Traceback" not in err, err
        return Done(process.returncode, out, err)

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "KUBECONFIG": str(self.kubeconfig),
            "COLUMNS": str(self.columns),
            "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
            **self.environment,
        }
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
