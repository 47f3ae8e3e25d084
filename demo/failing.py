"""The end of the demo: a version that starts to fail under traffic is taken back by itself, and no search fails."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from time import monotonic, sleep
from typing import Any

import httpx
from rich.console import Console

from demo.forward import QUERIES, Attune
from demo.show import GaveUp, Thing
from devcluster import Cluster

CALM_SECONDS, PATIENCE_SECONDS = 5.0, 120.0
PER_SECOND = 20


class Searches:
    """Users: so many searches a second, each answer counted by version and status."""

    def __init__(self, address: str) -> None:
        self._url = f"http://{address}/v1/search"
        self._stopped = threading.Event()
        self.answers: Counter[tuple[int, str, bool]] = Counter()
        """(status, version that answered, in place of another one) → how often."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(30)

    def _run(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            number = 0
            while not self._stopped.wait(1 / PER_SECOND):
                number += 1
                answer = client.post(self._url, json={"query": QUERIES[number % len(QUERIES)], "top_k": 3})
                version = answer.headers.get("x-attune-version", "")
                self.answers[answer.status_code, version, "x-attune-fallback" in answer.headers] += 1


def fail_and_be_taken_back(console: Console, cluster: Cluster, namespace: str, version: str) -> bool:
    """Promote, search, break the version's collection, watch; True when it was taken back and no search failed."""
    attune = Attune(console, cluster, namespace)
    console.rule("10. a version that starts to fail: promoted, searched, its collection lost")
    attune("promote", version, "--yes", "--timeout", "300")
    searches = Searches(_pod(cluster, namespace))
    try:
        sleep(CALM_SECONDS)
        console.print(
            "$ mv COLLECTION away    # the vector index of the new version is gone; nobody does anything more",
            style="dim",
        )
        _lose_collection(cluster, namespace, version)
        began = monotonic()
        _until_taken_back(cluster, namespace, version)
        took = monotonic() - began
        sleep(1)
    finally:
        searches.stop()
    failed = sum(count for (status, _, _), count in searches.answers.items() if status != 200)
    rescued = sum(count for (_, _, instead), count in searches.answers.items() if instead)
    total = searches.answers.total()
    console.print(
        f"taken back {took:.1f} s after its collection was lost. {total} searches, {failed} failed; {rescued} of them failed in {version} "
        "and were answered by the version before, in the same request"
    )
    attune("status")
    attune("history", "docs")
    console.print(f"[bold]{_said(cluster, namespace)}[/bold]", highlight=False)
    return failed == 0


def _pod(cluster: Cluster, namespace: str) -> str:
    pods = cluster.get("pods", "-n", namespace, "-l", "attune.dev/component=serving")["items"]
    ready = [p for p in pods if p.get("status", {}).get("podIP") and not p["metadata"].get("deletionTimestamp")]
    if not ready:
        raise GaveUp("there is no serving Pod")
    return f"{ready[0]['status']['podIP']}:8000"


def _lose_collection(cluster: Cluster, namespace: str, version: str) -> None:
    collection = cluster.get("modelversion", version, "-n", namespace)["status"]["index"]["collection"]
    folder = cluster.claim_folder(namespace, "docs")
    found = next(path for path in folder.rglob(f"{collection}*") if path.is_dir())
    shutil.move(found, found.with_name(f"away-{collection}"))


def _until_taken_back(cluster: Cluster, namespace: str, version: str) -> None:
    end = monotonic() + PATIENCE_SECONDS
    while _retriever(cluster, namespace)["status"]["embedding"]["active"] == version:
        if monotonic() > end:
            raise GaveUp(f"{version} was not taken back within {PATIENCE_SECONDS:g} s")
        sleep(0.1)


def _said(cluster: Cluster, namespace: str) -> str:
    conditions: list[dict[str, Any]] = _retriever(cluster, namespace)["status"]["conditions"]
    found = next(c for c in conditions if c["type"] == "RolledBack")
    return f"RolledBack={found['status']} ({found['reason']}): {found['message']}"


def _retriever(cluster: Cluster, namespace: str) -> Thing:
    found: Thing = json.loads(cluster.kubectl("get", "retriever", "docs", "-n", namespace, "-o", "json"))
    return found
