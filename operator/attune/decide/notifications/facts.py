"""Names, numbers and the built-in words of what happened. Pure; called by `payloads` and, with samples, by `templates`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from attune.api import ABTest, Change, NotificationEvent, Retriever, TrainingJob, Winner, conditions
from attune.decide.rollback import way_back
from attune.observation import Notification

Number = float | int
T = TypeVar("T")
WINNERS = {Winner.A: "A wins", Winner.B: "B wins", Winner.INCONCLUSIVE: "inconclusive"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What people, programs and templates are told. A number that was not measured is absent."""

    title: str
    message: str = ""
    reason: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    numbers: Mapping[str, Number] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return f"{self.title}\n{self.message}" if self.message else self.title


def facts_of(told: Notification) -> Facts:
    """Of one notification."""
    about = told.about
    if isinstance(about, TrainingJob):
        return _training(about, told.event)
    if isinstance(about, ABTest):
        return _test(about, told.event)
    assert told.change is not None
    return _move(about, told.change, told.event)


def _training(job: TrainingJob, event: NotificationEvent) -> Facts:
    status, name = job.status, job.metadata.name
    succeeded = event is NotificationEvent.TRAINING_SUCCEEDED
    title = f"Training {name} succeeded" if succeeded else f"Training {name} failed: {status.reason}"
    names = {"job": name, "type": job.spec.type.value, "version": status.model_version}
    measured = status.evaluation.metrics if status.evaluation else None
    trained = status.artifact.training if status.artifact else None
    numbers = {
        "evalThreshold": job.spec.eval_threshold,
        "score": measured.score if measured else None,
        "ndcgAt10": measured.ndcg_at10 if measured else None,
        "baselineNdcgAt10": measured.baseline.ndcg_at10 if measured and measured.baseline else None,
        "improvementPercent": measured.improvement_percent if measured else None,
        "queries": measured.queries if measured else None,
        "trainingExamples": trained.training_examples if trained else None,
        "trainingDurationSeconds": trained.training_duration_seconds if trained else None,
        "failures": status.failures,
    }
    return Facts(title, status.message or "", status.reason or "", _there(names), _there(numbers))


def _test(test: ABTest, event: NotificationEvent) -> Facts:
    status, name = test.status, test.metadata.name
    names = {
        "test": name,
        "modelA": status.model_a,
        "modelB": test.spec.model_b,
        "winner": status.winner.value if status.winner else None,
        "recommendation": status.recommendation,
    }
    if event is not NotificationEvent.TEST_CONCLUDED:
        ended = "failed" if event is NotificationEvent.TEST_FAILED else "was cancelled"
        title = f"Test {name} {ended}: {status.reason}"
        return Facts(title, status.message or "", status.reason or "", _there(names))
    primary = next(m.name for m in test.spec.metrics if m.role == "primary")
    a, b = (status.metrics_a or {}).get(primary), (status.metrics_b or {}).get(primary)
    interval = (status.intervals or {}).get(primary)
    numbers = {
        "samplesA": status.samples_a,
        "samplesB": status.samples_b,
        "meanA": a.mean if a else None,
        "meanB": b.mean if b else None,
        "difference": b.mean - a.mean if a and b else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "pValue": (status.p_values or {}).get(primary),
        "confidence": status.confidence,
    }
    title = f"Test {name} concluded: {WINNERS[status.winner] if status.winner else 'no winner'}"
    said = [status.recommendation or status.message or "", _difference(primary, _there(numbers))]
    return Facts(
        title, "\n".join(filter(None, said)), status.reason or "", _there({**names, "metric": primary}), _there(numbers)
    )


def _difference(metric: str, numbers: Mapping[str, Number]) -> str:
    """`clicks: B 0.352 of 1,312, A 0.311 of 1,296 queries; difference +0.041 (+0.012 to +0.07)`; empty where it was not measured."""
    if "difference" not in numbers:
        return ""
    told = f"{metric}: B {numbers['meanB']:.4g} of {numbers.get('samplesB', 0):,}, A {numbers['meanA']:.4g} of "
    told += f"{numbers.get('samplesA', 0):,} queries; difference {numbers['difference']:+.3g}"
    return f"{told} ({numbers['low']:+.3g} to {numbers['high']:+.3g})" if {"low", "high"} <= set(numbers) else told


def _move(retriever: Retriever, change: Change, event: NotificationEvent) -> Facts:
    cause, before = _cause(retriever, change), change.previous or "nothing"
    names = {
        "type": change.type.value,
        "version": change.version,
        "previous": change.previous,
        "cause": cause,
        "requestID": change.request_id,
    }
    if event is NotificationEvent.PROMOTED:
        title = f"{change.version} was promoted: it serves instead of {before}"
    else:
        title = f"{before} was taken back: {change.version} serves"
    reason = "ByHand" if change.request_id else "ByItself"
    return Facts(title, cause, reason, _there(names))


def _cause(retriever: Retriever, change: Change) -> str:
    """As the history has it; in full where that was cut and the condition still has all of it."""
    cut = change.cause or ""
    known = conditions.get(retriever.status.conditions, way_back.CONDITION)
    if not cut.endswith("…") or known is None or cut[:-1] not in known.message:
        return cut
    return known.message[known.message.index(cut[:-1]) :]


def _there(values: Mapping[str, T | None]) -> dict[str, T]:
    return {name: value for name, value in values.items() if value is not None}
