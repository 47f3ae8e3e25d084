"""The operator's own metrics, in a registry of their own (no process-wide default). Served by `telemetry.server`.

Written to by the work queue, the client, the lease, the handlers and the reconcilers.
"""

import time
from collections.abc import Callable, Mapping

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

from attune import __version__
from attune.errors import ClusterError
from attune.telemetry.actives import Actives
from attune.workqueue import Key

disable_created_metrics()  # type: ignore[no-untyped-call]  # one more series a counter, which nobody asks for

_DURATIONS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """One instance a process. Names follow the Prometheus conventions: unit at the end, `_total` for counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        home = self.registry
        self._reconciles = Counter("attune_reconciles_total", "Finished reconciles.", ["kind", "result"], registry=home)
        self._duration = Histogram(
            "attune_reconcile_duration_seconds", "Duration of a reconcile.", ["kind"], buckets=_DURATIONS, registry=home
        )
        self._errors = Counter("attune_errors_total", "Failed reconciles.", ["kind", "reason"], registry=home)
        self._depth = Gauge("attune_queue_depth", "Objects that wait for a worker.", registry=home)
        self._in_progress = Gauge("attune_queue_in_progress", "Objects that are reconciled now.", registry=home)
        self._requests = Counter(
            "attune_api_requests_total", "Requests to the API server.", ["verb", "code"], registry=home
        )
        self._alerts = Counter(
            "attune_webhook_alerts_total", "Alerts that came, by what came of them.", ["outcome"], registry=home
        )
        self._rollbacks = Counter(
            "attune_rollbacks_total", "Versions taken back, by trigger.", ["trigger"], registry=home
        )
        self._scheduled = Counter(
            "attune_schedule_times_total",
            "Scheduled times of TrainingSchedules, by what came of them.",
            ["activity", "outcome"],
            registry=home,
        )
        self._notifications = Counter(
            "attune_notifications_total", "Notifications, by what became of a try.", ["type", "result"], registry=home
        )
        self._leader = Gauge("attune_leader", "1 while this replica holds the lease.", registry=home)
        self._phases = _Phases()
        self._streams = _Ages()
        self.actives = Actives()
        self.registry.register(self._phases)
        self.registry.register(self._streams)
        self.registry.register(self.actives)
        ProcessCollector(registry=self.registry)
        Gauge("attune_build_info", "Always 1.", ["version"], registry=home).labels(__version__).set(1)
        self._leader.set(0)

    # the work queue

    def queue_changed(self, depth: int, processing: int) -> None:
        """Called by the queue whenever one of the numbers changed."""
        self._depth.set(depth)
        self._in_progress.set(processing)

    def processed(self, key: Key, seconds: float, error: Exception | None) -> None:
        """One reconcile is over. Errors that pass by themselves count as `retry`, the others as `error`."""
        result = "success" if error is None else "retry" if _passes(error) else "error"
        self._reconciles.labels(key.kind, result).inc()
        self._duration.labels(key.kind).observe(seconds)
        if error is not None:
            self._errors.labels(key.kind, type(error).__name__).inc()

    # rollbacks

    def alert(self, outcome: str, count: int = 1) -> None:
        """Alerts were dealt with: rolled_back, ignored, duplicate, unknown, or refused."""
        self._alerts.labels(outcome).inc(count)

    def rolled_back(self, trigger: str) -> None:
        """A version was taken back: ByHand, Alert, Guard, ErrorRate, Latency or Recall."""
        self._rollbacks.labels(trigger).inc()

    # schedules

    def scheduled(self, activity: str, outcome: str) -> None:
        """A scheduled time of preparation or training was dealt with: Started, Missed, TooFewNewPairs, TrainingRunning, …"""
        self._scheduled.labels(activity, outcome).inc()

    # notifications

    def notification(self, target_type: str, result: str) -> None:
        """A try ended: Delivered, Retrying, or Failed for good."""
        self._notifications.labels(target_type, result).inc()

    # objects

    def object_phase(self, key: Key, phase: str) -> None:
        """The phase (or stage) an object is in now."""
        self._phases.of[key] = phase

    def object_gone(self, key: Key) -> None:
        """The object was deleted."""
        self._phases.of.pop(key, None)
        if key.kind == "Retriever":
            self.actives.of.pop((key.namespace, key.name), None)

    # the API server

    def request(self, verb: str, code: str) -> None:
        """One request was answered; `code` is "error" when there was no answer."""
        self._requests.labels(verb, code).inc()

    def leading(self, yes: bool) -> None:
        """This replica became, or is no longer, the leader."""
        self._leader.set(int(yes))

    def watch_streams(self, last: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        """Export the age of the last sign of life of each watch stream; `last` is read at every scrape."""
        self._streams.last, self._streams.clock = last, clock

    content_type = CONTENT_TYPE_LATEST

    def render(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)


def _passes(error: Exception) -> bool:
    """True for what gets better without anybody doing anything."""
    return isinstance(error, ClusterError) and error.transient


class _Phases(Collector):
    """Counts objects by phase at scrape time: nothing to keep in step when an object moves or goes."""

    def __init__(self) -> None:
        self.of: dict[Key, str] = {}

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily("attune_objects", "Objects by phase.", labels=["kind", "phase"])
        counts: dict[tuple[str, str], int] = {}
        for key, phase in self.of.items():
            counts[key.kind, phase] = counts.get((key.kind, phase), 0) + 1
        for labels, count in sorted(counts.items()):
            family.add_metric(labels, count)
        return [family]


class _Ages(Collector):
    """Seconds since each watch stream showed itself."""

    def __init__(self) -> None:
        self.last: Mapping[str, float] = {}
        self.clock: Callable[[], float] = time.monotonic

    def collect(self) -> list[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "attune_watch_age_seconds", "Seconds since the last sign of life of a watch stream.", labels=["stream"]
        )
        for stream, at in sorted(self.last.items()):
            family.add_metric([stream], max(0.0, self.clock() - at))
        return [family]
