"""A control plane as a value: start, reach, stop. Used by the CLI, the tests and the demo."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import yaml

from devcluster.build import binary
from devcluster.components import Layout, born, kubeconfig

START_SECONDS, STOP_SECONDS = 180, 40


class ClusterError(Exception):
    """A command did not do what was asked. The message holds what it printed."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A control plane that answers. `home` is None for a cluster of the user's, which is never stopped."""

    kubeconfig: Path
    executable: str
    home: Path | None = None

    @classmethod
    def start(
        cls, home: Path, *, images: Path | None = None, gpus: int = 0, ephemeral: bool = True, owner: int | None = None
    ) -> Cluster:
        """Start the control plane in a folder and wait until it is ready; one that runs there already is taken.

        `ephemeral`: it ends with process `owner`, the calling one by default, however that ends. Raises ClusterError
        with the end of the log.
        """
        executable = str(binary())
        layout = Layout(home.resolve())
        layout.home.mkdir(parents=True, exist_ok=True)
        options = ["--gpus", str(gpus), "--owner", str(owner or os.getpid())]
        options += ["--images", str(images.resolve())] if images else []
        options += [] if ephemeral else ["--detach"]
        with _one_starter(layout):
            if _running(layout) is None:
                _launch(layout, options)
        return cls(layout.kubeconfig, executable, layout.home)

    @classmethod
    def attach(cls, home: Path) -> Cluster:
        """The control plane that runs in this folder; raises ClusterError where none does."""
        layout = Layout(home.resolve())
        state = _running(layout)
        if state is None:
            raise ClusterError(
                f"no control plane runs in {home}; start one with `python -m devcluster up --dir {home}`"
            )
        return cls(layout.kubeconfig, state["executable"], layout.home)

    def stop(self) -> None:
        """End it with all its Pods. What does not run is fine."""
        if self.home is None:
            return
        state = _running(Layout(self.home))
        if state is None:
            return
        _end(state["pid"], state["born"], STOP_SECONDS)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """What `kubectl ARGUMENTS` prints; raises ClusterError with its words when it fails."""
        command = [self.executable, "kubectl", f"--kubeconfig={self.kubeconfig}", *arguments]
        if Path(self.executable).name != "controlplane":
            command.pop(1)
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if check and done.returncode != 0:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout if done.returncode == 0 else done.stdout + done.stderr

    def get(self, *arguments: str) -> dict[str, Any]:
        """`kubectl get … -o json`."""
        found: dict[str, Any] = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """A kubeconfig that acts as this ServiceAccount, with exactly its rights."""
        if self.home is None:
            raise ClusterError("service_account_kubeconfig works with the embedded control plane only")
        token = self.kubectl("create", "token", name, "-n", namespace, "--duration=24h").strip()
        known = yaml.safe_load(self.kubeconfig.read_text())["clusters"][0]["cluster"]
        path = self.home / f"kubeconfig-{namespace}-{name}"
        path.touch(mode=0o600)
        path.write_text(kubeconfig(known["server"], Path(known["certificate-authority"]), token, namespace))
        return path

    def claim_folder(self, namespace: str, claim: str) -> Path:
        """The folder on this machine behind a bound PersistentVolumeClaim."""
        volume = self.get("pvc", claim, "-n", namespace)["spec"].get("volumeName")
        if not volume:
            raise ClusterError(f"PersistentVolumeClaim {namespace}/{claim} is not bound yet")
        return Path(self.get("pv", volume)["spec"]["hostPath"]["path"])


@contextmanager
def _one_starter(layout: Layout) -> Iterator[None]:
    """Whoever comes second waits, and finds the control plane of the first."""
    with (layout.home / "start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _launch(layout: Layout, options: list[str]) -> None:
    """Start a supervisor and wait for its state file. Interrupted or failed, it leaves nothing running."""
    command = [sys.executable, "-m", "devcluster.supervisor", str(layout.home), *options]
    log_path = layout.home / "supervisor.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=Path(__file__).parent.parent,
        )
    until = monotonic() + START_SECONDS
    try:
        while _running(layout) is None:
            if process.poll() is not None or monotonic() > until:
                raise ClusterError(f"the control plane did not start:\n{log_path.read_text()[-4000:]}")
            sleep(0.05)
    except BaseException:  # Ctrl-C, too
        _end(process.pid, born(process.pid), STOP_SECONDS)
        raise


def _end(pid: int, of: str | None, seconds: float) -> None:
    """SIGTERM, and SIGKILL to one that does not obey: its children go with it. Another process of that number is left alone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = monotonic() + seconds
        if of is not None and born(pid) == of:
            os.kill(pid, number)
        while of is not None and born(pid) == of and monotonic() < until:
            sleep(0.05)


def _running(layout: Layout) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads(layout.state.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return state if state.get("born") and born(state["pid"]) == state["born"] else None
