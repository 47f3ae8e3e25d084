"""docs/reference.md: every field of every kind as a table, from the same schemas as the CRDs. `python -m attune.api.reference`."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attune.api.crd import DEFINITIONS, Definition, definition
from attune.api.rules import KEY

INTRO = """\
# Field reference

Made by `python -m attune.api.reference` from operator/attune/api; do not edit. The same texts are in `kubectl explain`.
Group and version: `attune.dev/v1alpha1`. A field in **bold** is required.
"""


def document() -> str:
    """The whole page."""
    return "\n".join([INTRO, *(line for of in DEFINITIONS for line in _kind(of))]) + "\n"


def _kind(of: Definition) -> Iterator[str]:
    schema = definition(of)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    yield f"## {of.kind.kind} ({', '.join(of.kind.short_names)})\n"
    yield f"{of.about}\n"
    for part in ("spec", "status"):
        yield f"### {of.kind.kind}.{part}\n"
        yield "| field | type | meaning |\n|---|---|---|"
        yield from _rows(schema["properties"][part], "")
        yield ""
    if told := list(dict.fromkeys(_rules(schema["properties"]["spec"], "spec"))):
        yield "The API server refuses what breaks one of these:\n"
        yield from told
        yield ""


def _rows(schema: dict[str, Any], prefix: str) -> Iterator[str]:
    required = schema.get("required", [])
    for name, child in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        shown = f"**{path}**" if name in required else path
        yield f"| {shown} | {_type(child)} | {child['description'].replace('|', chr(92) + '|')} |"
        inner = child.get("items", child)
        yield from _rows(inner, f"{path}{'[]' if 'items' in child else ''}.")


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " · ".join(f"`{value}`" for value in schema["enum"])
    if "x-kubernetes-int-or-string" in schema:
        return "amount"
    if "items" in schema:
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema:
        return f"map of {_type(schema['additionalProperties'])}"
    return "time" if schema.get("format") == "date-time" else str(schema["type"])


def _rules(schema: dict[str, Any], path: str) -> Iterator[str]:
    for rule in schema.get(KEY, []):
        yield f"- `{path}{rule.get('fieldPath', '')}`: {rule['message']}"
    for name, child in schema.get("properties", {}).items():
        yield from _rules(child, f"{path}.{name}")
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


def main(argv: list[str] | None = None) -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(prog="python -m attune.api.reference", description="Make docs/reference.md.")
    parser.add_argument("--out", type=Path, default=Path("docs/reference.md"), help="default: docs/reference.md")
    given = parser.parse_args(argv)
    given.out.write_text(document())
    sys.stdout.write(f"{given.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
