"""What takes a version back: a list of small functions, each sufficient, each with its numbers. Adding one = one function + one line."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from attune.api.display import percent
from attune.contract import GuardReport, ModelType, ProbeReport
from attune.decide.gates import Problem
from attune.decide.rollback import alerts, rule
from attune.decide.rollback.watching import Watch, limits_of
from attune.observation import Alert, Health, SeenRetriever

UNLIKELY = 1e-3
"""Of chance: so much worse must a version answer the labelled queries. They are the same at every look, so looking often finds no more."""
LEAST_QUERIES = 20


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the active version of a type; `watch` only in its first time after a promotion."""

    seen: SeenRetriever
    type: ModelType
    version: str
    promoted_at: datetime | None
    """None where it was imported, or is what a rollback led to: such a one does not fall further by itself."""
    watch: Watch | None

    @property
    def guards(self) -> tuple[GuardReport, ...]:
        """What the inline guard of each replica says of it."""
        return tuple(g for r in self.seen.replicas if r.report for g in r.report.guards if self._is_ours(g))

    @property
    def probes(self) -> tuple[ProbeReport, ...]:
        """What each replica found by labelled queries."""
        return tuple(p for r in self.seen.replicas if r.report for p in r.report.probes if self._is_ours(p))

    def is_alerted_by(self, alert: Alert) -> bool:
        """Whether this alert takes it back."""
        return alerts.acts(alert, self.version, self.promoted_at, self.seen.retriever.status.handled_alerts)

    def _is_ours(self, report: GuardReport | ProbeReport) -> bool:
        return report.version == self.version and report.type is self.type


def alerted(look: Look) -> Problem | None:
    """Alertmanager says so."""
    acting = [a for a in look.seen.alerts if look.is_alerted_by(a)]
    if not acting:
        return None
    first = min(acting, key=lambda a: a.starts_at)
    return Problem(
        "Alert", f"alert {first.name}, firing since {first.starts_at:%H:%M:%S}Z: {first.summary or 'no summary'}"
    )


def guards_open(look: Look) -> Problem | None:
    """Most replicas do not ask it any more."""
    if look.promoted_at is None:
        return None
    opened, asked = [g for g in look.guards if g.open], [r for r in look.seen.replicas if r.report is not None]
    if not opened or 2 * len(opened) <= len(asked):
        return None
    failures, attempts = sum(g.failures for g in opened), sum(g.attempts for g in opened)
    newest = opened[0]
    return Problem(
        "Guard",
        f"the inline guard of {len(opened)} of {len(asked)} replicas stopped asking it: {failures} of the last {attempts} requests "
        f"failed ({newest.reason}{': ' + newest.message if newest.message else ''})",
    )


def too_many_failures(look: Look) -> Problem | None:
    """Prometheus counted too many failures."""
    health, watch = _health(look), look.watch
    if health is None or watch is None:
        return None
    limits = limits_of(look.seen.retriever)
    found = rule.excess(health.counts, watch.baseline, limits)
    if found is None:
        return None
    count = found.count
    return Problem(
        "ErrorRate",
        f"{percent(100 * count.rate)} of {count.requests:,} requests in {count.seconds} s failed ({count.failures:,}); "
        f"{baseline_words(watch)}, {percent(100 * found.threshold)} is the limit",
    )


def too_slow(look: Look) -> Problem | None:
    """Prometheus counted too many slow answers; only where latencyP99Multiplier is set."""
    health, watch, chosen = _health(look), look.watch, look.seen.retriever.spec.rollback
    if health is None or watch is None or chosen.latency_p99_multiplier is None or watch.p99_before is None:
        return None
    found = rule.slowness(health.counts, watch.p99_before, chosen.latency_p99_multiplier, chosen.min_requests)
    if found is None:
        return None
    count, number, bound = found
    return Problem(
        "Latency",
        f"{number:,} of {count.requests:,} requests in {count.seconds} s took more than {1000 * bound:,.0f} ms; before, one in a hundred "
        f"took more than {1000 * watch.p99_before:,.0f} ms (latencyP99Multiplier {chosen.latency_p99_multiplier:g})",
    )


def recall_dropped(look: Look) -> Problem | None:
    """Labelled queries find less than by the version before, in most replicas."""
    margin = look.seen.retriever.spec.rollback.max_recall_drop
    if look.watch is None:
        return None
    worse = [p for p in look.probes if _is_worse(p, margin)]
    if not worse or 2 * len(worse) <= len(look.probes):
        return None
    told = worse[0]
    return Problem(
        "Recall",
        f"{told.hits} of {told.queries} labelled queries found their document in the first ten, {told.previous_hits} by {told.previous}; "
        f"a drop of {percent(100 * (told.previous_hits - told.hits) / told.queries)}, maxRecallDrop is {percent(100 * margin)}",
    )


TRIGGERS: tuple[Callable[[Look], Problem | None], ...] = (
    alerted,
    guards_open,
    too_many_failures,
    too_slow,
    recall_dropped,
)


def cause_of(look: Look) -> Problem | None:
    """The first reason to take it back."""
    return next((cause for trigger in TRIGGERS if (cause := trigger(look))), None)


def baseline_words(watch: Watch) -> str:
    """`1.2% of 3,400 before`."""
    if watch.baseline.requests is None:
        return f"what was before is not known ({percent(100 * watch.baseline.rate)} is assumed)"
    return f"{percent(100 * watch.baseline.rate)} of {watch.baseline.requests:,} before"


def _is_worse(probe: ProbeReport, margin: float) -> bool:
    if probe.queries < LEAST_QUERIES or probe.previous_hits - probe.hits <= margin * probe.queries:
        return False
    return rule.lost_by_chance(probe.lost, probe.won) < UNLIKELY


def _health(look: Look) -> Health | None:
    found = look.seen.health.get(look.type)
    return found if isinstance(found, Health) else None
