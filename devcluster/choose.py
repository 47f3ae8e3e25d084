"""Which cluster tests and tools use: the user's own, kind, or the embedded one. In this order."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from devcluster.cluster import Cluster, ClusterError

KIND_NAME = "attune"


def choose(home: Path, *, images: Path | None = None, owner: int | None = None) -> Cluster:
    """`ATTUNE_KUBECONFIG`, then a kind cluster where an engine answers, then an embedded control plane in `home`.

    The embedded one ends with process `owner`, the calling one by default.
    """
    given = os.environ.get("ATTUNE_KUBECONFIG")
    if given:
        path = Path(given).expanduser()
        if not path.is_file():
            raise ClusterError(
                f"ATTUNE_KUBECONFIG={given}: no such file; name a kubeconfig, or unset it for the embedded cluster"
            )
        return Cluster(path, _kubectl())
    if _kind_answers():
        return _kind(home)
    return Cluster.start(home, images=images, owner=owner)


def _kubectl() -> str:
    found = shutil.which("kubectl")
    if found is None:
        raise ClusterError("no kubectl on the PATH; install it, or unset ATTUNE_KUBECONFIG")
    return found


def _kind_answers() -> bool:
    """kind is installed and a container engine runs."""
    if shutil.which("kind") is None:
        return False
    engine = shutil.which("docker") or shutil.which("podman")
    return (
        engine is not None
        and subprocess.run([engine, "info"], capture_output=True, check=False, timeout=20).returncode == 0
    )


def _kind(home: Path) -> Cluster:
    """Our kind cluster, made if there is none; it stays up for the next run. `make images` brings our images there."""
    home.mkdir(parents=True, exist_ok=True)
    path = home / "kubeconfig-kind"
    have = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False).stdout.split()
    command = ["export", "kubeconfig"] if KIND_NAME in have else ["create", "cluster", "--wait", "120s"]
    made = subprocess.run(
        ["kind", *command, "--name", KIND_NAME, "--kubeconfig", str(path)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise ClusterError(f"kind {' '.join(command)}: {made.stderr.strip()}")
    return Cluster(path, _kubectl())
