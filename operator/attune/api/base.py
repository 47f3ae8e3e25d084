"""What all five kinds share: the base of their values, metadata, times and conditions."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, GetJsonSchemaHandler, PlainSerializer
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from attune.api.rules import Rule, add_rules, map_keyed_by
from attune.contract import Contract


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[datetime, PlainSerializer(_rfc3339, return_type=str, when_used="json")]
"""RFC 3339, UTC, whole seconds, as metav1.Time."""


class ApiModel(Contract):
    """A part of a custom resource. `RULES` are CEL rules between its fields; a subclass adds its own to them."""

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def all_rules(cls) -> Iterator[Rule]:
        for base in reversed(cls.__mro__):
            yield from base.__dict__.get("RULES", ())

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        schema = handler.resolve_ref_schema(handler(core))
        return add_rules(schema, tuple(cls.all_rules()))


class OwnerReference(Contract):
    """metav1.OwnerReference."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Contract):
    """The part of metav1.ObjectMeta that decisions look at."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    owner_references: tuple[OwnerReference, ...] | None = None
    finalizers: tuple[str, ...] | None = None


class Condition(ApiModel):
    """metav1.Condition: one aspect of the object's state, with the reason and the numbers."""

    type: str = Field(min_length=1, max_length=316, description="Name of the aspect, e.g. Ready or DataPrepared.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: str = Field(min_length=1, max_length=1024, description="CamelCase word for programs.")
    message: str = Field(max_length=32768, description="Sentence for people, with the numbers and the way out.")
    last_transition_time: Time = Field(description="When status last changed.")
    observed_generation: int | None = Field(None, ge=0, description="metadata.generation this was said about.")


Conditions = Annotated[tuple[Condition, ...], Field(max_length=16), map_keyed_by("type")]


class Status(ApiModel):
    """What every status has."""

    observed_generation: int | None = Field(None, ge=0, description="metadata.generation this status was made from.")
    conditions: Conditions | None = Field(None, description="Standard conditions, one per type.")


class Resource(Contract):
    """A whole custom resource, as the API server stores it."""

    api_version: str = "attune.dev/v1alpha1"
    metadata: ObjectMeta

    def to_manifest(self) -> dict[str, Any]:
        """JSON as one would apply it; absent fields are left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
