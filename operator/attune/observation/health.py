"""How well a version answers, as read from Prometheus, and what Alertmanager says of it. Frozen values.

Made by `telemetry.prometheus` and `telemetry.webhook`, judged by `decide.rollback`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from attune.contract import ModelType


@dataclass(frozen=True, slots=True)
class HealthQuery:
    """Which attempts to count: those of one version, over windows that end now, by the server's own clock."""

    url: str
    namespace: str
    retriever: str
    type: ModelType
    version: str
    windows: tuple[int, ...]
    """Seconds, each."""
    latency: bool = False
    """Read the histogram of durations, too."""
    patience: float = 60.0
    """Seconds: samples older than that are stale."""
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Count:
    """Attempts of a version over a window. Failures that the previous version had in common are no failures."""

    seconds: int
    requests: int
    failures: int
    durations: Mapping[float, int] = field(default_factory=dict)
    """Upper bound in seconds (the last one: infinity) → attempts that took at most so long; empty where it was not asked for."""

    @property
    def rate(self) -> float:
        """Share of failures; 0 of nothing."""
        return self.failures / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Health:
    """What was counted, shortest window first."""

    counts: tuple[Count, ...]

    def over(self, seconds: int) -> Count | None:
        """The count of the window of so many seconds."""
        return next((c for c in self.counts if c.seconds == seconds), None)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert of Alertmanager about a version of a Retriever."""

    fingerprint: str
    starts_at: datetime
    firing: bool
    version: str
    name: str
    summary: str = ""
