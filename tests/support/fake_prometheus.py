"""What Prometheus would have of a running test, without chance: so many queries a second, and means that are exactly what they are.

Reads the splits that were really served from the Retriever's stored revisions, so a test that is not served has no samples.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from attune.observation import ArmSamples, MetricsProblem, Samples, SamplesQuery, Stratum, Sums
from fake_cluster import FakeCluster

Arm = tuple[float, float]
"""Mean and standard deviation."""


@dataclass
class FakePrometheus:
    """`metrics` name → ((mean, sd) of A, (mean, sd) of B). `broken`: nothing can be read."""

    cluster: FakeCluster
    metrics: dict[str, tuple[Arm, Arm]] = field(default_factory=dict)
    per_second: float = 10.0
    lost_share_of_b: float = 0.0
    broken: MetricsProblem | None = None
    ledger: str = "first"
    queries: list[SamplesQuery] = field(default_factory=list)

    def __call__(self, query: SamplesQuery) -> Samples | MetricsProblem:
        self.queries.append(query)
        if self.broken is not None:
            return self.broken
        strata = tuple(
            self._stratum(fraction, self.per_second * seconds)
            for fraction, seconds in self._served(query.run, query.at)
        )
        if not strata:
            return MetricsProblem("NoSamples", f"no series of run {query.run}")
        return Samples(strata=strata, at=query.at, newest=query.at, ledger=self.ledger)

    def _served(self, run: str, until: datetime) -> list[tuple[float, float]]:
        """(share of B, seconds) of every split of this test that was stored."""
        found: dict[float, float] = {}
        since: datetime | None = None
        fraction = 0.0
        for at, split in self._splits():
            if since is not None:
                found[fraction] = found.get(fraction, 0.0) + (min(at, until) - since).total_seconds()
            since = at if split is not None and split["uid"] == run else None
            fraction = split["fraction"] if split else 0.0
        if since is not None and until > since:
            found[fraction] = found.get(fraction, 0.0) + (until - since).total_seconds()
        return [(f, s) for f, s in sorted(found.items()) if s > 0]

    def _splits(self) -> list[tuple[datetime, dict[str, Any] | None]]:
        changes: list[tuple[datetime, dict[str, Any] | None]] = []
        for at, thing in zip(self.cluster.stored_at, self.cluster.history, strict=True):
            if thing["kind"] == "Retriever":
                split = ((thing.get("status") or {}).get("embedding") or {}).get("split")
                if not changes or changes[-1][1] != split:
                    changes.append((at, split))
        return changes

    def _stratum(self, fraction: float, queries: float) -> Stratum:
        b = int(queries * fraction * (1 - self.lost_share_of_b))
        a = int(queries * (1 - fraction))
        return Stratum(fraction, self._arm(a, 0), self._arm(b, 1))

    def _arm(self, units: int, number: int) -> ArmSamples:
        metrics = {}
        for name, arms in self.metrics.items():
            mean, sd = arms[number]
            metrics[name] = Sums(units, units * mean, units * mean**2 + max(0, units - 1) * sd**2)
        return ArmSamples(units, metrics)
