"""A bad promotion is taken back with everything real: control plane, operator, serving Pods, Prometheus, Alertmanager, users."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from devcluster import Cluster
from load import failures
from revisions import assert_invariants
from watched_world import WatchedWorld

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedWorld]:
    """Each test begins with `calm`: version 1 answers, and nothing is broken."""
    made = WatchedWorld(cluster, f"back-{time.time_ns() % 10**9}", tmp_path_factory.mktemp("back") / "world")
    yield made.begin()
    made.close()


def assert_taken_back(world: WatchedWorld, version: str, reason: str, words: str) -> None:
    """Once, with the cause where people look for it."""
    world.all_answer_by(world.one)
    world.until("mv", version, lambda v: v["status"].get("stage") == "failed")
    assert world.moves()[-2:] == [("Promoted", version), ("RolledBack", world.one)]
    said = world.condition("RolledBack")
    assert (said["status"], said["reason"]) == ("True", reason), said
    assert words in said["message"], said
    assert words[:60] in world.get("mv", version)["status"]["notes"]
    assert_invariants(world.revisions.so_far())


def test_errors_that_prometheus_counted_take_it_back_in_seconds(world: WatchedWorld) -> None:
    before = world.calm(guard=False).rollbacks()
    load = world.load()
    try:
        time.sleep(4)
        world.promote("two")
        pointer = world.status()["embedding"]
        assert (pointer["baselineErrorRate"], pointer["baselineRequests"] >= 100) == (0, True), pointer
        assert world.until_said("Watching", "Followed")["status"] == "True"
        time.sleep(3)
        world.breaks("two")
        began = time.monotonic()
        shifted = world.all_answer_by(world.one)
    finally:
        answers = load.stop()
    assert shifted - began < 30
    assert_taken_back(world, "two", "ErrorRate", "requests in ")
    assert world.rollbacks() == before + 1
    assert {status for status, _ in failures(answers)} == {503}, "without the guard users see it"
    assert all(a.version != "two" for a in answers if a.at > shifted + 0.5)


def test_the_guard_answers_by_the_version_before_and_nobody_sees_an_error(world: WatchedWorld) -> None:
    world.calm(metrics=False)
    load = world.load()
    try:
        world.promote("two")
        world.until_said("Watching", "WithoutMetrics")
        time.sleep(2)
        world.breaks("two")
        began = time.monotonic()
        shifted = world.all_answer_by(world.one)
        time.sleep(1)
    finally:
        answers = load.stop()
    assert failures(answers) == {}
    assert shifted - began < 20
    assert_taken_back(world, "two", "Guard", "of 2 of 2 replicas stopped asking it")


def test_the_same_alert_a_hundred_times_and_its_end_take_back_once(world: WatchedWorld) -> None:
    before = world.calm(metrics=False).rollbacks()
    world.promote("two")
    world.alert("two")
    began = time.monotonic()
    assert world.all_answer_by(world.one) - began < 10
    for _ in range(100):
        world.alert("two")
    world.alert("two", firing=False)
    world.alert("three")
    time.sleep(3)
    assert_taken_back(world, "two", "Alert", "alert AttuneVersionErrors, firing since")
    assert world.rollbacks() == before + 1
    world.promote("two")
    world.alert("two", firing=False)
    time.sleep(1.5)
    assert world.answering() == {"two"}, "an alert that is over changes nothing"


@pytest.mark.parametrize("seconds", [-30, 30])
def test_clocks_that_differ_by_half_a_minute_do_not_matter(world: WatchedWorld, seconds: int) -> None:
    world.calm(metrics=False).promote("two")
    world.alert("two", clock=timedelta(seconds=seconds))
    world.all_answer_by(world.one)
    assert_taken_back(world, "two", "Alert", "alert AttuneVersionErrors, firing since")


class KillEverywhere:
    """Kills at the first try of each write before it is passed on, at the second after; the third is let through."""

    def __init__(self) -> None:
        self.tries: dict[tuple[str, str], int] = {}
        self.kills: list[tuple[str, str, str]] = []

    def __call__(self, verb: str, path: str, body: bytes) -> str | None:
        write = verb, path.rpartition("/namespaces/")[2]
        self.tries[write] = self.tries.get(write, 0) + 1
        when = {1: "before", 2: "after"}.get(self.tries[write])
        if when is not None:
            self.kills.append((when, verb, path))
        return when


def test_killed_at_each_write_with_alert_and_errors_at_once_it_is_taken_back_once(world: WatchedWorld) -> None:
    before = world.calm().rollbacks()
    load = world.load()
    try:
        world.promote("two")
        time.sleep(2)
        killer = KillEverywhere()
        world.proxy.plan = killer
        world.breaks("two")
        world.alert("two")
        world.until("mv", "two", lambda v: v["status"].get("stage") == "failed", revive=True)
        world.until("mv", world.one, lambda v: v["status"].get("stage") == "active", revive=True)
        world.until("rtr", "news", lambda _: world.answering() == {world.one}, revive=True)
        world.proxy.plan = lambda *_: None
    finally:
        answers = load.stop()
    assert failures(answers) == {}
    assert {path.rpartition("/")[2] for _, _, path in killer.kills} >= {"status", "news-serving"}, killer.kills
    assert len(killer.kills) >= 6, killer.kills
    assert world.moves()[-2:] == [("Promoted", "two"), ("RolledBack", world.one)]
    assert world.condition("RolledBack")["reason"] in {"Alert", "Guard", "ErrorRate"}
    assert world.rollbacks() <= before + 1, "an event may be lost by a kill; it is not told twice"
    assert_invariants(world.revisions.so_far())


def test_prometheus_away_is_said_and_an_alert_still_acts(world: WatchedWorld) -> None:
    world.calm(guard=False).promote("two")
    world.prometheus.kill()
    said = world.until_said("Watching", "Blind")
    assert "the error rate of two cannot be read" in said["message"]
    assert "PrometheusUnreachable" in said["message"]
    world.alert("two")
    world.all_answer_by(world.one)
    assert_taken_back(world, "two", "Alert", "alert AttuneVersionErrors")


def test_a_rollback_during_a_promotion_refuses_it(world: WatchedWorld) -> None:
    world.calm(metrics=False).promote("two")
    with world.one_pod_frozen() as going_on:  # a promotion waits for every replica, a rollback for none
        request = world.request()
        world.ask("four", request)
        world.until("mv", "four", lambda v: v["status"].get("promotion", {}).get("result") == "Pending")
        world.alert("two")
        world.until("rtr", "news", lambda r: r["status"]["embedding"]["active"] == world.one)
        world.until("rtr", "news", lambda _: world.answers_by(going_on) == world.one)
    told = world.until("mv", "four", lambda v: v["status"].get("promotion", {}).get("handledRequestID") == request)
    assert told["status"]["promotion"]["result"] == "Refused"
    assert f"two was rolled back to {world.one} meanwhile" in told["status"]["promotion"]["message"]
    assert_taken_back(world, "two", "Alert", "alert AttuneVersionErrors")


@pytest.mark.parametrize("version", ["three", "four"], ids=["collapsed", "random"])
def test_vectors_that_are_wrong_without_an_error_are_caught_by_labelled_queries(
    world: WatchedWorld, version: str
) -> None:
    world.calm()
    load = world.load(20)
    try:
        world.promote(version)
        world.all_answer_by(world.one)
    finally:
        answers = load.stop()
    assert failures(answers) == {}
    assert_taken_back(world, version, "Recall", "labelled queries found their document in the first ten")
