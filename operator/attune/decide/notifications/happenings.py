"""The transitions that a status tells of, and that people may want to hear of. Pure; called by `announce`."""

import hashlib
from dataclasses import dataclass
from datetime import datetime

from attune.api import (
    ABTestPhase,
    ABTestStatus,
    Action,
    Change,
    NotificationEvent,
    NotifyingStatus,
    Phase,
    RetrieverStatus,
    TrainingJobStatus,
)

OF_RUN = {Phase.SUCCEEDED: NotificationEvent.TRAINING_SUCCEEDED, Phase.FAILED: NotificationEvent.TRAINING_FAILED}
OF_TEST = {
    ABTestPhase.CONCLUDED: NotificationEvent.TEST_CONCLUDED,
    ABTestPhase.FAILED: NotificationEvent.TEST_FAILED,
    ABTestPhase.CANCELLED: NotificationEvent.TEST_CANCELLED,
}
OF_ACTION = {Action.PROMOTED: NotificationEvent.PROMOTED, Action.ROLLED_BACK: NotificationEvent.ROLLED_BACK}
ID_LENGTH = 16


@dataclass(frozen=True, slots=True)
class Happening:
    """One transition."""

    id: str
    event: NotificationEvent
    at: datetime
    change: Change | None = None


def happenings(uid: str, status: NotifyingStatus) -> tuple[Happening, ...]:
    """All that this status tells of, oldest first. A run or a test ends once; a Retriever keeps its newest moves."""
    if isinstance(status, TrainingJobStatus):
        return _ending(uid, OF_RUN.get(status.phase) if status.phase else None, status.completion_time)
    if isinstance(status, ABTestStatus):
        return _ending(uid, OF_TEST.get(status.phase) if status.phase else None, status.concluded_at)
    assert isinstance(status, RetrieverStatus)
    return tuple(_move(uid, c) for c in status.changes or () if c.action in OF_ACTION)


def _ending(uid: str, event: NotificationEvent | None, at: datetime | None) -> tuple[Happening, ...]:
    return (Happening(_id(uid, event.value), event, at),) if event is not None and at is not None else ()


def _move(uid: str, change: Change) -> Happening:
    event = OF_ACTION[change.action]
    parts = (change.type.value, change.version, change.previous or "", f"{change.at:%Y-%m-%dT%H:%M:%SZ}")
    return Happening(_id(uid, event.value, *parts), event, change.at, change)


def _id(*parts: str) -> str:
    """Of the object's uid and the transition alone, so that every process gives the same."""
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:ID_LENGTH]
