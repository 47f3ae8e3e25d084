"""Which versions are watched, and what is to be read for it. Pure; asked by `cluster.observe` before, and by `watch` after the reading."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from attune.api import (
    ABTest,
    Action,
    ActiveModel,
    Change,
    Retriever,
    RetrieverStatus,
    parse_duration,
)
from attune.contract import ModelType
from attune.decide.experiment import challengers
from attune.decide.rollback.rule import Baseline, Limits

SHORT_WINDOWS = (15, 60)
"""Seconds: a total outage is seen in the first of them. Beside them the long one, since the promotion."""
EVERY = timedelta(seconds=2)
"""Between two looks: a scrape, or a guard that opens, is seen soon after."""
CONDITION = "Watching"
FOLLOWED, BLIND, WITHOUT_METRICS = "Followed", "Blind", "WithoutMetrics"
OPEN = frozenset({FOLLOWED, BLIND, WITHOUT_METRICS})
"""Reasons of the condition as long as a version is watched."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A promoted version in its first time."""

    type: ModelType
    version: str
    since: datetime
    until: datetime
    baseline: Baseline
    p99_before: float | None

    def windows(self, now: datetime) -> tuple[int, ...]:
        """Seconds, shortest first: none reaches further back than the promotion."""
        long = max(1, int((min(now, self.until) - self.since).total_seconds()))
        return (*(w for w in SHORT_WINDOWS if w < long), long)


def watch_of(retriever: Retriever, model_type: ModelType, now: datetime) -> Watch | None:
    """The watch over the active version, if it was promoted a short time ago; one look more after its end closes it."""
    status, pointer = retriever.status, retriever.status.of(model_type)
    if not retriever.spec.rollback.enabled or pointer is None or pointer.active is None or pointer.promoted_at is None:
        return None
    if not is_promoted(status, model_type):
        return None
    until = pointer.promoted_at + parse_duration(retriever.spec.rollback.window)
    if now >= until and not _is_open(status, model_type):
        return None
    return Watch(
        type=model_type,
        version=pointer.active,
        since=pointer.promoted_at,
        until=until,
        baseline=baseline_of(pointer, limits_of(retriever)),
        p99_before=pointer.baseline_latency_p99_seconds,
    )


def is_promoted(status: RetrieverStatus, model_type: ModelType) -> bool:
    """Whether the active version became so by a promotion; not by its import, nor by a rollback."""
    last, pointer = last_change(status, model_type), status.of(model_type)
    return (
        last is not None and pointer is not None and last.action is Action.PROMOTED and last.version == pointer.active
    )


def last_change(status: RetrieverStatus, model_type: ModelType) -> Change | None:
    """The newest move of this pointer, as far as the history remembers."""
    return next((c for c in reversed(status.changes or ()) if c.type is model_type), None)


def _is_open(status: RetrieverStatus, model_type: ModelType) -> bool:
    """Whether the condition still speaks of a watch over this version."""
    said = next((c for c in status.conditions or () if c.type == CONDITION), None)
    pointer = status.of(model_type)
    name = pointer.active if pointer else None
    return said is not None and said.reason in OPEN and name is not None and name in said.message


def limits_of(retriever: Retriever) -> Limits:
    """What spec.rollback says."""
    chosen = retriever.spec.rollback
    return Limits(chosen.error_rate_multiplier, chosen.min_requests, chosen.min_error_rate)


def baseline_of(pointer: ActiveModel, limits: Limits) -> Baseline:
    """What was recorded at the promotion. Where too little is known, the least rate that is a reason stands for it."""
    counted = pointer.baseline_requests or 0
    if pointer.baseline_error_rate is None or counted < limits.min_requests:
        return Baseline(limits.min_rate)
    return Baseline(pointer.baseline_error_rate, counted)


def is_about_to_move(status: RetrieverStatus, tests: tuple[ABTest, ...], model_type: ModelType) -> bool:
    """Whether this look may promote a version, so that the rates of the one before are to be read."""
    pointer = status.of(model_type)
    if pointer is None or pointer.active is None:
        return False
    candidate = status.candidate(model_type)
    split = pointer.split
    winner = split is not None and any(t.metadata.uid == split.uid and challengers.asks_for_promotion(t) for t in tests)
    return winner or (candidate is not None and candidate.test is None)
