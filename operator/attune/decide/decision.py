"""The outcome of a decision, as a value: what to create, apply, delete, what to write in status, and whom to tell.

The order in which `cluster.apply` and `cluster.report` carry it out is part of the contract: apply, create, ensure, delete,
then the one status write, then what follows from it, then events; at last notifications, by `reconcile`. Children come before the
status that points to them, so a kill in between is repaired by the next look.
"""

from dataclasses import dataclass, replace
from datetime import timedelta

from attune.api import ABTestStatus, TrainingJobStatus
from attune.contract import Contract
from attune.objects import Manifest, Ref
from attune.observation import Notification


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes Event about the object that was decided on."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Everything one reconcile will do. An empty decision writes nothing."""

    status: Contract | None = None
    """The whole new status; None leaves it as it is."""
    create: tuple[Manifest, ...] = ()
    """Objects that must not exist yet: AlreadyExists means the look was stale, so look again."""
    ensure: tuple[Manifest, ...] = ()
    """Objects of a kind that users write, made once: one that is there already is left as it is, whoever made it."""
    apply: tuple[Manifest, ...] = ()
    delete: tuple[Ref, ...] = ()
    follow: tuple[Manifest, ...] = ()
    """Applied right after the status was written: what only follows from it. Lost by a kill, it is found due at the next look."""
    events: tuple[Event, ...] = ()
    notify: tuple[Notification, ...] = ()
    """Everything about the object that is still to be told; handed over once the status is written."""
    requeue_after: timedelta | None = None


NOTHING = Decision()


def observed(decision: Decision, status: TrainingJobStatus | ABTestStatus, generation: int | None) -> Decision:
    """With a note that the newest spec was seen, where nothing else is written: whoever waits for that waits no longer."""
    if decision.status is not None or decision.delete or status.observed_generation == generation:
        return decision
    return replace(decision, status=status.model_copy(update={"observed_generation": generation}))
