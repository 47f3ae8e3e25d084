"""What the operator reads of a test from a real Prometheus: exact sums whatever restarts, and a reason where there are none."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from attune.contract import counting as names
from attune.observation import MetricsProblem, Samples, SamplesQuery, Sums
from attune.telemetry.prometheus import Prometheus
from faulty_proxy import FaultyProxy
from prometheus_server import PrometheusServer


class Target:
    """A /metrics page that a test writes."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        target = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = ("\n".join(target.lines) + "\n").encode()
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def count(self, process: str, units: int, total: float = 0.0, *, split: str = "0.2", ledger: str = "first") -> None:
        """What a process has counted by now, of both arms: B has a tenth of A's units."""
        self.lines = [f'{names.FULL}{{test="t",run="uid-1",process="{process}"}} 0']
        for arm, n in (("A", units), ("B", units // 10)):
            by = f'test="t",run="uid-1",ledger="{ledger}",split="{split}",arm="{arm}",process="{process}"'
            self.lines += [
                f"{names.UNITS}{{{by}}} {n}",
                f'{names.VALUES}{{{by},metric="rating"}} {n}',
                f'{names.SUM}{{{by},metric="rating",sign="plus"}} {total}',
                f'{names.SUM}{{{by},metric="rating",sign="minus"}} {total / 4}',
                f'{names.SQUARES}{{{by},metric="rating"}} {total * 2}',
            ]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def target() -> Iterator[Target]:
    made = Target()
    yield made
    made.stop()


@pytest.fixture
def prometheus(tmp_path: Path, target: Target) -> Iterator[PrometheusServer]:
    server = PrometheusServer(tmp_path / "prometheus")
    server.targets([target.address])
    server.start()
    yield server
    server.kill()


BEGAN = datetime.now(UTC) - timedelta(minutes=1)


def read(url: str, **more: Any) -> Samples | MetricsProblem:
    async def once() -> Samples | MetricsProblem:
        reader = Prometheus(seconds=3)
        try:
            query = {"url": url, "run": "uid-1", "since": BEGAN, "at": datetime.now(UTC)}
            return await reader.samples(SamplesQuery(**(query | more)))
        finally:
            await reader.close()

    return asyncio.run(once())


def scraped(prometheus: PrometheusServer, process: str, units: int) -> None:
    prometheus.until(f'sum({names.UNITS}{{process="{process}",arm="A"}})', units)


def units(found: Samples | MetricsProblem) -> tuple[int, int]:
    assert isinstance(found, Samples), found
    return found.units_a, found.units_b


def test_sums_are_exact_over_starts_of_a_process_and_of_prometheus(
    prometheus: PrometheusServer, target: Target
) -> None:
    assert problem(read(prometheus.url)).reason == "NoSamples"
    target.count("p1", 100, 40.0)
    scraped(prometheus, "p1", 100)
    target.count("p2", 30, 8.0)  # the process was killed: its series end, and others begin
    scraped(prometheus, "p2", 30)
    prometheus.restart()
    target.count("p2", 50, 12.0)
    scraped(prometheus, "p2", 50)
    found = read(prometheus.url, processes=frozenset({"p2", "p3"}))
    assert units(found) == (150, 15)
    assert isinstance(found, Samples)
    (stratum,) = found.strata
    assert stratum.fraction == 0.2
    assert stratum.a.metrics["rating"] == Sums(150, 52.0 - 13.0, 104.0)
    assert found.notes == ("1 of 2 replicas are not scraped: process p3",)
    prometheus.wipe()
    again = read(prometheus.url)
    assert isinstance(again, MetricsProblem) or units(again) == (50, 5)
    scraped(prometheus, "p2", 50)
    assert units(read(prometheus.url)) == (50, 5)


def test_a_target_that_two_jobs_scrape_counts_once(prometheus: PrometheusServer, target: Target) -> None:
    prometheus.jobs = [prometheus.file_job(), prometheus.file_job("again")]
    prometheus.reload()
    target.count("p1", 100)
    prometheus.until(f"sum({names.UNITS})", 220)
    assert units(read(prometheus.url)) == (100, 10)


def test_series_that_lost_their_process_are_summed_over_their_resets(
    prometheus: PrometheusServer, target: Target
) -> None:
    for value, seen in ((100, 100), (30, 30), (70, 70), (20, 20)):
        target.count("", value, value / 10)
        scraped(prometheus, "", seen)
    assert units(read(prometheus.url)) == (190, 19)


def test_of_two_ledgers_the_larger_one_counts_and_it_is_said(prometheus: PrometheusServer, target: Target) -> None:
    target.count("p1", 100)
    scraped(prometheus, "p1", 100)
    target.count("p2", 30, ledger="000000001000-p2")
    scraped(prometheus, "p2", 30)
    found = read(prometheus.url)
    assert units(found) == (100, 10)
    assert isinstance(found, Samples)
    assert "33 units are left out" in found.notes[0]


def test_splits_are_strata(prometheus: PrometheusServer, target: Target) -> None:
    target.count("p1", 100)
    lines = target.lines
    target.count("p1", 40, split="0.5")
    target.lines = [*lines, *target.lines[1:]]
    prometheus.until(f"sum({names.UNITS})", 154)
    found = read(prometheus.url)
    assert isinstance(found, Samples)
    assert [(s.fraction, s.a.units, s.b.units) for s in found.strata] == [(0.2, 100, 10), (0.5, 40, 4)]


def test_old_samples_are_no_samples(prometheus: PrometheusServer, target: Target) -> None:
    target.count("p1", 100)
    scraped(prometheus, "p1", 100)
    target.stop()
    time.sleep(4)
    found = problem(read(prometheus.url, patience=2.0))
    assert found.reason == "StaleSamples"
    # as they were while they were fresh
    assert units(read(prometheus.url, patience=2.0, at=datetime.now(UTC) - timedelta(seconds=4.5))) == (100, 10)


@pytest.mark.parametrize(
    ("mode", "reason", "words"),
    [
        ("500", "PrometheusFailed", "answered 500: out of memory"),
        ("slow", "PrometheusUnreachable", "no answer in time"),
        ("empty", "NoSamples", "has no series of this test (run uid-1)"),
        ("cut", "PrometheusAnswers", "something else than Prometheus would"),
        ("page", "PrometheusAnswers", "<html>"),
    ],
)
def test_what_a_broken_server_says_is_a_reason_and_no_error(
    prometheus: PrometheusServer, target: Target, mode: Any, reason: str, words: str
) -> None:
    target.count("p1", 100)
    scraped(prometheus, "p1", 100)
    proxy = FaultyProxy(prometheus.url).start()
    proxy.mode = mode
    try:
        found = problem(read(proxy.url))
        assert (found.reason, words in found.message) == (reason, True), found
        proxy.mode = "pass"
        assert units(read(proxy.url)) == (100, 10)
    finally:
        proxy.stop()


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    found = problem(read("http://user:secret@127.0.0.1:9"))
    assert found.reason == "PrometheusUnreachable"
    assert "secret" not in found.message
    assert "http://127.0.0.1:9" in found.message


def problem(found: Samples | MetricsProblem) -> MetricsProblem:
    assert isinstance(found, MetricsProblem), found
    return found
