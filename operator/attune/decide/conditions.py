"""Setting a condition on any status, in one short call."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from attune.api import Status, set_condition

S = TypeVar("S", bound=Status)


@dataclass(frozen=True, slots=True)
class Said:
    """What a condition says."""

    kind: str
    true: bool
    reason: str
    message: str


def said(status: S, what: Said, generation: int | None, now: datetime) -> S:
    """The status with this condition set; lastTransitionTime moves only when the condition's status changes."""
    conditions = set_condition(
        status.conditions or (),
        what.kind,
        status=what.true,
        reason=what.reason,
        message=what.message,
        now=now,
        generation=generation,
    )
    return status.model_copy(update={"conditions": conditions})
