"""The API's own metrics, in a registry of their own. Written to by `middleware` and the transport, served under /metrics."""

from collections.abc import Callable

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

from attune import __version__

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series a counter, which nobody asks for

_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """One instance a process."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, streams: Callable[[], int]) -> None:
        self.registry = home = CollectorRegistry(auto_describe=True)
        self._answers = Counter(
            "attune_rest_requests_total", "Answered requests.", ["method", "route", "status"], registry=home
        )
        self._duration = Histogram(
            "attune_rest_request_duration_seconds",
            "Time until an answer began.",
            ["method", "route"],
            buckets=_DURATIONS,
            registry=home,
        )
        self._cluster = Counter(
            "attune_rest_api_server_requests_total", "Requests to the API server.", ["verb", "code"], registry=home
        )
        Gauge("attune_rest_streams", "Open streams of events.", registry=home).set_function(streams)
        ProcessCollector(registry=home)
        Gauge("attune_build_info", "Always 1.", ["version"], registry=home).labels(__version__).set(1)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request; `route` is the path with its parameters' names, so that there are few."""
        self._answers.labels(method, route, str(status)).inc()
        self._duration.labels(method, route).observe(seconds)

    def cluster_request(self, verb: str, code: str) -> None:
        """One request to the API server; `code` is "error" when there was no answer."""
        self._cluster.labels(verb, code).inc()

    def render(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)
