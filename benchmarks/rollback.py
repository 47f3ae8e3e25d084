"""How long a bad version serves, and what users notice: by alert, by polling, by the inline guard.

Run by hand: `PYTHONPATH=tests/support python benchmarks/rollback.py`. Everything is real: control plane, operator, two serving Pods,
Prometheus with a 5 s scrape, Alertmanager, users who search. A version breaks by losing its collection under load. Times end when the
last replica answers by the version before, as it says itself, asked fifty times a second.

    alert     from the moment Alertmanager's request arrived at the operator
    polling   from the first failing request; the guard is off
    guard     from the first failing request; nobody reads Prometheus, no alert is sent

Beside it the arithmetic of Flagger and Argo Rollouts from their documented intervals and thresholds. Writes results/rollback.json.
"""

import json
import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import typer

from benchmarks.machine import machine
from devcluster import Cluster
from devcluster.build import cache_folder
from load import failures  # type: ignore[import-not-found]
from watched_world import WatchedWorld  # type: ignore[import-not-found]

RATE = 50
RESULTS = Path(__file__).parent / "results" / "rollback.json"
ROOT = Path(__file__).parents[1]
PEERS = {
    "flagger": {
        "setting": "the canary of its documentation: analysis.interval 1m, threshold 5 failed checks (another page has 10s and 10)",
        "source": "https://docs.flagger.app/usage/how-it-works",
        "secondsUntilRollback": 5 * 60,
        "secondsUntilRollbackFaster": 10 * 10,
    },
    "argoRollouts": {
        "setting": "the AnalysisTemplate of its documentation: interval 5m, three failed measurements (failureLimit 3)",
        "source": "https://argo-rollouts.readthedocs.io/en/stable/features/analysis/",
        "secondsUntilRollback": 3 * 300,
    },
}


@dataclass(frozen=True)
class Case:
    """One way back."""

    name: str
    rules: dict[str, Any]
    begin: Callable[[WatchedWorld], None]
    goal: float


@dataclass
class Watcher:
    """When each replica first answered by a version, asked fifty times a second over one connection each."""

    addresses: Sequence[str]
    version: str

    def __post_init__(self) -> None:
        self.at: dict[str, float] = {}
        self._threads = [threading.Thread(target=self._ask, args=(a,), daemon=True) for a in self.addresses]
        for thread in self._threads:
            thread.start()

    def last(self, seconds: float = 180) -> float:
        end = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if len(self.at) < len(self.addresses):
            raise RuntimeError(f"after {seconds:g} s only {sorted(self.at)} answer by {self.version}")
        return max(self.at.values())

    def _ask(self, address: str) -> None:
        with httpx.Client(trust_env=False, timeout=10) as client:
            while True:
                report = client.get(f"http://{address}/v1/versions").json()
                if report["active"].get("embedding") == self.version:
                    self.at[address] = time.monotonic()
                    return
                time.sleep(0.02)


def alert_received(world: WatchedWorld, since: float) -> float:
    """When the notification arrived at the operator, by its own log."""
    for line in world.operator.log.splitlines():
        if '"notification"' in line:
            at = datetime.fromisoformat(json.loads(line)["time"].replace("Z", "+00:00")).timestamp()
            if at >= since:
                return at
    raise RuntimeError("no notification arrived")


def one(world: WatchedWorld, case: Case) -> tuple[float, int, int]:
    """(seconds, failed requests, requests) of one rollback."""
    world.calm(**case.rules)
    load = world.load(RATE)
    time.sleep(2.5)
    world.promote("two")
    time.sleep(3 * random.random())  # at any time within a scrape and a look
    watcher = Watcher(world.pods, world.one)
    began = time.monotonic()
    clock = datetime.now(UTC).timestamp() - time.monotonic()
    case.begin(world)
    shifted = watcher.last()
    time.sleep(0.5)
    answers = load.stop()
    failed = sum(failures(answers).values())
    start = began
    if case.name == "alert":
        start = alert_received(world, began + clock) - clock
    else:
        hit = [a.at for a in answers if a.at >= began and (a.status != 200 or a.fallback)]
        start = min(hit) if hit else began
    return shifted - start, failed, len(answers)


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summary(case: Case, found: list[tuple[float, int, int]]) -> dict[str, Any]:
    seconds = [s for s, _, _ in found]
    return {
        "repetitions": len(found),
        "seconds": {
            "median": round(statistics.median(seconds), 3),
            "p99": round(percentile(seconds, 0.99), 3),
            "max": round(max(seconds), 3),
        },
        "goalSeconds": case.goal,
        "reached": percentile(seconds, 0.99) <= case.goal,
        "failedRequests": {"median": statistics.median(f for _, f, _ in found), "max": max(f for _, f, _ in found)},
        "requests": sum(n for _, _, n in found),
        "all": [round(s, 3) for s in seconds],
    }


def keep(started: dict[str, Any], results: dict[str, Any]) -> None:
    """Write what there is."""
    document = {
        "what": "seconds until the last of two replicas answers by the version before, and requests of users that failed meanwhile",
        "machine": started,
        "requestsPerSecond": RATE,
        **results,
        "peers": PEERS,
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main(repetitions: int = 30, only: str = "") -> None:
    """Write benchmarks/results/rollback.json; `only` runs one case and writes nothing."""
    started = machine()
    cases = [
        Case("alert", {"metrics": False}, lambda w: w.alert("two"), 1.0),
        Case("polling", {"guard": False}, lambda w: w.breaks("two"), 15.0),
        Case("guard", {"metrics": False}, lambda w: w.breaks("two"), 5.0),
    ]
    base = cache_folder() / "runs"
    base.mkdir(parents=True, exist_ok=True)
    home = Path(mkdtemp(prefix="bench-", dir=base))
    cluster = Cluster.start(home / "cluster", images=ROOT / "tests" / "support" / "images.yaml")
    results: dict[str, Any] = {}
    try:
        cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        world = WatchedWorld(cluster, "bench", home / "world", scrape="5s")
        world.begin(odd=False)
        for case in (c for c in cases if only in {"", c.name}):
            found = []
            for number in range(repetitions):
                found.append(one(world, case))
                print(case.name, number, found[-1], world.condition("RolledBack")["reason"], flush=True)
            results[case.name] = summary(case, found)
            if not only:
                keep(started, results)
        world.close()
    finally:
        cluster.stop()
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    typer.run(main)
