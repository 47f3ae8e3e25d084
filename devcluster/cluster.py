"""A control plane as a value: start, reach, stop. Used by the CLI, the tests and the demo."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import yaml

from devcluster.build import binary
from devcluster.components import Layout, kubeconfig

START_SECONDS = 180


class ClusterError(Exception):
    """A command did not do what was asked. The message holds what it printed."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A control plane that answers. `home` is None for a cluster of the user's, which is never stopped."""

    kubeconfig: Path
    executable: str
    home: Path | None = None

    @classmethod
    def start(cls, home: Path, *, images: Path | None = None, gpus: int = 0, ephemeral: bool = True) -> Cluster:
        """Start the control plane in a folder and wait until it is ready; one that runs there already is taken.

        `ephemeral`: it ends with the calling process, however that ends. Raises ClusterError with the end of the log.
        """
        executable = str(binary())
        layout = Layout(home.resolve())
        if _running(layout) is None:
            layout.home.mkdir(parents=True, exist_ok=True)
            _launch(layout, images, gpus, os.getpid() if ephemeral else None)
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
        os.kill(state["pid"], signal.SIGTERM)
        until = monotonic() + 40
        while _alive(state["pid"]) and monotonic() < until:
            sleep(0.05)

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


def _launch(layout: Layout, images: Path | None, gpus: int, parent: int | None) -> None:
    command = [sys.executable, "-m", "devcluster.supervisor", str(layout.home), "--gpus", str(gpus)]
    command += ["--images", str(images.resolve())] if images else []
    command += ["--parent", str(parent)] if parent else []
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
    while _running(layout) is None:
        if process.poll() is not None or monotonic() > until:
            process.terminate()
            raise ClusterError(f"the control plane did not start:\n{log_path.read_text()[-4000:]}")
        sleep(0.05)


def _running(layout: Layout) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads(layout.state.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return state if _alive(state["pid"]) else None


def _alive(pid: int) -> bool:
    """False for a zombie, too: it has ended, only nobody has looked."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
