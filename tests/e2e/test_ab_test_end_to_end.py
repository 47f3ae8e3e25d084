"""ABTests with everything real: control plane, operator, two serving replicas that ask each other, Prometheus, users with real queries."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attune.contract.counting import UNITS
from demo.docstrings import articles
from devcluster import Cluster
from faulty_proxy import FaultyProxy
from prometheus_server import PrometheusServer
from revisions import assert_invariants
from serving_world import API, World, serving_process_at
from users import Users

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]
CLICKS = {"name": "clicks", "role": "primary"}
ERRORS = {"name": "error", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.1}
FINAL = {"Concluded", "Cancelled", "Failed"}


class Trial:
    """A Retriever with version 1 active and versions two and three staged, its Prometheus, and its users."""

    def __init__(self, world: World) -> None:
        self.world = world
        world.operator.start()
        self.prometheus = PrometheusServer(world.folder / "prometheus").start()
        self.proxy = FaultyProxy(self.prometheus.url).start()
        self.watch(self.proxy.url)
        self.one = world.first()
        world.version("two", 2)
        world.version("three", 3)
        for name in ("two", "three"):
            world.until("mv", name, lambda v: v.get("status", {}).get("index"))
        world.ready(2)
        self.prometheus.targets(self.pods())
        self.users: Users | None = None

    def pods(self) -> dict[str, str]:
        """Serving Pod → host:port."""
        found = self.world.cluster.get("pods", "-n", self.world.namespace, "-l", "attune.dev/component=serving")[
            "items"
        ]
        return {p["metadata"]["name"]: f"{p['status']['podIP']}:8000" for p in found}

    def watch(self, url: str) -> None:
        """The salt is fixed, so that the same queries meet the same arms in every run."""
        self.world.retriever(rollback={"prometheus": {"url": url}}, serving={"replicas": 2, "experimentSalt": "one"})

    def come(self, likes: dict[str, float], rate: float = 40.0) -> Users:
        queries = list(dict.fromkeys(a.title for a in articles(6000)))
        addresses = self.world.ready(2)
        self.users = Users(lambda: addresses, queries, likes, rate).start()
        return self.users

    def leave(self) -> None:
        if self.users is not None:
            self.users.stop()
            self.users = None

    def start(self, name: str, challenger: str, **spec: Any) -> None:
        known = {
            "retriever": "news",
            "modelB": challenger,
            "trafficSplit": 0.5,
            "minSamples": 150,
            "maxDuration": "1m",
            "metrics": [CLICKS, ERRORS],
            "analysis": {"interval": "10s"},
        }
        self.world.apply({"apiVersion": API, "kind": "ABTest", "metadata": {"name": name}, "spec": known | spec})

    def status(self, name: str) -> dict[str, Any]:
        return self.world.get("abt", name).get("status") or {}

    def concluded(self, name: str, *, revive: bool = False) -> dict[str, Any]:
        thing = self.world.until("abt", name, lambda t: t.get("status", {}).get("phase") in FINAL, revive=revive)
        found: dict[str, Any] = thing["status"]
        assert found["phase"] == "Concluded", found
        return found

    def active(self) -> str:
        return str(self.world.get("rtr", "news")["status"]["embedding"]["active"])

    def close(self) -> None:
        self.leave()
        self.proxy.stop()
        self.prometheus.kill()
        self.world.close()


@pytest.fixture(scope="module")
def shared(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    made = Trial(World(cluster, f"trial-{time.time_ns() % 10**9}", tmp_path_factory.mktemp("trial") / "world"))
    yield made
    made.close()


@pytest.fixture
def trial(shared: Trial) -> Iterator[Trial]:
    """Nothing runs, and nobody asks, before and after each test."""
    shared.watch(shared.proxy.url)
    yield shared
    shared.leave()
    shared.proxy.mode = "pass"
    if not shared.world.operator.running:
        shared.world.operator.start()


def test_equal_versions_are_inconclusive_when_the_time_is_over(trial: Trial) -> None:
    trial.come({})
    before = trial.active()
    trial.start("equal", "two")
    over = trial.concluded("equal")
    assert (over["winner"], over["reason"]) == ("inconclusive", "Inconclusive"), over
    assert min(over["samplesA"], over["samplesB"]) >= 150
    assert trial.active() == before


def test_a_broken_version_is_stopped_by_its_guardrail_long_before_the_end(trial: Trial) -> None:
    trial.come({"two": 0.9})
    trial.start("broken", "two", maxDuration="24h")
    trial.world.until("abt", "broken", lambda t: t.get("status", {}).get("phase") == "Running")
    collection = trial.world.get("mv", "two")["status"]["index"]["collection"]
    found = next(p for p in trial.world.volume.rglob(f"{collection}*") if p.is_dir())
    away = found.with_name("moved-away")
    shutil.move(found, away)
    try:
        over = trial.concluded("broken")
    finally:
        shutil.move(away, found)
    assert (over["winner"], over["reason"]) == ("A", "GuardrailHarmed"), over
    trial.world.until("mv", "two", lambda v: v["status"]["stage"] == "deprecated")
    assert trial.world.get("mv", "two")["status"]["notes"].startswith("lost test broken")
    assert "split" not in trial.world.get("rtr", "news")["status"]["embedding"]


def test_a_replica_whose_units_of_b_are_lost_stops_the_promotion(trial: Trial, tmp_path: Path) -> None:
    lost = {
        "source_labels": ["__name__", "arm", "pod"],
        "regex": f"{UNITS};B;{min(trial.pods())}",
        "action": "drop",
    }
    half = PrometheusServer(tmp_path / "half")
    half.jobs = [half.file_job(metric_relabel_configs=[lost])]
    half.targets(trial.pods())
    half.start()
    try:
        trial.watch(half.url)
        trial.come({"two": 0.9})
        before = trial.active()
        trial.start("unfair", "two", autoPromote=True, maxDuration="24h", minSamples=100)
        trial.world.until("abt", "unfair", lambda t: t.get("status", {}).get("reason") == "SampleRatioMismatch")
        time.sleep(12)  # another look, at which B is better, if one counts what is left
        told = trial.status("unfair")
        trial.start("unfair", "two", autoPromote=True, maxDuration="24h", minSamples=100, cancel=True)
        trial.world.until("abt", "unfair", lambda t: t["status"]["phase"] == "Cancelled")
    finally:
        half.kill()
    assert (told["phase"], told["reason"]) == ("Running", "SampleRatioMismatch"), told
    assert told["sampleRatioPValue"] < 0.001
    assert told["pValues"]["clicks"] < 0.05
    assert "replica" in told["message"]
    assert trial.active() == before


class KillNow:
    """Kills at the first try of each kind of write before it is passed on, at the second after it."""

    def __init__(self) -> None:
        self.tries: dict[tuple[str, str], int] = {}
        self.kills = 0

    def __call__(self, verb: str, path: str, body: bytes) -> str | None:
        write = verb, path.rpartition("/namespaces/")[2]
        self.tries[write] = self.tries.get(write, 0) + 1
        when = {1: "before", 2: "after"}.get(self.tries[write])
        self.kills += when is not None
        return when


def test_the_better_version_wins_through_every_fault_and_is_promoted(trial: Trial) -> None:
    world = trial.world
    users = trial.come({"three": 0.5})
    trial.start("better", "three", minSamples=1200, maxDuration="24h", autoPromote=True)
    killer = KillNow()
    world.proxy.plan = killer
    world.until("abt", "better", lambda t: t.get("status", {}).get("samplesB"), revive=True)
    trial.prometheus.restart()
    for mode in ("500", "slow", "empty"):
        trial.proxy.mode = mode  # type: ignore[assignment]
        world.until("abt", "better", _blind, revive=True)
        assert trial.status("better")["phase"] == "Running"
        trial.proxy.mode = "pass"
        world.until("abt", "better", lambda t: not _blind(t), revive=True)
    _kill_a_replica(trial)
    over = trial.concluded("better", revive=True)
    world.until("mv", "three", lambda v: v["status"].get("stage") == "active", revive=True)
    done = world.until("abt", "better", lambda t: t["status"]["promotion"]["result"] != "Pending", revive=True)
    world.proxy.plan = lambda *_: None
    assert (over["winner"], done["status"]["promotion"]["result"]) == ("B", "Promoted"), over
    assert killer.kills >= 6
    asked = users.distinct("better")
    assert 1200 <= over["samplesA"] <= asked["A"]
    assert 1200 <= over["samplesB"] <= asked["B"]
    moves = [(c["version"], c["action"]) for c in world.get("rtr", "news")["status"]["changes"]]
    assert moves[-1] == ("three", "Promoted")
    assert [m for m in moves if m[0] == "three"] == [("three", "Promoted")]
    assert_invariants(world.revisions.so_far())


def _blind(test: dict[str, Any]) -> bool:
    conditions = test.get("status", {}).get("conditions") or []
    return any(c["type"] == "MetricsUnavailable" and c["status"] == "True" for c in conditions)


def _kill_a_replica(trial: Trial) -> None:
    """SIGKILL to the process of one serving Pod; its container starts again."""
    serving_process_at(trial.world.addresses()[0].partition(":")[0]).kill()
