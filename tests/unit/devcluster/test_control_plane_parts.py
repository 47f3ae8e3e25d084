"""What surrounds the control plane: its build cache, its flags, the choice of a cluster, and who counts as running."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from devcluster import Cluster, ClusterError, build, components
from devcluster.choose import choose
from devcluster.components import Layout, Ports, born

PORTS = Ports(10001, 10002, 10003, 10004, 10005, 10006)


def program(folder: Path, name: str, script: str) -> None:
    """An executable of that name, first on the PATH."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'tools'}:/usr/bin:/bin")
    return tmp_path / "tools"


def test_the_binary_is_built_once_for_all_who_ask_at_the_same_time(tools: Path, tmp_path: Path) -> None:
    count = tmp_path / "builds"
    program(tools, "go", f'echo one >> {count}; sleep 0.3; while [ "$1" != -o ]; do shift; done; echo made > "$2"')
    with ThreadPoolExecutor(4) as pool:
        paths = {f.result() for f in [pool.submit(build.binary) for _ in range(4)]}
    assert len(paths) == 1
    assert paths.pop().read_text() == "made\n"
    assert count.read_text() == "one\n"


def test_a_failed_build_says_what_go_said_and_leaves_nothing_that_looks_built(tools: Path, tmp_path: Path) -> None:
    program(tools, "go", "echo 'dial tcp: lookup proxy.example: no such host' >&2; exit 1")
    with pytest.raises(build.BuildFailed, match=r"(?s)no such host.*GOPROXY"):
        build.binary()
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == ["lock"]


def test_every_staging_module_is_replaced_by_the_release_of_the_same_version() -> None:
    text = (build.SOURCES / "go.mod").read_text()
    staged = build.KUBERNETES.replace("v1.", "v0.")
    assert f"k8s.io/kubernetes {build.KUBERNETES}" in text
    replaced = re.findall(r"^\s*(?:replace )?(k8s\.io/\S+) => (k8s\.io/\S+) (\S+)$", text, re.MULTILINE)
    assert len(replaced) == 33
    assert {(old, staged) for old, _, _ in replaced} == {(new, version) for _, new, version in replaced}


@pytest.mark.parametrize(
    "make", [components.etcd, components.api_server, components.controller_manager, components.scheduler]
)
def test_every_process_listens_on_this_machine_only(make: object, tmp_path: Path) -> None:
    assert callable(make)
    flags = dict(flag.partition("=")[::2] for flag in make(Layout(tmp_path), PORTS)[1:])
    heard = [value for name, value in flags.items() if name == "--bind-address" or "-urls" in name]
    assert heard
    assert all(value.removeprefix("http://").startswith("127.0.0.1") for value in heard)


def test_a_process_is_known_by_its_number_and_the_time_of_its_birth() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    first = born(child.pid)
    assert first is not None
    assert int(first) >= int(born(os.getpid()) or 0)
    assert born(child.pid) == first
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert born(child.pid) is None, "a zombie has ended"
    child.wait()
    assert born(child.pid) is None


def test_a_kubeconfig_trusts_one_certificate_and_carries_one_token(tmp_path: Path) -> None:
    made = yaml.safe_load(components.kubeconfig("https://127.0.0.1:1", tmp_path / "ca.crt", "secret", "team"))
    assert made["clusters"][0]["cluster"] == {
        "server": "https://127.0.0.1:1",
        "certificate-authority": str(tmp_path / "ca.crt"),
    }
    assert made["users"][0]["user"] == {"token": "secret"}
    assert made["contexts"][0]["context"]["namespace"] == "team"


def test_the_users_own_cluster_comes_first_and_is_never_stopped(
    tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tools, "kubectl", 'echo "$@"')
    own = tmp_path / "own"
    own.write_text("")
    monkeypatch.setenv("ATTUNE_KUBECONFIG", str(own))
    chosen = choose(tmp_path / "home")
    assert chosen.kubectl("get", "pods") == f"--kubeconfig={own} get pods\n"
    chosen.stop()
    assert not (tmp_path / "home").exists()


def test_a_kubeconfig_that_is_not_there_is_named(tools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(ClusterError, match=r"missing: no such file.*unset it"):
        choose(tmp_path / "home")


def test_what_kubectl_says_is_in_the_error(tools: Path, tmp_path: Path) -> None:
    program(tools, "kubectl", "echo 'the server is on fire' >&2; exit 1")
    cluster = Cluster(tmp_path / "kubeconfig", str(tools / "kubectl"))
    with pytest.raises(ClusterError, match="kubectl get pods: the server is on fire"):
        cluster.kubectl("get", "pods")
    assert cluster.kubectl("get", "pods", check=False) == "the server is on fire\n"
