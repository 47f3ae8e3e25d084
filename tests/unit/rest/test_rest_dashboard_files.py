"""The dashboard's files: rules of the house that no linter knows for JavaScript, and that all of them are in the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

from attune.rest.app import DASHBOARD

ROOT = Path(__file__).parents[3]
MODULES = sorted(DASHBOARD.rglob("*.js"))
FILES = sorted(path for path in DASHBOARD.rglob("*") if path.is_file())
TEXT_TO_ELEMENTS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|srcdoc|javascript:"
)
ELSEWHERE = re.compile(r"""["'(](?:https?:)?//(?!www\.w3\.org/2000/svg)""")


def named(path: Path) -> str:
    return str(path.relative_to(DASHBOARD))


def test_nothing_makes_elements_or_code_of_text() -> None:
    assert [named(path) for path in FILES if TEXT_TO_ELEMENTS.search(path.read_text())] == []


def test_nothing_is_loaded_from_elsewhere() -> None:
    assert [named(path) for path in FILES if ELSEWHERE.search(path.read_text())] == []
    assert {path.suffix for path in FILES} == {".js", ".css", ".html", ".svg"}


def test_the_token_is_touched_by_four_modules_alone_and_nothing_is_logged() -> None:
    touching = {named(path) for path in MODULES if re.search(r"session\.token|attune\.token", path.read_text())}
    assert touching == {"js/session.js", "js/api.js", "js/signin.js", "js/main.js"}
    assert [named(path) for path in MODULES if "console." in path.read_text()] == []


def test_the_page_has_no_script_or_style_of_its_own() -> None:
    page = (DASHBOARD / "index.html").read_text()
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"<style|\bstyle=|\bon\w+=", page) == []


def test_every_module_is_asked_for_at_once_and_none_that_is_not_there() -> None:
    page = (DASHBOARD / "index.html").read_text()
    asked = set(re.findall(r'(?:href|src)="(js/[^"]+)"', page))
    assert asked == {named(path) for path in MODULES if path.parent != DASHBOARD}


def test_modules_say_what_they_are_for_and_are_about_one_thing() -> None:
    for path in [*MODULES, *DASHBOARD.glob("*.css")]:
        text = path.read_text()
        assert text.startswith(("// ", "/* ")), named(path)
        assert len(text.splitlines()) <= 400, named(path)


def test_imports_lead_somewhere_and_take_what_is_there() -> None:
    for path in MODULES:
        for names, target in re.findall(r'import (?:\{([^}]+)\}|\* as \w+) from "([^"]+)"', path.read_text()):
            found = (path.parent / target).resolve()
            assert found in MODULES, (named(path), target)
            exported = r"^export (?:async )?(?:function\*?|const|let|class) (\w+)"
            wanted = {name.strip() for name in names.split(",") if name.strip()}
            missing = wanted - set(re.findall(exported, found.read_text(), re.MULTILINE))
            assert missing == set(), (named(path), target)


def test_what_is_imported_is_used() -> None:
    for path in MODULES:
        text = path.read_text()
        for names in re.findall(r"import \{([^}]+)\} from", text):
            for name in (one.strip() for one in names.split(",") if one.strip()):
                assert len(re.findall(rf"\b{name}\b", text)) > 1, (named(path), name)


def test_the_wheel_has_every_file_of_the_page(tmp_path: Path) -> None:
    hatchling = Path(sys.executable).with_name("hatchling")
    command = [str(hatchling), "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {f"attune/rest/dashboard/{named(path)}" for path in FILES} <= inside
