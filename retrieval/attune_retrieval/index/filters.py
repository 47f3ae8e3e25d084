"""The filter of a search: `{"publishedAt": {"gte": "2026-01-01"}, "id": {"in": [..]}}`, the same words for every store.

Parsed once into conditions; each store turns these into its own language, with values as parameters and never as text.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from attune_retrieval.errors import BadData

Operator = Literal["eq", "in", "gte", "gt", "lte", "lt"]
FIELDS = {"id": "id", "title": "title", "publishedAt": "published_at"}
OPERATORS: tuple[Operator, ...] = ("eq", "in", "gte", "gt", "lte", "lt")
MOST_VALUES = 1000


@dataclass(frozen=True, slots=True)
class Condition:
    """`field operator value`; all conditions of a filter hold together. `in` has a tuple of values."""

    field: Literal["id", "title", "published_at"]
    operator: Operator
    value: str | tuple[str, ...]


def parse_filter(given: Any) -> tuple[Condition, ...]:
    """Conditions of a filter object; BadData (BadFilter) names the part that is wrong and what is allowed."""
    if given is None:
        return ()
    if not isinstance(given, dict):
        raise _bad(f"filter is {type(given).__name__}, not an object")
    found: list[Condition] = []
    for name, wanted in given.items():
        if name not in FIELDS:
            raise _bad(f"filter.{name}: no such field; there are {', '.join(FIELDS)}")
        operations = wanted if isinstance(wanted, dict) else {"eq": wanted}
        for operator, value in operations.items():
            found.append(_condition(name, operator, value))
    return tuple(found)


def _condition(name: str, operator: str, value: Any) -> Condition:
    if operator not in OPERATORS:
        raise _bad(f"filter.{name}.{operator}: no such operator; there are {', '.join(OPERATORS)}")
    if operator == "in":
        if not isinstance(value, list) or not value or len(value) > MOST_VALUES or not all(_is_text(v) for v in value):
            raise _bad(f"filter.{name}.in: give a list of 1 to {MOST_VALUES} texts")
        values = tuple(_instant(v) if name == "publishedAt" else v for v in value)
        return Condition(FIELDS[name], "in", values)  # type: ignore[arg-type]
    if not _is_text(value):
        raise _bad(f"filter.{name}.{operator}: {value!r} is no text")
    if operator != "eq" and name != "publishedAt":
        raise _bad(f"filter.{name}.{operator}: only publishedAt can be compared; {name} takes a value or in")
    return Condition(FIELDS[name], operator, _instant(value) if name == "publishedAt" else value)  # type: ignore[arg-type]


def _instant(value: str) -> str:
    """As the archive's times are stored: ISO 8601 in UTC, to the second, so that texts compare as times do."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise _bad(f"filter.publishedAt: {value!r} is no time; write 2026-01-31 or 2026-01-31T12:00:00Z") from error
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="seconds")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\x00" not in value and len(value) <= 1024


def _bad(message: str) -> BadData:
    return BadData(message, reason="BadFilter")
