"""kill -9 of the real operator before and after every API write of a training run, on the real control plane."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from operator_process import OperatorProcess
from recording_proxy import RecordingProxy
from scripted_world import manifests

SECONDS = 400
VARYING = re.compile(rb'[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z|"resourceVersion": ?"[0-9]+"')


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[RecordingProxy]:
    known = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    made = RecordingProxy(known["server"], known["certificate-authority"]).start()
    yield made
    made.stop()


def end_state(cluster: Cluster, namespace: str) -> dict[str, Any]:
    """What users see at the end, without times, uids and hashes of uids."""
    job = cluster.get("tj", "tune", "-n", namespace)
    versions = cluster.get("mv", "-n", namespace)["items"]
    jobs = cluster.get("jobs", "-n", namespace)["items"]
    status = job["status"]
    return {
        "phase": status["phase"],
        "reason": status["reason"],
        "message": status["message"],
        "version": status["modelVersion"],
        "attempts": [(a["stage"], a["number"], a["exitCode"], a["reason"]) for a in status["attempts"]],
        "conditions": {c["type"]: (c["status"], c["reason"], c["message"]) for c in status["conditions"]},
        "versions": {v["metadata"]["name"]: (v["status"]["stage"], v["status"]["evaluationMetrics"]) for v in versions},
        "active": cluster.get("rtr", "news", "-n", namespace)["status"]["embedding"]["active"],
        "jobs": sorted(
            (j["metadata"]["labels"]["attune.dev/stage"], j["metadata"]["labels"]["attune.dev/attempt"]) for j in jobs
        ),
    }


def settled(cluster: Cluster, namespace: str) -> bool:
    job = cluster.get("tj", "tune", "-n", namespace).get("status", {})
    versions = [v.get("status", {}) for v in cluster.get("mv", "-n", namespace)["items"]]
    stages = sorted(str(v.get("stage")) for v in versions)
    indexed = all("index" in v for v in versions)
    return job.get("phase") in {"Succeeded", "Failed"} and stages == ["active", "staged"] and indexed


def job_creations(proxy: RecordingProxy) -> int:
    return sum(verb == "POST" and path.endswith("/jobs") and status == 201 for verb, path, status in proxy.writes)


def test_a_kill_before_and_after_every_write_ends_as_the_undisturbed_run(
    cluster: Cluster, proxy: RecordingProxy, tmp_path: Path
) -> None:
    calm, kills_none = run(cluster, proxy, tmp_path / "calm", kill=False)
    created_calm = job_creations(proxy)
    proxy.writes.clear()
    stormy, kills = run(cluster, proxy, tmp_path / "stormy", kill=True)
    assert kills_none == 0
    assert kills >= 30
    assert stormy == calm
    assert created_calm == job_creations(proxy) == len(calm["jobs"]) == 8


class KillEverywhere:
    """Kills at the first try of each write before it is passed on, at the second after; the third is let through.

    A write is known by its verb, path and content, without what differs from try to try: times and resourceVersions.
    """

    def __init__(self) -> None:
        self.kills: list[tuple[str, str, str]] = []
        self._tries: Counter[tuple[str, str, bytes]] = Counter()

    def __call__(self, verb: str, path: str, body: bytes) -> str | None:
        write = verb, path, VARYING.sub(b"", body)
        self._tries[write] += 1
        when = {1: "before", 2: "after"}.get(self._tries[write])
        if when is not None:
            self.kills.append((when, verb, path))
        return when


def run(cluster: Cluster, proxy: RecordingProxy, folder: Path, *, kill: bool) -> tuple[dict[str, Any], int]:
    """One training run in a namespace of its own; with `kill`, every write is met by a kill before and a kill after it."""
    folder.mkdir()
    namespace = f"kill-{folder.name}"
    cluster.kubectl("create", "namespace", namespace)
    operator = OperatorProcess(
        cluster.kubeconfig, namespace, folder, server=proxy.url, ATTUNE_TRAINER_IMAGE="scripted-trainer:test"
    )
    proxy.kill = operator.kill
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=manifests())
    killer = KillEverywhere()
    proxy.plan = killer if kill else lambda verb, path, body: None
    until = time.monotonic() + SECONDS
    try:
        while not settled(cluster, namespace):
            assert time.monotonic() < until, operator.log[-3000:]
            if not operator.running:
                operator.start()
            time.sleep(0.1)
    finally:
        operator.kill()
    state = end_state(cluster, namespace)
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    return state, len(killer.kills)
