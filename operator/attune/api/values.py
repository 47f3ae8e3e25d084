"""Strings with a form: URIs, model names, durations, schedules, object names. Each carries the rule it must keep."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import Field

from attune.api.rules import Rule, Rules, matches, quoted

_PVC = r"pvc://[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?(/[^\s]*)?"
_STORES = rf"file:///[^\s]+|{_PVC}|s3://[^/\s]+(/[^\s]*)?|gs://[^/\s]+(/[^\s]*)?"
_HUB_ID = r"[A-Za-z0-9][-A-Za-z0-9._]{0,95}(/[A-Za-z0-9][-A-Za-z0-9._]{0,95})?"
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
STORE_FORMS = "file:///path, pvc://claim/path, s3://bucket/path or gs://bucket/path"

INSIDE = Rule(
    "!self.matches('(^|/)[.][.](/|$)')",
    "must not contain '..'; write the path without it",
    shown="'\"' + self + '\" contains \"..\", which could leave the volume or bucket; write the path without it'",
)
NO_PASSWORD = Rule(
    "!self.matches('^[a-z0-9+]+://[^/]*:[^/]*@')",
    "must not contain a password; put it into a Secret and name that in secretRef",
)

StoreUri = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    Rules(matches(f"^({_STORES})$", f"is no place Attune can store to; use {STORE_FORMS}"), INSIDE),
]
"""Where artifacts are written to."""

ARCHIVE_URI = (
    matches(
        f"^({_STORES}|https?://[^\\s]+)$",
        f"is no place Attune can read articles from; use {STORE_FORMS}, or https://host/path",
    ),
    INSIDE,
    NO_PASSWORD,
)
FEEDBACK_URI = (
    matches(
        f"^({_STORES}|https?://[^\\s]+)$",
        f"is no place Attune can read feedback from; use {STORE_FORMS}, or https://host/path",
    ),
    INSIDE,
    NO_PASSWORD,
)


def uri_of(rules: tuple[Rule, ...]) -> Rules:
    """Rules of a URI, for a field whose value is a contract object with a `uri`."""
    return Rules(*(_under("uri", rule) for rule in rules))


def _under(field: str, rule: Rule) -> Rule:
    def inner(text: str) -> str:
        return re.sub(r"\bself\b", f"self.{field}", text)

    return Rule(inner(rule.rule), rule.message, shown=inner(rule.shown) if rule.shown else None, path=f".{field}")


BASE_MODEL_FORMS = (
    "a hub id (BAAI/bge-small-en-v1.5), file:///path, pvc://claim/path, s3://bucket/path or gs://bucket/path"
)
BaseModelUri = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    Rules(matches(f"^({_HUB_ID}|{_STORES})$", f"names no model; use {BASE_MODEL_FORMS}"), INSIDE),
]
"""A model on a hub, or a folder that holds one."""

StartModel = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    Rules(
        matches(
            f"^(version:{_SUBDOMAIN}|{_HUB_ID}|{_STORES})$",
            f"names no model; use {BASE_MODEL_FORMS}, or version:NAME to continue from a ModelVersion",
        ),
        INSIDE,
    ),
]
"""As BaseModelUri, or a version of ours."""

_API_MODEL = r"[A-Za-z0-9][-A-Za-z0-9._:/@+]{0,240}"
ApiModelName = Annotated[
    str,
    Field(min_length=1, max_length=241),
    Rules(matches(f"^{_API_MODEL}$", "names no model of an API; use its name there, such as text-embedding-3-small")),
]
"""A model, as an API calls it."""

Origin = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    Rules(
        matches(
            f"^(openai:{_API_MODEL}|{_HUB_ID}|{_STORES})$",
            f"names no model; use {BASE_MODEL_FORMS}, or openai:NAME for one that an API answers for",
        ),
        INSIDE,
    ),
]
"""What a version was made from: as BaseModelUri, or a model of an API."""

HttpUrl = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    Rules(
        matches(
            r"^https?://[^\s/:@]+(:[0-9]{1,5})?(/[^\s]*)?$",
            "is no endpoint; use http://host:port/path or https://host/path, credentials in secretRef",
        )
    ),
]

ObjectName = Annotated[
    str,
    Field(min_length=1, max_length=253),
    Rules(matches(f"^{_SUBDOMAIN}$", "cannot be the name of an object; use lower-case letters, digits, '-' and '.'")),
]
"""Name of an object in the same namespace."""

Digest = Annotated[
    str,
    Field(max_length=71),
    Rules(matches("^sha256:[0-9a-f]{64}$", "is no digest; use sha256: and 64 hexadecimal digits (sha256sum FILE)")),
]

DURATION_PATTERN = r"^([0-9]+(ms|s|m|h))+$"
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
}


def duration_between(low: str, high: str) -> Rules:
    """A duration such as 90s, 15m, 1h30m or 168h, between two others (inclusive)."""
    form = DURATION_PATTERN.replace("\\", "\\\\")
    complaint = (
        f"is not a duration from {low} to {high}; write hours, minutes and seconds, "
        "such as 90s, 15m, 1h30m or 168h (no days)"
    )
    rule = f"self.matches('{form}') && duration(self) >= duration('{low}') && duration(self) <= duration('{high}')"
    return Rules(Rule(rule, complaint, shown=f"'\"' + self + {quoted(chr(34) + ' ' + complaint)}"))


Duration = Annotated[str, Field(min_length=2, max_length=32)]


def parse_duration(text: str) -> timedelta:
    """`1h30m` → timedelta; raises ValueError for what the API server would refuse."""
    if not re.match(DURATION_PATTERN, text):
        raise ValueError(f"{text!r} is not a duration; write hours, minutes and seconds, such as 90s, 15m or 168h")
    parts = re.findall(r"([0-9]+)(ms|s|m|h)", text)
    return sum((int(count) * _UNITS[unit] for count, unit in parts), timedelta())


def _cron_field(number: str, names: str = "") -> str:
    """One field of a schedule: *, numbers or names, ranges, lists, steps."""
    one = f"({number}{'|' + names if names else ''})"
    item = f"([*]|{one}(-{one})?)(/[1-9][0-9]?)?"
    return f"{item}(,{item})*"


CRON_PATTERN = (
    "^("
    + " +".join(
        (
            _cron_field("[0-5]?[0-9]"),
            _cron_field("[01]?[0-9]|2[0-3]"),
            _cron_field("0?[1-9]|[12][0-9]|3[01]"),
            _cron_field("0?[1-9]|1[0-2]", "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"),
            _cron_field("[0-7]", "sun|mon|tue|wed|thu|fri|sat"),
        )
    )
    + "|@(hourly|daily|midnight|weekly|monthly|yearly|annually))$"
)
_CRON_COMPLAINT = (
    "is no schedule; write minute hour day-of-month month day-of-week, "
    "such as '0 2 * * 0' (Sundays at 02:00), or @weekly"
)
_BACKWARDS = "has a range that runs backwards; write the smaller number first, such as 1-5 (22-23,0-4 over midnight)"
_UPWARDS = "self.findAll('[0-9]+-[0-9]+').all(r, int(r.split('-')[0]) <= int(r.split('-')[1]))"
Cron = Annotated[
    str,
    Field(min_length=1, max_length=128),
    Rules(
        Rule(
            f"self.lowerAscii().matches('{CRON_PATTERN}')",
            _CRON_COMPLAINT,
            shown=f"{quoted(chr(34))} + self + {quoted(chr(34) + ' ' + _CRON_COMPLAINT)}",
        ),
        Rule(_UPWARDS, _BACKWARDS, shown=f"{quoted(chr(34))} + self + {quoted(chr(34) + ' ' + _BACKWARDS)}"),
    ),
]

TimeZone = Annotated[
    str,
    Field(min_length=1, max_length=64),
    Rules(
        Rule(
            "self != 'Local' && self.matches('^[A-Za-z][A-Za-z0-9._+/-]*$') && "
            "timestamp('2026-01-01T00:00:00Z').getHours(self) >= 0",
            "use a name of the IANA time zone database, such as UTC, Europe/Berlin or America/New_York",
        )
    ),
]
