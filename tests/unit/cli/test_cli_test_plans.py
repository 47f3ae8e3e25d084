"""What `attune test plan` says of a test to come: queries, and days by the traffic that every replica tells."""

from __future__ import annotations

import itertools
import json
import math
import random
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from ab_test_objects import drawn
from attune.cli.ab_tests import growth, plan_screen, planning, traffic
from attune.cli.session import Problem, Session
from attune.contract import HourOfTraffic, TrafficReport
from attune_serving.traffic import Traffic

Listen = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
SERVING = {"attune.dev/retriever": "news", "attune.dev/component": "serving"}


class Server:
    """An API server with one Retriever and its serving Pods, which tell their traffic behind the proxy."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = []
        self.traffic: dict[str, web.Response] = {}
        self.paths: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.paths.append(request.path)
        if request.path == "/api/v1":
            return web.json_response({"resources": [{"name": "pods", "kind": "Pod", "namespaced": True}]})
        if request.path == "/apis/attune.dev/v1alpha1":
            return web.json_response({"resources": [{"name": "retrievers", "kind": "Retriever", "namespaced": True}]})
        if request.path.endswith("/v1/traffic"):
            return self.traffic[request.path.split("/pods/")[1].partition(":")[0] if "/pods/" in request.path else ""]
        if request.path.endswith("/pods"):
            return web.json_response({"items": self.pods})
        if request.path.endswith("/retrievers"):
            return web.json_response({"items": [{"metadata": {"name": "news"}, "spec": {}}]})
        return web.json_response({"metadata": {"name": "news"}, "spec": {}})


@pytest.fixture
async def server(listen: Listen) -> Server:
    made = Server()
    made.url = await listen(made.handle)
    return made


# ---- the traffic


HOUR = 3600


def a_pod(name: str, ip: str = "10.0.0.7", *, ready: bool = True) -> dict[str, Any]:
    metadata = {"name": name, "uid": name, "creationTimestamp": "2026-03-15T03:00:00Z", "labels": SERVING}
    status = {"phase": "Running", "podIP": ip, "conditions": [{"type": "Ready", "status": str(ready)}]}
    return {"metadata": metadata, "spec": {"containers": []}, "status": status}


def a_report(hours: int = 4, units: int = 50, first: int = 0, since: float = 0.0) -> TrafficReport:
    seen = tuple(
        HourOfTraffic(
            start=h * HOUR, requests=2 * units, smallest=tuple(range(first + h * units, first + (h + 1) * units))
        )
        for h in range(hours)
    )
    return TrafficReport(since=since, at=hours * HOUR, hours=seen)


def told(report: TrafficReport) -> web.Response:
    return web.Response(text=report.to_json(), content_type="application/json")


async def test_every_replica_is_asked_for_its_traffic_through_the_proxy(session: Session, server: Server) -> None:
    server.pods = [a_pod("p0"), a_pod("p1"), a_pod("p2", ready=False)]
    server.traffic = {"p0": told(a_report()), "p1": told(a_report(first=25))}
    found = (await traffic.traffic_of(session, None)).view()
    assert "/api/v1/namespaces/team/pods/p1:8000/proxy/v1/traffic" in server.paths
    assert (found["retriever"], found["replicas"], found["silent"], found["requests"]) == ("news", 2, 0, 800)
    assert found["distinct"] == 225, "a query that two replicas saw is one query"
    assert found["requestsPerDay"] == pytest.approx(24 * 200)
    assert found["problem"] is None


async def test_a_replica_that_is_silent_or_older_is_said(session: Session, server: Server) -> None:
    server.pods = [a_pod("p0"), a_pod("p1")]
    server.traffic = {"p0": told(a_report()), "p1": web.json_response({"error": {"message": "Not Found"}}, status=404)}
    found = (await traffic.traffic_of(session, None)).view()
    assert (found["replicas"], found["silent"]) == (1, 1)
    assert "Pod p1 does not say its traffic" in found["problem"]
    assert "Not Found" in found["problem"]
    server.traffic = {name: web.json_response({"hello": 1}) for name in ("p0", "p1")}
    nothing = await traffic.traffic_of(session, None)
    assert "Pod p0 answers something else on /v1/traffic" in str(nothing.problem)
    assert "give --per-day" in str(nothing.problem)
    assert nothing.days(100) is None


async def test_without_a_ready_pod_the_plan_has_no_days(session: Session, server: Server) -> None:
    server.pods = [a_pod("p0", ready=False)]
    found = await traffic.traffic_of(session, None)
    assert "no serving Pod of Retriever news is ready" in str(found.problem)
    assert "nobody can say; give --per-day" in drawn(plan_screen.plan(planning.plan_view(asked(0.1), found)))


async def test_a_pod_on_a_loopback_address_is_asked_directly(session: Session, server: Server) -> None:
    address = f"127.{random.randrange(2, 250)}.{random.randrange(250)}.{random.randrange(2, 250)}"
    runner = web.ServerRunner(web.Server(server.handle))
    await runner.setup()
    await web.TCPSite(runner, address, 8000).start()
    server.pods, server.traffic = [a_pod("p0", address)], {"": told(a_report())}
    found = await traffic.traffic_of(session, "news")
    await runner.cleanup()
    assert found.problem is None
    assert found.view()["requests"] == 400


# ---- how distinct queries grow


def zipf(exponent: float, stock: int, number: int, seed: int) -> list[int]:
    weights = list(itertools.accumulate(1 / rank**exponent for rank in range(1, stock + 1)))
    return random.Random(seed).choices(range(stock), cum_weights=weights, k=number)


NOON = 1_773_576_000.0


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("exponent", "stock", "fresh"), [(0.8, 50_000, 0.0), (1.0, 50_000, 0.0), (1.0, 20_000, 0.3), (0.8, 3_000, 0.0)]
)
def test_a_day_of_three_replicas_foresees_a_week_within_the_range_that_is_given(
    exponent: float, stock: int, fresh: float, seed: int
) -> None:
    day, chosen = 4000, random.Random(seed)
    asked_for = [
        stock + n if chosen.random() < fresh else query for n, query in enumerate(zipf(exponent, stock, 7 * day, seed))
    ]
    hashes = {query: chosen.getrandbits(64) for query in set(asked_for)}
    replicas = [Traffic(NOON) for _ in range(3)]
    for number, query in enumerate(asked_for[:day]):
        chosen.choice(replicas).saw(hashes[query], NOON + number * 86_390 / day)
    seen = growth.merged(replica.report(NOON + 86_395) for replica in replicas)
    fitted = growth.fitted(seen)
    assert fitted is not None
    assert seen.requests == day
    assert seen.requests_per_day == pytest.approx(day, rel=0.01)
    assert fitted.distinct == pytest.approx(len(set(asked_for[:day])), rel=0.25), "four standard errors"
    days = growth.days_until(len(set(asked_for)), fitted, seen.requests_per_day)
    assert days.fewest <= 7 <= (days.most or math.inf)
    three = growth.days_until(len(set(asked_for[: 3 * day])), fitted, seen.requests_per_day)
    assert three.likely is not None
    assert 1.8 < three.likely < 4.5, "twice what was seen is not far"


def test_queries_that_come_in_bursts_and_never_again_grow_without_end() -> None:
    replica = Traffic(NOON)
    for number in range(4800):
        hashed = random.Random(number // 10).getrandbits(64)
        replica.saw(hashed, NOON + number * 86_390 / 4800)
    fitted = growth.fitted(growth.merged([replica.report(NOON + 86_395)]))
    assert fitted is not None
    assert fitted.exponent > 0.9


def test_the_same_few_queries_again_and_again_never_become_many() -> None:
    hours = tuple(HourOfTraffic(start=h * HOUR, requests=100, smallest=(1, 2, 3)) for h in range(24))
    fitted = growth.fitted(growth.merged([TrafficReport(since=0, at=24 * HOUR, hours=hours)]))
    assert fitted is not None
    days = growth.days_until(1000, fitted, 2400)
    assert (days.likely, days.most) == (None, None)
    assert growth.days_until(3, fitted, 2400).fewest <= 1


def test_nothing_is_fitted_to_less_than_an_hour_and_the_least_is_said() -> None:
    short = TrafficReport(since=0, at=600, hours=(HourOfTraffic(start=0, requests=100, smallest=tuple(range(60))),))
    assert growth.fitted(growth.merged([short])) is None
    found = traffic.Found("news", growth.merged([short]))
    days = found.days(8640 * 5)
    assert days == {"likely": None, "fewest": pytest.approx(5.0), "most": None}
    assert "too little was seen" in str(found.view()["problem"])
    assert plan_screen.days(days) == "at least 5 days"
    quiet = traffic.Found("news", growth.merged([TrafficReport(since=0, at=9 * HOUR)]))
    assert "no query was seen" in str(quiet.view()["problem"])
    assert quiet.days(100) is None


# ---- the plan


def asked(effect: float = 0.05, method: str = "sequential", split: float = 0.2, **goal: Any) -> planning.Asked:
    return planning.Asked(planning.Goal(effect, **goal), method, split)


@pytest.mark.parametrize(
    ("goal", "deviations"),
    [
        (planning.Goal(0.05), 0.05),
        (planning.Goal(-0.05), 0.05),
        (planning.Goal(0.05, metric_sd=0.5), 0.1),
        (planning.Goal(0.02, baseline=0.5), 0.02 / math.sqrt(0.51 * 0.49)),
        (planning.Goal(0.04, baseline=0.5, relative=True), 0.02 / math.sqrt(0.51 * 0.49)),
        (planning.Goal(-0.02, baseline=0.1), 0.02 / math.sqrt(0.09 * 0.91)),
    ],
)
def test_an_effect_is_in_deviations_in_units_in_points_or_a_share_of_a_rate(
    goal: planning.Goal, deviations: float
) -> None:
    assert goal.deviations == pytest.approx(deviations)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (planning.Asked(planning.Goal(0.0)), "--effect 0 is no effect"),
        (planning.Asked(planning.Goal(float("nan"))), "is no effect"),
        (planning.Asked(planning.Goal(0.1, metric_sd=1.0, baseline=0.3)), "leave --metric-sd out"),
        (planning.Asked(planning.Goal(0.1, relative=True)), "give that with --baseline"),
        (planning.Asked(planning.Goal(0.8, baseline=0.3)), "is a rate of 1.1; rates are between 0 and 1"),
        (planning.Asked(planning.Goal(0.1, baseline=1.3)), "rates are between 0 and 1"),
        (planning.Asked(planning.Goal(0.1), split=1.0), "split 1 must lie between 0 and 1"),
        (planning.Asked(planning.Goal(1e-9)), "needs more than"),
    ],
)
def test_what_makes_no_sense_is_said_before_anybody_is_asked(given: planning.Asked, words: str) -> None:
    with pytest.raises(Problem) as problem:
        given.check()
    assert words in str(problem.value)


def test_a_plan_says_queries_of_each_arm_days_and_what_would_be_shorter() -> None:
    found = planning.plan_view(asked(0.05, "fixedHorizon"), traffic.Found(per_day=2000))
    assert found["samples"] == {
        "a": pytest.approx(15_698, abs=3),
        "b": pytest.approx(3_925, abs=3),
        "total": pytest.approx(19_622, abs=5),
    }
    assert found["evenly"]["samples"]["total"] == pytest.approx(12_558, abs=5)
    assert json.loads(json.dumps(found)) == found
    text = drawn(plan_screen.plan(found))
    assert "a change by 0.05 standard deviations, with probability 80%" in text
    assert "about 9.8 days" in text
    assert "--split 0.5 needs 12,56" in text
    assert "set maxDuration: 240h; the default of 168h is too short" in text
    assert "set analysis.samples: 392" in text


def test_methods_need_different_numbers_and_several_metrics_share_alpha() -> None:
    totals = [asked(0.05, method).needed(0.2).total for method in ("fixedHorizon", "groupSequential", "sequential")]
    assert totals == sorted(totals)
    three = planning.Asked(planning.Goal(0.05), metrics=3)
    assert three.needed(0.2).total > asked(0.05).needed(0.2).total
    assert planning.plan_view(asked(split=0.5), traffic.Found(per_day=1))["evenly"] is None


@pytest.mark.parametrize(
    ("days", "words"),
    [
        ({"likely": 5.23, "fewest": 4.8, "most": 7.11}, "about 5.2 days (4.8 to 7.1)"),
        ({"likely": 1.0, "fewest": 1.0, "most": 1.0}, "about 1 day"),
        (
            {"likely": 44.4, "fewest": 30.0, "most": None},
            "about 44 days, 30 at least; nothing shows yet that there are so many queries",
        ),
        ({"likely": None, "fewest": 3650.0, "most": None}, "at least 3,650 days"),
        (None, "nobody can say; give --per-day"),
    ],
)
def test_days_are_said_with_their_range(days: dict[str, Any] | None, words: str) -> None:
    assert plan_screen.days(days) == words


def test_a_test_that_would_take_longer_than_any_may_last_is_advised_against() -> None:
    assert "look for a larger --effect" in str(planning.max_duration({"likely": 200.0, "fewest": 100.0, "most": None}))
    assert planning.max_duration({"likely": 6.0, "fewest": 5.0, "most": 7.0}) is None
    assert planning.max_duration(None) is None


# ---- the command line


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from attune.cli.app import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_a_plan_with_traffic_that_is_given_needs_no_cluster() -> None:
    done = command("test", "plan", "--per-day", "3000", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["days"]["likely"] == pytest.approx(41_160 / 3000, rel=0.02)
    wrong = command("test", "plan", "--per-day", "3000", "--relative")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == "attune: --relative is a share of the rate of A: give that with --baseline\n"
