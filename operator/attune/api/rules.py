"""CEL rules of the schema (`x-kubernetes-validations`), as values that stand next to the fields they are about.

What CEL can refuse the API server refuses, before anything runs. A rule on a field is an annotation (`Annotated[str,
Rules(...)]`); a rule between fields stands in the model's `RULES`. The generator copies both into the CRD.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

KEY = "x-kubernetes-validations"


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `message` is a sentence with the way out; `shown` the same as a CEL expression that shows the value."""

    rule: str
    message: str
    shown: str | None = None
    path: str | None = None
    """Field the error is about, relative to the schema the rule stands in, e.g. `.trafficSplit`."""

    def as_schema(self) -> dict[str, str]:
        entry = {"rule": self.rule, "message": self.message}
        if self.shown:
            entry["messageExpression"] = self.shown
        if self.path:
            entry["fieldPath"] = self.path
        return entry


@dataclass(frozen=True, slots=True)
class Keys:
    """Schema keywords pydantic has no word for, e.g. list types. An annotation."""

    keywords: tuple[tuple[str, Any], ...]

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {**handler(core), **dict(self.keywords)}


class Rules:
    """Rules about one field's own value. An annotation."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = rules

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return add_rules(handler(core), self.rules)


def add_rules(schema: JsonSchemaValue, rules: tuple[Rule, ...]) -> JsonSchemaValue:
    """The schema with these rules after those it has."""
    if not rules:
        return schema
    return {**schema, KEY: [*schema.get(KEY, []), *(rule.as_schema() for rule in rules)]}


def matches(pattern: str, complaint: str) -> Rule:
    """A string must match; the error shows the value and the complaint, where a bare `pattern` would show a regex."""
    return Rule(
        f"self.matches({quoted(pattern)})",
        complaint,
        shown=f"{quoted(chr(34))} + self + {quoted(chr(34) + ' ' + complaint)}",
    )


def immutable(why: str, *fields: str) -> tuple[Rule, ...]:
    """These fields can neither be changed, set nor unset after creation. `why` ends with the way out."""
    return tuple(
        Rule(
            f"has(self.{f}) == has(oldSelf.{f}) && (!has(self.{f}) || self.{f} == oldSelf.{f})",
            f"{f} is immutable: {why}",
            path=f".{f}",
        )
        for f in fields
    )


def map_keyed_by(*keys: str) -> Keys:
    """A list whose items server-side apply tells apart by these fields."""
    return Keys((("x-kubernetes-list-type", "map"), ("x-kubernetes-list-map-keys", keys)))


def quoted(text: str) -> str:
    """A CEL string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
