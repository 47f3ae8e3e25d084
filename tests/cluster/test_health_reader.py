"""How well a version answers, as the operator reads it from a real Prometheus: exact counts over windows, whatever starts and ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import pytest

from attune.contract import ModelType
from attune.contract import health as names
from attune.observation import Health, HealthQuery, MetricsProblem
from attune.telemetry.prometheus import Prometheus
from faulty_proxy import FaultyProxy
from metrics_page import MetricsPage
from prometheus_server import PrometheusServer


class Page(MetricsPage):
    """The counters of serving processes."""

    def tell(self, *lines: list[str]) -> None:
        self.lines = [line for some in lines for line in some]


def counted(
    process: str, attempts: int, failures: int = 0, shared: int = 0, *, version: str = "emb-v2", slow: int = 0
) -> list[str]:
    """What one process has counted by now."""
    by = f'attune_namespace="news",attune_retriever="docs",attune_version="{version}",attune_type="embedding",process="{process}"'
    buckets = {"0.05": attempts - slow, "0.1": attempts - slow, "1.0": attempts, "+Inf": attempts}
    return [
        f"{names.ATTEMPTS}{{{by}}} {attempts}",
        f'{names.FAILURES}{{{by},reason="model_failed"}} {failures}',
        f'{names.FAILURES}{{{by},reason="{names.SHARED}"}} {shared}',
        *(f'{names.SECONDS}_bucket{{{by},le="{le}"}} {count}' for le, count in buckets.items()),
        f"{names.SECONDS}_sum{{{by}}} 1",
        f"{names.SECONDS}_count{{{by}}} {attempts}",
    ]


class Scraped:
    """A Prometheus over two pages; the second is scraped by two jobs."""

    def __init__(self, folder: Path) -> None:
        self.page, self.twice = Page(), Page()
        self.server = PrometheusServer(folder)
        again = {"job_name": "again", "static_configs": [{"targets": [self.twice.address]}]}
        self.server.jobs = [self.server.file_job(), again]
        self.server.targets([self.page.address, self.twice.address])
        self.server.start()

    def until(self, attempts: int, version: str = "emb-v2") -> None:
        """So many attempts are known, of a scrape that has just been made."""
        self.server.until(f'sum(max by (process) ({names.ATTEMPTS}{{attune_version="{version}"}}))', attempts)

    def close(self) -> None:
        self.server.kill()
        self.page.stop()
        self.twice.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    made = Scraped(tmp_path_factory.mktemp("prometheus"))
    yield made
    made.close()


@pytest.fixture
def scraped(server: Scraped) -> Scraped:
    server.page.tell()
    server.twice.tell()
    return server


def read(url: str, *windows: int, version: str, **more: Any) -> Health | MetricsProblem:
    async def once() -> Health | MetricsProblem:
        prometheus = Prometheus()
        try:
            return await prometheus.health(
                HealthQuery(url, "news", "docs", ModelType.EMBEDDING, version, windows, **more)
            )
        finally:
            await prometheus.close()

    return asyncio.run(once())


def counts(found: Health | MetricsProblem) -> list[tuple[int, int]]:
    assert isinstance(found, Health), found
    return [(c.requests, c.failures) for c in found.counts]


def test_windows_are_exact_and_a_first_sample_counts_from_zero(scraped: Scraped) -> None:
    scraped.page.tell(counted("a", 1000, 10, version="exact"))
    scraped.until(1000, "exact")
    assert counts(read(scraped.server.url, 3, 60, version="exact")) == [(1000, 10), (1000, 10)], (
        "there was nothing three seconds ago"
    )
    time.sleep(6)
    scraped.page.tell(counted("a", 1200, 70, version="exact"))
    scraped.until(1200, "exact")
    assert counts(read(scraped.server.url, 4, 60, version="exact")) == [(200, 60), (1200, 70)]


def test_processes_are_added_up_whether_they_start_end_or_are_scraped_twice(scraped: Scraped) -> None:
    scraped.page.tell(counted("a", 500, 5, version="many"))
    scraped.twice.tell(counted("b", 300, 3, version="many"))
    scraped.until(800, "many")
    time.sleep(6)
    scraped.page.tell(counted("c", 40, 4, version="many"))  # a was killed, and began anew as c
    scraped.twice.tell(counted("b", 350, 8, version="many"))
    scraped.until(390, "many")
    assert counts(read(scraped.server.url, 4, 60, version="many")) == [(90, 9), (890, 17)]


def test_what_the_previous_version_could_not_answer_either_is_no_failure(scraped: Scraped) -> None:
    scraped.page.tell(counted("a", 100, 7, shared=60, version="shared"))
    scraped.until(100, "shared")
    assert counts(read(scraped.server.url, 60, version="shared")) == [(100, 7)]


def test_another_version_or_retriever_is_not_counted(scraped: Scraped) -> None:
    other = [line.replace('retriever="docs"', 'retriever="other"') for line in counted("z", 999, 999, version="mine")]
    scraped.page.tell(counted("a", 100, 1, version="mine"), counted("a", 777, 777, version="theirs"), other)
    scraped.until(1099, "mine")
    assert counts(read(scraped.server.url, 60, version="mine")) == [(100, 1)]


def test_durations_are_read_where_they_are_asked_for(scraped: Scraped) -> None:
    scraped.page.tell(counted("a", 100, version="timed", slow=20))
    scraped.until(100, "timed")
    found = read(scraped.server.url, 60, version="timed", latency=True)
    assert isinstance(found, Health)
    assert found.counts[0].durations == {0.05: 80, 0.1: 80, 1.0: 100, inf: 100}
    plain = read(scraped.server.url, 60, version="timed")
    assert isinstance(plain, Health)
    assert plain.counts[0].durations == {}


def test_a_version_that_nobody_scrapes_and_one_whose_samples_are_old_say_so(scraped: Scraped) -> None:
    nothing = read(scraped.server.url, 15, 60, version="unheard-of")
    assert isinstance(nothing, MetricsProblem)
    assert nothing.reason == "NoSamples"
    assert "it must scrape the serving Pods, port 8000, path /metrics" in nothing.message
    scraped.page.tell(counted("a", 100, version="old"))
    scraped.until(100, "old")
    time.sleep(1.5)
    stale = read(scraped.server.url, 15, version="old", patience=-1)
    assert isinstance(stale, MetricsProblem)
    assert stale.reason == "StaleSamples"


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("500", "PrometheusFailed"),
        ("slow", "PrometheusUnreachable"),
        ("cut", "PrometheusAnswers"),
        ("page", "PrometheusAnswers"),
        ("empty", "NoSamples"),
    ],
)
def test_what_a_server_can_do_wrong_is_a_problem_in_words_within_seconds(
    scraped: Scraped, mode: Any, reason: str
) -> None:
    scraped.page.tell(counted("a", 100, version="faulty"))
    scraped.until(100, "faulty")
    proxy = FaultyProxy(scraped.server.url).start()
    proxy.mode = mode
    try:
        began = time.monotonic()
        found = read(proxy.url, 15, 60, version="faulty")
    finally:
        proxy.stop()
    assert isinstance(found, MetricsProblem), found
    assert found.reason == reason
    assert time.monotonic() - began < 10, "a watch does not wait for long"


def test_a_server_that_is_not_there_is_unreachable() -> None:
    found = read("http://127.0.0.1:9", 15, version="any")
    assert isinstance(found, MetricsProblem)
    assert found.reason == "PrometheusUnreachable"
