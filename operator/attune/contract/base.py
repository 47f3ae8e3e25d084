"""The common base of every value in `contract` and `api`: immutable, camelCase outside, snake_case inside."""

from typing import Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel


class Contract(BaseModel):
    """A frozen value that crosses a process border as camelCase JSON.

    Unknown keys are ignored on reading, so that an older trainer understands a newer operator and the reverse.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")

    def to_json(self, *, indent: int | None = None) -> str:
        """Camel-case JSON without the absent fields."""
        return self.model_dump_json(by_alias=True, exclude_none=True, indent=indent)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Parse; raises pydantic.ValidationError with the path of the field that is wrong."""
        return cls.model_validate_json(text)
