"""A decision that is still being made: each step of a schedule's ladder takes one and gives the next. Called by the steps."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from attune.api import TrainingScheduleStatus
from attune.decide.conditions import Said, said
from attune.decide.decision import Decision, Event
from attune.objects import Manifest, Ref

DATA, TRAINING, READY = "DataPrepared", "TrainingStarted", "Ready"


@dataclass(frozen=True, slots=True)
class Draft:
    """What is decided so far."""

    status: TrainingScheduleStatus
    generation: int
    now: datetime
    apply: tuple[Manifest, ...] = ()
    create: tuple[Manifest, ...] = ()
    ensure: tuple[Manifest, ...] = ()
    delete: tuple[Ref, ...] = ()
    events: tuple[Event, ...] = ()
    waits: tuple[timedelta, ...] = ()

    def noted(self, **update: Any) -> "Draft":
        """With these fields of status."""
        return replace(self, status=self.status.model_copy(update=update))

    def said(self, kind: str, true: bool, reason: str, message: str) -> "Draft":
        """With this condition."""
        return replace(self, status=said(self.status, Said(kind, true, reason, message), self.generation, self.now))

    def told(self, reason: str, message: str, *, warning: bool = False) -> "Draft":
        """With one more event."""
        return replace(self, events=(*self.events, Event(reason, message, warning=warning)))

    def waiting(self, wait: timedelta | None) -> "Draft":
        """Look again at the latest after this long."""
        return self if wait is None else replace(self, waits=(*self.waits, wait))

    def decision(self) -> Decision:
        """Done."""
        status = self.status.model_copy(update={"observed_generation": self.generation})
        return Decision(
            status=status,
            apply=self.apply,
            create=self.create,
            ensure=self.ensure,
            delete=self.delete,
            events=self.events,
            requeue_after=max(timedelta(), min(self.waits)) if self.waits else None,
        )
