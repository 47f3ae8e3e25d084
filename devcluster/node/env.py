"""A container's environment, from its spec. Pure, but for the objects it is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

Thing = dict[str, Any]
Lookup = Callable[[str, str], Mapping[str, str] | None]
"""(kind, name) → data of that ConfigMap or Secret, decoded; None where it is absent."""
_REFERENCE = re.compile(r"\$\$|\$\(([^)]*)\)")


class ConfigProblem(Exception):
    """CreateContainerConfigError, with the words kubelet uses."""


def environment(container: Thing, pod: Thing, lookup: Lookup) -> dict[str, str]:
    """envFrom first, then env in order; `$(NAME)` refers to what was set before, `$$` is a dollar."""
    made: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        made |= _all_of(source, lookup)
    for entry in container.get("env") or []:
        value = (
            _value_from(entry["valueFrom"], container, pod, lookup) if "valueFrom" in entry else entry.get("value", "")
        )
        if value is not None:
            made[entry["name"]] = expand(value, made)
    return made


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` → its value; unknown names stay as they are; `$$(NAME)` is a literal `$(NAME)`."""

    def replace(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        return known.get(match.group(1), match.group(0))

    return _REFERENCE.sub(replace, text)


def field(pod: Thing, path: str) -> str:
    """The downward API's `fieldPath`."""
    found = re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path)
    if found:
        return str((pod["metadata"].get(found.group(1)) or {}).get(found.group(2), ""))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def _all_of(source: Thing, lookup: Lookup) -> dict[str, str]:
    kind, reference = (
        ("Secret", source["secretRef"]) if "secretRef" in source else ("ConfigMap", source["configMapRef"])
    )
    data = lookup(kind, reference["name"])
    if data is None:
        if reference.get("optional"):
            return {}
        raise ConfigProblem(f'{kind.lower()} "{reference["name"]}" not found')
    return {source.get("prefix", "") + key: value for key, value in data.items()}


def _value_from(source: Thing, container: Thing, pod: Thing, lookup: Lookup) -> str | None:
    if "fieldRef" in source:
        return field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        group, _, name = source["resourceFieldRef"]["resource"].partition(".")
        return str(((container.get("resources") or {}).get(group) or {}).get(name, ""))
    kind, reference = (
        ("Secret", source["secretKeyRef"]) if "secretKeyRef" in source else ("ConfigMap", source["configMapKeyRef"])
    )
    data = lookup(kind, reference["name"])
    if data is None or reference["key"] not in data:
        if reference.get("optional"):
            return None
        missing = (
            f'{kind.lower()} "{reference["name"]}" not found'
            if data is None
            else f"couldn't find key {reference['key']} in {kind} {reference['name']}"
        )
        raise ConfigProblem(missing)
    return data[reference["key"]]
