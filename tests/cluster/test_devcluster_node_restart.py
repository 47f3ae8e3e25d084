"""The process node when it starts again, or is killed: what becomes of its Pods. On a control plane of its own."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import Cluster, ClusterError
from devcluster.build import cache_folder
from devcluster_pods import Namespace, container, ended, pod, status_of, wait_for

SLEEP = "import time; print('ready', flush=True); time.sleep(600)"


@pytest.fixture
def home() -> Iterator[Path]:
    base = cache_folder() / "runs"
    base.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="life-", dir=base))
    yield made
    for pid in processes(made):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(made, ignore_errors=True)


def processes(home: Path) -> dict[int, str]:
    """Processes with this folder in their command line or in their environment: control plane, node and Pods."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes() + b"\0" + (folder / "environ").read_bytes()
        except OSError:
            continue
        if str(home).encode() in words:
            found[int(folder.name)] = words.split(b"\0\0")[0].replace(b"\0", b" ").decode(errors="replace")
    return found


def the_one(home: Path, word: str) -> int:
    (pid,) = [pid for pid, command in processes(home).items() if word in command]
    return pid


def run_pods(cluster: Cluster) -> Namespace:
    """One Pod that is never restarted and one that always is; both run."""
    space = Namespace(cluster, "default")
    space.apply(pod("never", container(SLEEP)), pod("always", container(SLEEP), restartPolicy="Always"))
    for name in ("never", "always"):
        wait_for(lambda n=name: "ready" in space.kubectl("logs", n, check=False), f"{name} runs")
    return space


def test_pods_of_an_earlier_node_are_told_to_be_lost_or_start_again(home: Path) -> None:
    """As on a machine that was switched off and on. At last the node is killed, and everything ends with it."""
    first = Cluster.start(home)
    run_pods(first)
    first.stop()
    assert not processes(home)

    space = Namespace(Cluster.start(home), "default")
    lost = space.phase("never", "Failed")
    assert (ended(lost)["exitCode"], ended(lost)["reason"]) == (137, "ContainerStatusUnknown")
    assert space.output("never") == "ready\n"
    again = space.until("pod", "always", lambda p: status_of(p)["restartCount"] == 1)
    assert again["status"]["phase"] == "Running"
    assert space.output("always", "--previous") == "ready\n"
    os.kill(the_one(home, "devcluster.node "), signal.SIGKILL)
    wait_for(lambda: not processes(home), "everything ends", 20)
    with pytest.raises(ClusterError, match="no control plane runs"):
        Cluster.attach(home)
