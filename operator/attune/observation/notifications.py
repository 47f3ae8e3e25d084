"""A notification on its way, and what became of it. Frozen values, made by `decide.notifications`, carried by `attune.notify`."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from attune.api import ABTest, Change, NotificationEvent, NotificationTarget, Retriever, TrainingJob

Subject = TrainingJob | ABTest | Retriever
"""Whatever people are told about."""


@dataclass(frozen=True, slots=True)
class Notification:
    """One target is to be told of one event."""

    id: str
    """The same for every target and every try, also of another process: whoever gets it twice can tell."""
    event: NotificationEvent
    at: datetime
    target: NotificationTarget
    about: Subject
    change: Change | None = None
    """Promoted and RolledBack: the move of the pointer."""

    @property
    def key(self) -> str:
        """As it stands in status.pendingNotifications."""
        return f"{self.target.name}/{self.id}"

    @property
    def retriever(self) -> str:
        return self.about.metadata.name if isinstance(self.about, Retriever) else self.about.spec.retriever


class Fate(StrEnum):
    """How it stands with one notification."""

    DELIVERED = "Delivered"
    FAILED = "Failed"
    """For good: it is not tried again."""
    RETRYING = "Retrying"


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a notification until now."""

    key: str
    event: NotificationEvent
    fate: Fate
    words: str = ""
    """Why not, without anything secret."""

    @property
    def target(self) -> str:
        return self.key.partition("/")[0]

    @property
    def id(self) -> str:
        return self.key.partition("/")[2]


@dataclass(frozen=True, slots=True)
class TargetProblem:
    """Why a target cannot be told: a CamelCase reason and a sentence that begins with its name."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class News:
    """Beside what was seen of an object: what notifications depend on."""

    retriever: Retriever | None = None
    """Whose targets are told; read for an object that has ended only while something is pending."""
    deliveries: tuple[Delivery, ...] = ()
    problems: tuple[TargetProblem, ...] | None = None
    """Of the targets' Secrets; None: they were not looked at this time."""
