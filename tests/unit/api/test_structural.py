"""From pydantic's JSON schema to a structural one."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, Field

from attune.api.base import ApiModel
from attune.api.rules import Rule, Rules
from attune.api.structural import structural

SHORT = Rule("self.size() < 9", "too long; cut it")
LOWER = Rule("self == self.lowerAscii()", "use lower case")
Name = Annotated[str, Field(max_length=20), Rules(SHORT)]


class Inner(ApiModel):
    """Inner part."""

    RULES = (Rule("self.size > 1", "size must be above 1"),)
    size: int = Field(3, gt=0, lt=9, description="Size.")


class Plain(ApiModel):
    """A part without rules."""

    word: str = Field("a b", description="Word.")


class Outer(ApiModel):
    """Outer part."""

    inner: Inner = Field(default_factory=Inner, description="With rules.")
    plain: Plain = Field(default_factory=Plain, description="Without rules.")
    again: Inner | None = Field(None, description="Optional.")
    name: Annotated[Name, Rules(LOWER)] | None = Field(None, description="Name.")
    names: tuple[Name, ...] | None = Field(None, max_length=4, description="Names.")
    share: float = Field(gt=0, le=1, description="Share.")


class Tree(BaseModel):
    children: tuple[Tree, ...] | None = Field(None, description="Children.")


class Mixed(BaseModel):
    either: int | bool = Field(description="Either.")


class Silent(BaseModel):
    silent: int


def test_an_optional_field_is_its_type_without_a_default() -> None:
    name = structural(Outer)["properties"]["name"]
    assert name["type"] == "string"
    assert not {"anyOf", "default", "nullable", "title"} & name.keys()
    assert structural(Outer)["required"] == ["share"]


def test_rules_of_the_type_and_of_the_field_are_joined() -> None:
    rules = structural(Outer)["properties"]["name"]["x-kubernetes-validations"]
    assert [rule["message"] for rule in rules] == [SHORT.message, LOWER.message]


def test_an_optional_part_without_null_gets_a_default_that_its_rules_can_read() -> None:
    made = structural(Outer)["properties"]
    assert made["inner"]["default"] == {"size": 3}
    assert made["plain"]["default"] == {}
    assert "default" not in made["again"]


def test_a_part_that_occurs_twice_is_the_same_both_times() -> None:
    made = structural(Outer)["properties"]
    assert made["inner"]["properties"] == made["again"]["properties"]


def test_exclusive_bounds_are_those_of_openapi() -> None:
    size = structural(Inner)["properties"]["size"]
    assert (size["minimum"], size["exclusiveMinimum"], size["maximum"], size["exclusiveMaximum"]) == (0, True, 9, True)
    assert size["description"] == "Size. Default 3; above 0, below 9."
    share = structural(Outer)["properties"]["share"]
    assert "exclusiveMaximum" not in share
    assert share["description"] == "Share. Above 0, at most 1."


def test_a_default_with_a_space_is_quoted_in_the_description() -> None:
    assert structural(Plain)["properties"]["word"]["description"] == "Word. Default 'a b'."


@pytest.mark.parametrize(
    ("model", "complaint"),
    [(Tree, "contains itself"), (Mixed, "a union of 2"), (Silent, "Silent.silent: has no description")],
)
def test_what_a_crd_cannot_say_is_refused_by_path(model: type[BaseModel], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        structural(model)
