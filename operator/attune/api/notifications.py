"""Who is told of what: the targets of a Retriever, and what of a status is still to be told. Part of `retriever` and of three statuses."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attune.api.base import ApiModel, Status
from attune.api.common import SecretReference
from attune.api.rules import Rule, Rules, map_keyed_by, matches
from attune.api.values import HttpUrl

MOST_TARGETS = 4
MOST_PENDING = 6
"""Of one object, so that a Retriever stays under 10 kB."""


class NotificationEvent(StrEnum):
    """What people are told of."""

    TRAINING_SUCCEEDED = "TrainingSucceeded"
    TRAINING_FAILED = "TrainingFailed"
    TEST_CONCLUDED = "TestConcluded"
    TEST_FAILED = "TestFailed"
    TEST_CANCELLED = "TestCancelled"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"


TargetName = Annotated[
    str,
    Field(min_length=1, max_length=20),
    Rules(matches("^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "names no target; use lower-case letters, digits and '-'")),
]


class NotificationTarget(ApiModel):
    """A chat channel or a server of yours that is told."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.type != 'slack' || !has(self.url)",
            "the address of an incoming webhook is a secret; put it under the key url into a Secret, and name that in secretRef",
            path=".url",
        ),
        Rule(
            "has(self.url) || has(self.secretRef)",
            "nobody says where to send it; name a Secret with the key url in secretRef, or give url (type webhook)",
            path=".secretRef",
        ),
        Rule(
            "!has(self.url) || !has(self.secretRef)",
            "url and secretRef exclude each other, so that no token goes to an address that its Secret does not name; "
            "put the address under the key url into the Secret",
            path=".url",
        ),
    )

    name: TargetName = Field(description="Name of the target, told in conditions, logs and metrics.")
    type: Literal["slack", "webhook"] = Field(
        description="slack: text and blocks, as Slack, Mattermost and Rocket.Chat take them. webhook: Attune's own JSON."
    )
    secret_ref: SecretReference | None = Field(
        None,
        description="Secret with the key url; with type webhook also token (sent as bearer token) and signingKey (HMAC-SHA256). "
        "The operator reads it only where a Role lets it: examples/access/notifications.yaml.",
    )
    url: HttpUrl | None = Field(None, description="Type webhook: an address that is no secret.")
    events: Annotated[tuple[NotificationEvent, ...], Field(min_length=1, max_length=len(NotificationEvent))] | None = (
        Field(None, description="What it is told of; unset: everything.")
    )
    template: Annotated[str, Field(min_length=1, max_length=4096)] | None = Field(
        None,
        description="The text, as a Jinja template without loops, assignments and calls; one that fails gives way to the "
        "built-in text, and the condition Notified says so. Unset: the built-in text.",
    )

    def wants(self, event: NotificationEvent) -> bool:
        return self.events is None or event in self.events


NotificationTargets = Annotated[
    tuple[NotificationTarget, ...], Field(min_length=1, max_length=MOST_TARGETS), map_keyed_by("name")
]


class NotifyingStatus(Status):
    """Of the kinds that people are told about."""

    pending_notifications: (
        Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=MOST_PENDING)] | None
    ) = Field(None, description="TARGET/ID of each notification about this object that is still to be delivered.")
