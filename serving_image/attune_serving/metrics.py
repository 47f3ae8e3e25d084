"""What a serving process tells Prometheus, in a registry of its own. Written to by the app, the shelf and the replica."""

from collections.abc import Callable, Iterator

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from attune.contract import VersionReport

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series a counter, which nobody asks for

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128)
BY = ["endpoint", "version", "arm", "run"]
"""`arm` and `run` (the uid of the ABTest) are empty for what takes part in no test."""


class Metrics:
    """One instance a process. Names follow the Prometheus conventions: unit at the end, `_total` for counters."""

    def __init__(self) -> None:
        home = self.registry = CollectorRegistry(auto_describe=True)
        self._of_requests(home)
        self._of_versions(home)
        self.judgements = Counter(
            "attune_serving_judgements_total",
            "Sampled searches, by what became of them: judged, failed, or over the rate, tokens or queue.",
            ["outcome"],
            registry=home,
        )
        self.judge_tokens = Counter("attune_serving_judge_tokens_total", "Tokens that judging cost.", registry=home)
        ProcessCollector(registry=home)

    def _of_requests(self, home: CollectorRegistry) -> None:
        self.seconds = Histogram(
            "attune_serving_request_duration_seconds",
            "From the first byte of a request to the last of its answer.",
            BY,
            buckets=SECONDS,
            registry=home,
        )
        self.requests = Counter("attune_serving_requests_total", "Answered requests.", [*BY, "code"], registry=home)
        self.errors = Counter(
            "attune_serving_errors_total", "Requests that a version could not answer (5xx).", BY, registry=home
        )
        self.tested = Counter(
            "attune_serving_test_requests_total",
            "Requests that took part in a test.",
            ["version", "test", "arm"],
            registry=home,
        )
        self.feedback = Counter(
            "attune_serving_feedback_total", "Values that applications sent.", ["version", "metric"], registry=home
        )
        self.feedback_sum = Gauge(
            "attune_serving_feedback_value_sum", "Sum of these values.", ["version", "metric"], registry=home
        )

    def _of_versions(self, home: CollectorRegistry) -> None:
        self.swaps = Counter("attune_serving_swaps_total", "Changes of what answers.", registry=home)
        self.generation = Gauge("attune_serving_generation", "Generation that answers now.", registry=home)
        self.problem = Gauge(
            "attune_serving_config_problem",
            "1 while the newest configuration is not followed.",
            ["reason"],
            registry=home,
        )
        self.failures = Counter(
            "attune_serving_load_failures_total",
            "Attempts to load a version that failed.",
            ["version", "reason"],
            registry=home,
        )
        self.batch_texts = Histogram(
            "attune_serving_batch_texts", "Texts computed together.", ["version"], buckets=TEXTS, registry=home
        )
        self.batch_seconds = Counter(
            "attune_serving_model_seconds_total", "Time that a model computed.", ["version"], registry=home
        )
        self.tokens = Counter("attune_serving_tokens_total", "Tokens computed.", ["version"], registry=home)

    def watch(self, reports: Callable[[], tuple[VersionReport, ...]], depths: Callable[[], dict[str, int]]) -> None:
        """Read loaded versions and queues whenever the metrics are."""
        self.registry.register(_Loaded(reports, depths))

    def said(self, reason: str | None) -> None:
        """The newest configuration is followed (None), or why not, in one word."""
        self.problem.clear()
        if reason is not None:
            self.problem.labels(reason).set(1)

    def forget(self, version: str) -> None:
        """A version is not loaded any more: its series of the model go, counters of requests stay."""
        for metric in (self.batch_texts, self.batch_seconds, self.tokens):
            try:
                metric.remove(version)
            except KeyError:
                continue

    def text(self) -> tuple[bytes, str]:
        """Body and content type of /metrics."""
        return generate_latest(self.registry), CONTENT_TYPE_LATEST


class _Loaded(Collector):
    """Versions by state, and how much waits for each."""

    def __init__(self, reports: Callable[[], tuple[VersionReport, ...]], depths: Callable[[], dict[str, int]]) -> None:
        self._reports = reports
        self._depths = depths

    def collect(self) -> Iterator[GaugeMetricFamily]:
        loaded = GaugeMetricFamily(
            "attune_serving_version_state",
            "1 for the state a version is in.",
            labels=["version", "type", "state", "reason"],
        )
        for report in self._reports():
            loaded.add_metric([report.name, report.type.value, report.state.value, report.reason or ""], 1)
        queued = GaugeMetricFamily("attune_serving_queue_tokens", "Tokens that wait.", labels=["version"])
        for version, depth in self._depths().items():
            queued.add_metric([version], depth)
        yield loaded
        yield queued
