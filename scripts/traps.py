"""Takes each rule of the training stage away and runs the tests that guard it: at least one must fail.

Run by hand, `.venv/bin/python scripts/traps.py [PART OF A NAME ...]`: up to a few minutes a rule. The rules are in traps.toml. One
is taken away in a copy of `trainer_image`; the checkout is not touched. Exits with 1 where tests pass without a rule. That each rule is
still where traps.toml says is a test of its own (tests/unit/repo/test_trap_rules.py).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "trainer_image"


@dataclass(frozen=True)
class Trap:
    """A rule: the text that is it, what stands there when it is gone, and the tests that must notice."""

    name: str
    file: str
    rule: str
    without: str
    tests: tuple[str, ...]

    @property
    def path(self) -> Path:
        return Path("attune_trainer") / self.file

    def taken_away(self, source: str) -> str:
        """The file without the rule. Raises ValueError where the rule is not there exactly once."""
        if (count := source.count(self.rule)) != 1:
            raise ValueError(f"{self.name}: {self.rule!r} is {count} times in {self.file}; correct scripts/traps.toml")
        return source.replace(self.rule, self.without)


def traps() -> list[Trap]:
    """All of traps.toml."""
    listed = tomllib.loads((ROOT / "scripts" / "traps.toml").read_text(encoding="utf-8"))["trap"]
    return [Trap(**{**row, "tests": tuple(row["tests"])}) for row in listed]


def verdict_on(trap: Trap) -> tuple[str, str]:
    """What the tests say when the rule is gone: `guarded`, `NOT GUARDED` or `UNCLEAR` (none ran, or one hung), and which test and how."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "trainer_image"
        shutil.copytree(SOURCE, copy)
        file = copy / trap.path
        file.write_text(trap.taken_away(file.read_text(encoding="utf-8")), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-n", "2", "--timeout", "120", *trap.tests]
        env = os.environ | {"PYTHONPATH": str(copy), "COLUMNS": "400"}
        told = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if told.returncode == 0:
        return "NOT GUARDED", " ".join(trap.tests)
    found = re.search(r"^FAILED (.+)", told.stdout, re.MULTILINE)
    if found is None or "Timeout" in found.group(1):
        return "UNCLEAR", f"{told.stdout[-1500:]}{told.stderr[-500:]}"
    return "guarded", found.group(1)[:200]


def main(parts: list[str]) -> int:
    chosen = [trap for trap in traps() if not parts or any(part in trap.name for part in parts)]
    guarded = 0
    for trap in chosen:
        verdict, why = verdict_on(trap)
        guarded += verdict == "guarded"
        sys.stdout.write(f"{verdict}: {trap.name}: {why}\n")
        sys.stdout.flush()
    sys.stdout.write(f"{guarded} of {len(chosen)} rules are guarded\n")
    return 0 if guarded == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
