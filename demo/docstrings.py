"""An archive of real text that is on every machine: docstrings of installed packages (first line → rest).

The sources are parsed, never imported, so this takes seconds and runs nothing. Used by the demo, the benchmarks and the
end-to-end tests.
"""

from __future__ import annotations

import ast
import json
import sysconfig
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

PACKAGES = ("numpy", "scipy", "pandas", "polars", "networkx", "aiohttp", "fsspec", "pydantic")
MIN_WORDS = 4
MIN_BODY_CHARACTERS = 120
MAX_BODY_CHARACTERS = 4000


@dataclass(frozen=True, slots=True)
class Article:
    """One docstring: the first line is the title, the rest the content."""

    id: str
    title: str
    content: str


def articles(limit: int | None = None) -> list[Article]:
    """Articles of all packages that are installed, in a fixed order; with a limit, evenly spaced over them."""
    found = {a.title: a for root, name in _roots() for a in _package(root, name)}
    everything = sorted(found.values(), key=lambda a: a.id)
    if limit is None or limit >= len(everything):
        return everything
    return [everything[i * len(everything) // limit] for i in range(limit)]


def write_archive(path: Path, limit: int | None = None) -> int:
    """Write them as JSONL; returns how many."""
    rows = articles(limit)
    path.write_text("".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return len(rows)


def _roots() -> Iterator[tuple[Path, str]]:
    site, stdlib = Path(sysconfig.get_paths()["purelib"]), Path(sysconfig.get_paths()["stdlib"])
    for name in PACKAGES:
        if (site / name).is_dir():
            yield site / name, name
    yield stdlib, "python"


def _package(root: Path, name: str) -> Iterator[Article]:
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        if any(
            p in {"tests", "test", "testing", "site-packages", "idlelib", "lib2to3"} or p.startswith("_")
            for p in parts[:-1]
        ):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError, ValueError):
            continue
        module = ".".join([name, *path.relative_to(root).with_suffix("").parts])
        yield from _module(tree, module)


def _module(tree: ast.Module, module: str) -> Iterator[Article]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        text = ast.get_docstring(node)
        if text is None or "\n" not in text:
            continue
        title, _, body = text.partition("\n")
        title, body = title.strip(), body.strip()[:MAX_BODY_CHARACTERS]
        if len(title.split()) >= MIN_WORDS and len(body) >= MIN_BODY_CHARACTERS:
            yield Article(f"{module}.{node.name}:{node.lineno}", title, body)
