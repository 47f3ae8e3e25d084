"""Names of Pods on the process node: a file in the form of /etc/hosts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devcluster.node.hosts import Hosts


def pod(**spec: str) -> dict[str, Any]:
    return {"metadata": {"name": "p", "namespace": "team"}, "spec": spec}


def test_a_pod_with_a_host_name_and_a_subdomain_has_the_names_that_dns_would_give_it(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path / "hosts")
    before = hosts.path.read_text()
    shown = hosts.path.open()
    hosts.add(pod(hostname="job-0", subdomain="peers-job"), "127.1.0.5")
    line = hosts.path.read_text().removeprefix(before).split()
    assert line == [
        "127.1.0.5",
        "job-0",
        "job-0.peers-job",
        *(f"job-0.peers-job.team.svc{end}" for end in ("", ".cluster.local")),
    ]
    assert "job-0" in shown.read(), "who has it open, or mounted, sees the change"
    hosts.add(pod(hostname="job-0", subdomain="peers-job"), "127.1.0.9")
    assert hosts.path.read_text().count("peers-job.team.svc.cluster.local") == 1
    assert "127.1.0.9\tjob-0" in hosts.path.read_text()


def test_other_pods_have_none(tmp_path: Path) -> None:
    hosts = Hosts(tmp_path / "hosts")
    before = hosts.path.read_text()
    for spec in ({}, {"hostname": "a"}, {"subdomain": "b"}):
        hosts.add(pod(**spec), "127.1.0.5")
    assert hosts.path.read_text() == before
