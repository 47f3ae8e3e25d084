"""What was counted of an A/B test, as read from Prometheus: sufficient statistics by arm, metric and split. Frozen values.

A stratum is the time during which one split was served: queries of different strata had different chances to meet B, so they are
compared within their stratum only. Made by `telemetry.prometheus`, judged by `decide.experiment.verdict`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Sums:
    """Sufficient statistics of one metric: how many values, their sum, and the sum of their squares."""

    count: int
    total: float
    squares: float

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(self.count + other.count, self.total + other.total, self.squares + other.squares)


@dataclass(frozen=True, slots=True)
class ArmSamples:
    """One arm in one stratum. `units` are distinct queries; each metric has at most one value of each."""

    units: int = 0
    metrics: Mapping[str, Sums] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stratum:
    """What was counted while B's share of queries was `fraction`."""

    fraction: float
    a: ArmSamples
    b: ArmSamples


@dataclass(frozen=True, slots=True)
class SamplesQuery:
    """Which samples to read: those of one test (the uid of its ABTest), from one Prometheus, as they were at a time."""

    url: str
    run: str
    since: datetime
    at: datetime
    processes: frozenset[str] = frozenset()
    """Serving processes that live now, and that Prometheus should know (`ReplicaReport.process`)."""
    patience: float = 60.0
    """Seconds: samples older than that are stale."""
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Samples:
    """Everything that is known of a test at the time `at`; `newest` is the time of the newest sample behind it."""

    strata: tuple[Stratum, ...]
    at: datetime
    newest: datetime
    ledger: str = ""
    """Which ledger of counted queries they are of; another one is another sample (docs/adr/0021)."""
    notes: tuple[str, ...] = ()
    """What a reader should know: replicas that are not scraped, a full set of queries, units of replicas nobody remembers."""

    p99_a: float | None = None
    p99_b: float | None = None
    """Seconds: the 99th percentile of all requests of the arm's version since the start; for reading only."""

    @property
    def units_a(self) -> int:
        return sum(s.a.units for s in self.strata)

    @property
    def units_b(self) -> int:
        return sum(s.b.units for s in self.strata)


@dataclass(frozen=True, slots=True)
class MetricsProblem:
    """Why nothing can be said: Prometheus is away, has no samples, or old ones. Never a verdict."""

    reason: str
    message: str
