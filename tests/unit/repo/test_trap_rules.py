"""The rules that scripts/traps.py takes away are where it looks for them."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def _script():
    spec = importlib.util.spec_from_file_location("traps", ROOT / "scripts" / "traps.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["traps"] = module
    spec.loader.exec_module(module)
    return module


TRAPS = _script()


@pytest.mark.parametrize("trap", TRAPS.traps(), ids=lambda trap: trap.name)
def test_a_rule_is_there_once_and_taking_it_away_leaves_code_that_compiles(trap) -> None:
    source = (TRAPS.SOURCE / trap.path).read_text(encoding="utf-8")
    without = trap.taken_away(source)
    assert without != source
    compile(without, trap.file, "exec")
    assert all((ROOT / folder).exists() for folder in trap.tests)


def test_a_rule_that_moved_is_named_with_the_way_out() -> None:
    trap = TRAPS.Trap("a rule", "data/split.py", "no such text", "", ())
    with pytest.raises(
        ValueError, match=r"a rule: 'no such text' is 0 times in data/split.py; correct scripts/traps.toml"
    ):
        trap.taken_away("x = 1")
