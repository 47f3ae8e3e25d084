"""What the operator reads of a test from a real Prometheus: exact sums whatever restarts, and a reason where there are none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from attune.contract import counting as names
from attune.observation import MetricsProblem, Samples, SamplesQuery, Sums
from attune.telemetry import promql
from attune.telemetry.prometheus import Prometheus
from faulty_proxy import EMPTY, FaultyProxy, Mode, send
from metrics_page import MetricsPage
from prometheus_server import PrometheusServer


class Target(MetricsPage):
    """A page with the counters of one test."""

    run = ""

    def count(self, process: str, units: int, total: float = 0.0, **labels: str) -> None:
        """What a process has counted by now, of both arms: B has a tenth of A's units."""
        self.lines = self.counted(process, units, total, **labels)

    def counted(
        self, process: str, units: int, total: float, *, split: str = "0.2", ledger: str = "first"
    ) -> list[str]:
        lines = [f'{names.FULL}{{test="t",run="{self.run}",process="{process}"}} 0']
        for arm, n in (("A", units), ("B", units // 10)):
            by = f'test="t",run="{self.run}",ledger="{ledger}",split="{split}",arm="{arm}",process="{process}"'
            lines += [
                f"{names.UNITS}{{{by}}} {n}",
                f'{names.VALUES}{{{by},metric="rating"}} {n}',
                f'{names.SUM}{{{by},metric="rating",sign="plus"}} {total}',
                f'{names.SUM}{{{by},metric="rating",sign="minus"}} {total / 4}',
                f'{names.SQUARES}{{{by},metric="rating"}} {total * 2}',
            ]
        return lines

    def empty(self, run: str) -> Target:
        """Nothing is counted, and what will be is of this run."""
        self.run, self.lines, self.status = run, [], 200
        return self


class Scraped:
    """A Prometheus, its targets, and the run (uid of an ABTest) of the test that uses it now. The target `twice` has two jobs."""

    def __init__(self, folder: Path) -> None:
        self.run = "none yet"
        self.target, self.other, self.twice = Target(), Target(), Target()
        self.server = PrometheusServer(folder)
        again = {"job_name": "again", "static_configs": [{"targets": [self.twice.address]}]}
        self.server.jobs = [self.server.file_job(), again]
        self.server.targets([self.target.address, self.other.address, self.twice.address])
        self.server.start()

    def empty(self) -> Scraped:
        self.run = uuid4().hex
        for target in (self.target, self.other, self.twice):
            target.empty(self.run)
        return self

    def until(self, units: int, **labels: str) -> None:
        """So many units are known."""
        chosen = ",".join(f'{name}="{value}"' for name, value in {"run": self.run, **labels}.items())
        self.server.until(f"sum({names.UNITS}{{{chosen}}})", units)

    def read(self, url: str = "", **more: Any) -> Samples | MetricsProblem:
        return read(url or self.server.url, run=self.run, **more)

    def close(self) -> None:
        self.server.kill()
        for target in (self.target, self.other, self.twice):
            target.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """For tests that leave the server as it is. A server finds its targets after five seconds, not before."""
    made = Scraped(tmp_path_factory.mktemp("shared"))
    yield made
    made.close()


@pytest.fixture
def scraped(shared: Scraped) -> Scraped:
    return shared.empty()


@pytest.fixture
def restartable(tmp_path: Path) -> Iterator[Scraped]:
    made = Scraped(tmp_path / "own")
    yield made.empty()
    made.close()


BEGAN = datetime.now(UTC) - timedelta(minutes=1)


def read(url: str, *, seconds: float = 10.0, **more: Any) -> Samples | MetricsProblem:
    async def once() -> Samples | MetricsProblem:
        reader = Prometheus(seconds=seconds)
        try:
            query: dict[str, Any] = {"url": url, "run": "uid-1", "since": BEGAN, "at": datetime.now(UTC)}
            return await reader.samples(SamplesQuery(**(query | more)))
        finally:
            await reader.close()

    return asyncio.run(once())


def units(found: Samples | MetricsProblem) -> tuple[int, int]:
    assert isinstance(found, Samples), found
    return found.units_a, found.units_b


def problem(found: Samples | MetricsProblem) -> MetricsProblem:
    assert isinstance(found, MetricsProblem), found
    return found


def test_sums_are_exact_over_starts_of_a_process_and_of_prometheus(restartable: Scraped) -> None:
    target, server = restartable.target, restartable.server
    assert problem(restartable.read()).reason == "NoSamples"
    target.count("p1", 100, 40.0)
    restartable.until(110, process="p1")
    target.count("p2", 30, 8.0)  # the process was killed: its series end, and others begin
    restartable.until(33, process="p2")
    server.restart()
    target.count("p2", 50, 12.0)
    restartable.until(55, process="p2")
    found = restartable.read(processes=frozenset({"p2", "p3"}))
    assert units(found) == (150, 15)
    assert isinstance(found, Samples)
    (stratum,) = found.strata
    assert stratum.fraction == 0.2
    assert stratum.a.metrics["rating"] == Sums(150, 52.0 - 13.0, 104.0)
    assert found.notes == ("1 of 2 replicas are not scraped: process p3",)
    target.status = 500
    server.wipe()
    assert problem(restartable.read()).reason == "NoSamples"
    target.status = 200
    restartable.until(55, process="p2")
    assert units(restartable.read()) == (50, 5)


def test_a_target_that_two_jobs_scrape_counts_once(scraped: Scraped) -> None:
    scraped.twice.count("p1", 100, 40.0)
    scraped.until(220)
    found = scraped.read()
    assert units(found) == (100, 10)
    assert isinstance(found, Samples)
    assert found.strata[0].b.metrics["rating"] == Sums(10, 30.0, 80.0)


def test_series_that_lost_their_process_are_summed_over_their_resets(scraped: Scraped) -> None:
    for value, seen in ((100, 110), (30, 33), (70, 77), (20, 22)):
        scraped.target.count("", value, value / 10)
        scraped.until(seen)
    found = scraped.read()
    assert units(found) == (190, 19)
    assert isinstance(found, Samples)
    (stratum,) = found.strata
    assert stratum.a.metrics["rating"] == Sums(190, pytest.approx(19 - 4.75), pytest.approx(38))
    assert found.notes[0].startswith("counters fell, 2 times in all")


def test_replicas_without_their_process_are_refused_because_nobody_can_tell_them_apart(scraped: Scraped) -> None:
    scraped.target.count("", 100, 40.0)
    scraped.other.count("", 50, 90.0)
    scraped.until(165)
    found = problem(scraped.read())
    assert found.reason == "PrometheusAnswers"
    assert "series of 2 targets have no label process" in found.message


def test_of_two_ledgers_the_larger_one_counts_and_it_is_said(scraped: Scraped) -> None:
    scraped.target.count("p1", 100)
    scraped.until(110)
    scraped.target.count("p2", 30, ledger="000000001000-p2")
    scraped.until(33)
    found = scraped.read()
    assert units(found) == (100, 10)
    assert isinstance(found, Samples)
    assert "33 units are left out" in found.notes[0]


def test_splits_are_strata(scraped: Scraped) -> None:
    target = scraped.target
    target.lines = target.counted("p1", 100, 0) + target.counted("p1", 40, 0, split="0.5")[1:]
    scraped.until(154)
    found = scraped.read()
    assert isinstance(found, Samples)
    assert [(s.fraction, s.a.units, s.b.units) for s in found.strata] == [(0.2, 100, 10), (0.5, 40, 4)]


def test_the_99th_percentile_of_an_arm_is_of_its_own_requests(scraped: Scraped) -> None:
    durations = [
        f'{promql.DURATIONS}{{run="{scraped.run}",version="v",endpoint="e",arm="{arm}",le="{le}"}} {count}'
        for arm, counts in (("A", (100, 100, 100)), ("B", (0, 100, 100)))
        for le, count in zip(("0.1", "0.2", "+Inf"), counts, strict=True)
    ]
    scraped.target.lines = scraped.target.counted("p1", 100, 0) + durations
    scraped.until(110)
    found = scraped.read()
    assert isinstance(found, Samples)
    assert (found.p99_a, found.p99_b) == (pytest.approx(0.099), pytest.approx(0.199))


def test_samples_of_a_target_that_died_are_good_for_the_time_of_patience(scraped: Scraped) -> None:
    scraped.target.count("p1", 100)
    scraped.until(110)
    scraped.target.status, died = 500, datetime.now(UTC)
    scraped.server.until(f'count({names.FULL}{{run="{scraped.run}"}}) or vector(0)', 0)  # stale at once
    found = scraped.read(processes=frozenset({"p1"}))
    assert units(found) == (100, 10)
    assert isinstance(found, Samples)
    assert (abs((found.newest - died).total_seconds()) < 10, found.notes) == (True, ())
    later = found.newest + timedelta(seconds=8)
    old = problem(scraped.read(at=later, patience=5.0))
    assert old.reason == "StaleSamples"
    assert f"{later:%Y-%m-%d %H:%M:%S}Z: the newest is of {found.newest:%Y-%m-%d %H:%M:%S}Z" in old.message
    # as they were while they were fresh
    assert units(scraped.read(at=found.newest, patience=1.0)) == (100, 10)


def test_what_a_broken_server_says_is_a_reason_and_no_error(scraped: Scraped) -> None:
    scraped.target.count("p1", 100)
    scraped.until(110)
    expected: dict[Mode, tuple[str, str]] = {
        "500": ("PrometheusFailed", "answered 500: out of memory"),
        "slow": ("PrometheusUnreachable", "no answer within 1 s"),
        "empty": ("NoSamples", f"has no series of this test (run {scraped.run})"),
        "cut": ("PrometheusAnswers", "something else than Prometheus would"),
        "page": ("PrometheusAnswers", "<html>"),
    }
    proxy = FaultyProxy(scraped.server.url).start()
    try:
        for mode, (reason, words) in expected.items():
            proxy.mode = mode
            found = problem(scraped.read(proxy.url, seconds=1.0 if mode == "slow" else 10.0))
            assert (found.reason, words in found.message) == (reason, True), found
        proxy.mode = "pass"
        assert units(scraped.read(proxy.url)) == (100, 10)
    finally:
        proxy.stop()


class Quiet(ThreadingHTTPServer):
    """Clients that leave before the end are no news."""

    def handle_error(self, *_: Any) -> None:
        pass


class Guard(BaseHTTPRequestHandler):
    """Knows what it wants to be told, and repeats what it was told instead."""

    protocol_version = "HTTP/1.1"
    wanted: ClassVar[set[str]] = {"Bearer right", "Basic bWU6cmlnaHTDqQ=="}  # me:righté

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        told = self.headers.get("authorization") or "nothing"
        send(self, 200, EMPTY) if told in self.wanted else send(self, 401, f"not\nauthorized by {told}".encode())

    def log_message(self, *_: Any) -> None:
        pass


class Broken(Guard):
    """Answers as its class says, and closes."""

    head = b"HTTP/1.1 200 OK\r\n\r\n"
    body = b""
    times = 1

    def do_POST(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(self.head)
            for _ in range(self.times):
                self.wfile.write(self.body)


class Nested(Broken):
    body = b"[" * 200_000


class Endless(Broken):
    body = b" " * (1 << 20)
    times = 17


class CutOff(Broken):
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
    body = EMPTY


class Moved(Broken):
    head = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n"


class NoHttp(Broken):
    head = b"\x16\x03\x01 what?\r\n\r\n"


@contextlib.contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = Quiet(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("handler", "reason", "words"),
    [
        (Nested, "PrometheusAnswers", "something else than Prometheus would: [[["),
        (Endless, "PrometheusAnswers", "more than 16 MiB"),
        (CutOff, "PrometheusAnswers", "broke off"),
        (Moved, "PrometheusFailed", "answered 302"),
        (NoHttp, "PrometheusUnreachable", "Bad status line"),
    ],
)
def test_what_no_prometheus_would_answer_is_a_reason_and_no_error(
    handler: type[Broken], reason: str, words: str
) -> None:
    with answering(handler) as url:
        found = problem(read(url))
    assert (found.reason, words in found.message) == (reason, True), found


@pytest.mark.parametrize("keys", [{"token": "wrong"}, {"username": "me", "password": "wrong"}, {}])
def test_wrong_credentials_are_said_and_not_shown(keys: dict[str, Any]) -> None:
    with answering(Guard) as url:
        found = problem(read(url, **keys))
    assert found.reason == "PrometheusFailed"
    assert "answered 401: not authorized by" in found.message
    assert "check rollback.prometheus.secretRef" in found.message
    assert "wrong" not in found.message


@pytest.mark.parametrize("keys", [{"token": "right"}, {"username": "me", "password": "righté"}])
def test_right_credentials_are_sent(keys: dict[str, Any]) -> None:
    with answering(Guard) as url:
        assert problem(read(url, **keys)).reason == "NoSamples"


@pytest.mark.parametrize(
    "url", ["http://me:secret@host:99999", "http://me:secret@[::1", f"http://me:secret@{'a' * 80}.x"]
)
def test_addresses_that_are_none_are_said_without_their_password(url: str) -> None:
    found = problem(read(url))
    assert found.reason == "PrometheusUnreachable"
    assert "check rollback.prometheus" in found.message
    assert "secret" not in found.message


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    found = problem(read("http://user:secret@127.0.0.1:9"))
    assert found.reason == "PrometheusUnreachable"
    assert "secret" not in found.message
    assert "http://127.0.0.1:9" in found.message
