"""Pure helpers for lists of conditions. Called by every decision."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from attune.api.base import Condition

Truth = Literal["True", "False", "Unknown"]


def get(conditions: Sequence[Condition] | None, kind: str) -> Condition | None:
    """The condition of this type; None when it was never set."""
    return next((c for c in conditions or () if c.type == kind), None)


def is_true(conditions: Sequence[Condition] | None, kind: str) -> bool:
    """True when the condition was set to True."""
    found = get(conditions, kind)
    return found is not None and found.status == "True"


def set_condition(  # noqa: PLR0913  these are the fields of a condition
    conditions: Sequence[Condition] | None,
    kind: str,
    status: bool | Truth,
    *,
    reason: str,
    message: str,
    now: datetime,
    generation: int | None = None,
) -> tuple[Condition, ...]:
    """The conditions with this one set, in the order in which they first appeared.

    lastTransitionTime is `now` only when the status changed, as metav1 says: saying the same again changes nothing.
    """
    truth: Truth = ("True" if status else "False") if isinstance(status, bool) else status
    old = get(conditions, kind)
    since = old.last_transition_time if old is not None and old.status == truth else now
    new = Condition(
        type=kind,
        status=truth,
        reason=reason,
        message=message[:32768],
        last_transition_time=since,
        observed_generation=generation,
    )
    if old is None:
        return (*(conditions or ()), new)
    return tuple(new if c.type == kind else c for c in conditions or ())
