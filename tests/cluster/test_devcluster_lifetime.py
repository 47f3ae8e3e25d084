"""The embedded control plane starts once, survives a restart, and never leaves a process behind. Clusters of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster import Cluster, ClusterError
from devcluster.build import cache_folder
from devcluster.components import Layout
from devcluster_pods import Namespace, container, pod, wait_for

ROOT = Path(__file__).parents[2]
STARTER = """
import sys, time
from pathlib import Path
from devcluster import Cluster
Cluster.start(Path(sys.argv[1]))
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder outside /tmp; whatever a failed test leaves running there is ended."""
    base = cache_folder() / "runs"
    base.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="life-", dir=base))
    yield made
    for pid in processes(made):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(made, ignore_errors=True)


def processes(home: Path) -> list[int]:
    """Who runs with this folder on its command line or as its working directory; not the one who asks."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            about = (entry / "cmdline").read_bytes().decode(errors="replace") + str((entry / "cwd").readlink())
        except OSError:
            continue
        if str(home) in about:
            found.append(int(entry.name))
    return found


def commands(home: Path) -> list[str]:
    """The command lines of these processes; one that has just ended is left out."""
    found = []
    for pid in processes(home):
        with contextlib.suppress(OSError):
            found.append(
                Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            )
    return found


def devcluster(home: Path, *arguments: str) -> subprocess.Popen[str]:
    # A shell that runs the tests in the background lets its children ignore Ctrl-C.
    hears = ("env", "--default-signal=INT")
    command = [*hears, sys.executable, "-m", "devcluster", *arguments[:1], "--dir", str(home), *arguments[1:]]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def run_sleeper(cluster: Cluster, home: Path) -> None:
    """A Pod that runs for ever, with a child of its own that left its session."""
    script = "import subprocess, sys, time; subprocess.Popen(['sleep', '600'], start_new_session=True); time.sleep(600)"
    space = Namespace(cluster, "default")
    space.apply(pod("sleeper", container(script)))
    space.phase("sleeper", "Running")
    wait_for(lambda: "sleep 600" in commands(home), "the Pod's program has started its child")


def test_kill_9_of_the_starter_leaves_no_process(home: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(home)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    assert starter.stdout.readline() == "ready\n"
    run_sleeper(Cluster.attach(home), home)
    starter.kill()
    starter.wait()
    wait_for(lambda: not processes(home), "all processes ended")


def test_kill_9_of_the_supervisor_leaves_no_process_and_the_folder_starts_again(home: Path) -> None:
    cluster = Cluster.start(home)
    run_sleeper(cluster, home)
    os.kill(json.loads(Layout(home).state.read_text())["pid"], signal.SIGKILL)
    wait_for(lambda: not processes(home), "all processes ended")
    with pytest.raises(ClusterError, match="no control plane runs"):
        Cluster.attach(home)
    again = Cluster.start(home)
    assert again.get("pod", "sleeper", "-n", "default")["metadata"]["name"] == "sleeper"
    again.stop()
    wait_for(lambda: not processes(home), "all processes ended")


def test_ctrl_c_while_it_starts_leaves_no_process(home: Path) -> None:
    starting = devcluster(home, "up")
    wait_for(lambda: len(processes(home)) >= 3, "the supervisor and its first child run")
    starting.send_signal(signal.SIGINT)
    assert starting.wait(60) != 0
    assert processes(home) == []


def test_two_who_start_at_once_share_one_control_plane_that_outlives_them(home: Path) -> None:
    both = [devcluster(home, "up") for _ in range(2)]
    said = [starter.communicate(timeout=180)[0] for starter in both]
    assert said == [f"export KUBECONFIG={home}/kubeconfig\n"] * 2
    assert "process-node" in devcluster(home, "status").communicate(timeout=60)[0]
    kubectl = devcluster(home, "kubectl", "--", "get", "node", "process-node", "-o", "name")
    assert kubectl.communicate(timeout=60)[0] == "node/process-node\n"
    assert devcluster(home, "kubeconfig").communicate(timeout=60)[0] == f"{home}/kubeconfig\n"
    assert sum("--data-dir" in command for command in commands(home)) == 1
    down = devcluster(home, "down")
    assert down.wait(60) == 0
    assert processes(home) == []


def test_down_leaves_a_stranger_alone_who_got_the_number_of_a_supervisor_that_crashed(home: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    Layout(home).state.write_text(json.dumps({"pid": stranger.pid, "born": "1", "executable": "/nowhere"}))
    said = devcluster(home, "down").communicate(timeout=60)[0]
    assert said == f"nothing runs in {home}\n"
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_status_where_nothing_runs_says_how_to_start(home: Path) -> None:
    status = devcluster(home, "status")
    said = status.communicate(timeout=60)[1]
    assert status.returncode == 1
    assert f"python -m devcluster up --dir {home}" in said


def test_the_nodes_gpus_are_as_many_as_were_asked_for(home: Path) -> None:
    cluster = Cluster.start(home, gpus=3)
    assert cluster.get("node", "process-node")["status"]["allocatable"]["nvidia.com/gpu"] == "3"
    space = Namespace(cluster, "default")
    wants = {"limits": {"nvidia.com/gpu": "2"}}
    space.apply(pod("one", container("import time; time.sleep(600)", resources=wants)))
    space.phase("one", "Running")
    space.apply(pod("two", container("print()", resources=wants)))
    refused = space.until("pod", "two", lambda p: p["status"].get("conditions"))
    assert "Insufficient nvidia.com/gpu" in str(refused["status"]["conditions"])
    cluster.stop()
    assert processes(home) == []
