"""The bounds of CONTRIBUTING.md that ruff cannot check: lengths, docstrings, no place of one machine in any file."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = ("operator", "trainer_image", "devcluster", "demo", "benchmarks")
FILE_LINES, FUNCTION_LINES = 400, 50
SOMEONES_MACHINE = re.compile(r"""(?:^|["'\s=(:])/(?:home|Users|work)/\w+""")


def sources() -> Iterator[Path]:
    for folder in SOURCES:
        yield from sorted((ROOT / folder).rglob("*.py"))


def tracked() -> Iterator[Path]:
    """Every text file that is in the repository or about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.splitlines()
    paths = (ROOT / name for name in listed if not name.endswith(".lock"))
    return (path for path in paths if path.is_file())


def test_no_source_file_is_longer_than_400_lines() -> None:
    long = {str(p.relative_to(ROOT)): n for p in sources() if (n := len(p.read_text().splitlines())) > FILE_LINES}
    assert long == {}


def test_no_function_body_is_longer_than_50_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {length}"
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (length := (node.end_lineno or 0) - node.body[0].lineno + 1) > FUNCTION_LINES
    ]
    assert long == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(p.relative_to(ROOT))
        for p in sources()
        if p.read_text().strip() and not ast.get_docstring(ast.parse(p.read_text()))
    ]
    assert silent == []


def test_no_file_names_a_place_on_someones_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
        if SOMEONES_MACHINE.search(line)
    ]
    assert found == []
