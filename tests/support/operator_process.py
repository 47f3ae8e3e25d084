"""The real operator as a process of the tests': start it on a kubeconfig, kill it, start it again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml


class OperatorProcess:
    """One namespace, one replica, quick looks. `server` puts something between it and the API server."""

    def __init__(
        self, kubeconfig: Path, namespace: str, folder: Path, *, server: str | None = None, **settings: str
    ) -> None:
        self._log = folder / "operator.log"
        path = kubeconfig
        if server is not None:
            config = yaml.safe_load(kubeconfig.read_text())
            config["clusters"][0]["cluster"] = {"server": server}
            path = folder / "kubeconfig-proxied"
            path.write_text(yaml.safe_dump(config))
        self._environment = {
            **os.environ,
            "ATTUNE_KUBECONFIG": str(path),
            "ATTUNE_NAMESPACES": namespace,
            "ATTUNE_LEADER_ELECTION": "false",
            "ATTUNE_PROGRESS_SECONDS": "0.5",
            "ATTUNE_RETRY_SECONDS": "0",
            "ATTUNE_HTTP_PORT": "0",
            "ATTUNE_HTTP_HOST": "127.0.0.1",
            "FINETUNE_ENABLED": "true",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "attune"], env=self._environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def stop(self) -> int | None:
        """SIGTERM; the exit code."""
        if self._process is None:
            return None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(30)
