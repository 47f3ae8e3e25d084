"""What versions were asked, and how it went, for Prometheus: the series of `attune.contract.health`. Written by `guarding`, `probing`.

An attempt is one request that one version was asked to answer. It is counted when it has ended, whoever answered the user.
"""

from contextlib import suppress
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from attune.contract import ModelType, ServingConfig, health
from attune_serving import metrics
from attune_serving.guard import Failure
from attune_serving.racing import LateError
from attune_serving.refusals import Broken, Refused

MODEL_FAILED, WRONG_DIMENSION, UPSTREAM_FAILED = "model_failed", "wrong_dimension", "upstream_failed"
INDEX_UNAVAILABLE, TIMED_OUT, INTERNAL = "index_unavailable", "timed_out", "internal"
REASONS = (MODEL_FAILED, WRONG_DIMENSION, UPSTREAM_FAILED, INDEX_UNAVAILABLE, TIMED_OUT, INTERNAL, health.SHARED)
"""All there are. Where a client sees one of them, it is the code of its error."""
SPREADS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1)
"""Bounds for cosine, where the best and the tenth document of a sound model are 0.05 to 0.3 apart."""


def failure_of(error: BaseException) -> Failure | None:
    """What a version did wrong; None where it did nothing: the client's mistakes (4xx) and full queues (429)."""
    if isinstance(error, Broken) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, LateError):
        return Failure(TIMED_OUT, "no answer in time")
    if isinstance(error, Refused):
        if error.status < 500:
            return None
        return Failure(error.code if error.code in REASONS else INTERNAL, str(error))
    return Failure(INTERNAL, f"{type(error).__name__}: {error}")


@dataclass(frozen=True, slots=True)
class Series:
    """Of one version. Looked up once, not at each request."""

    attempts: Counter
    failures: dict[str, Counter]
    seconds: Histogram
    fallbacks: Counter
    open: Gauge
    spread: Histogram

    def ended(self, seconds: float, reason: str | None) -> None:
        """An attempt ended; `reason` None: with an answer."""
        self.attempts.inc()
        self.seconds.observe(seconds)
        if reason is not None:
            self.failures[reason].inc()


class Attempts:
    """One instance a process. `configured` before anything else."""

    def __init__(self, registry: CollectorRegistry, process: str) -> None:
        self._process = process
        self._where = ("", "")
        self._series: dict[tuple[ModelType, str], Series] = {}
        by = list(health.BY)
        self._attempts = Counter(health.ATTEMPTS, "Requests that a version was asked to answer.", by, registry=registry)
        self._failures = Counter(
            health.FAILURES, "Those that it could not answer.", [*by, health.REASON], registry=registry
        )
        self._seconds = Histogram(
            health.SECONDS, "How long attempts took.", by, buckets=metrics.SECONDS, registry=registry
        )
        self._fallbacks = Counter(
            health.FALLBACKS, "Requests that the previous version answered in its place.", by, registry=registry
        )
        self._open = Gauge(
            health.GUARD_OPEN, "1 while the version is not asked, after too many failures.", by, registry=registry
        )
        self._spread = Histogram(
            health.SPREAD,
            "The best score less the tenth of the dense part of a search.",
            by,
            buckets=SPREADS,
            registry=registry,
        )
        self._queries = Gauge(health.PROBE_QUERIES, "Labelled queries of the last probe.", by, registry=registry)
        self._recall = Gauge(
            health.PROBE_RECALL, "Share of them with a relevant document among the first ten.", by, registry=registry
        )

    def configured(self, config: ServingConfig) -> None:
        """This is served from now on: whatever may be asked has its series, with 0, before it is."""
        where = (config.namespace, config.retriever)
        if where != self._where:
            self._where = where
            self._series.clear()
        for version in config.versions:
            self.of(version.type, version.name)

    def of(self, model_type: ModelType, name: str) -> Series:
        """The series of a version."""
        found = self._series.get((model_type, name))
        if found is None:
            found = self._series[model_type, name] = self._made(self._labels(model_type, name))
        return found

    def probed(self, model_type: ModelType, name: str, queries: int, hits: int) -> None:
        """The newest probe of a version. Without any query there is no share, and the last one stays."""
        labels = self._labels(model_type, name)
        self._queries.labels(*labels).set(queries)
        if queries:
            self._recall.labels(*labels).set(hits / queries)

    def unprobed(self, model_type: ModelType, name: str) -> None:
        """It is not compared any more; without a probe of it that is fine."""
        labels = self._labels(model_type, name)
        for gauge in (self._queries, self._recall):
            with suppress(KeyError):
                gauge.remove(*labels)

    def _labels(self, model_type: ModelType, name: str) -> tuple[str, ...]:
        """In the order of health.BY."""
        return (*self._where, name, model_type.value, self._process)

    def _made(self, labels: tuple[str, ...]) -> Series:
        made = Series(
            attempts=self._attempts.labels(*labels),
            failures={reason: self._failures.labels(*labels, reason) for reason in REASONS},
            seconds=self._seconds.labels(*labels),
            fallbacks=self._fallbacks.labels(*labels),
            open=self._open.labels(*labels),
            spread=self._spread.labels(*labels),
        )
        made.open.set(0)
        return made
