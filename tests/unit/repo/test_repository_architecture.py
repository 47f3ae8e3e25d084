"""Who may import whom, and what must not be in a process. The contracts themselves are in .importlinter."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[3]
OPERATOR, TRAINER = ROOT / "operator" / "attune", ROOT / "trainer_image" / "attune_trainer"
PURE = ("api", "contract", "decide", "desired", "observation")
HEAVY = {"torch", "transformers", "sentence_transformers", "datasets", "onnx", "onnxruntime", "numpy", "pandas"}


def trees(folder: Path) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(folder.rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def loaded_after(statements: str) -> set[str]:
    """Top-level packages in `sys.modules` of a fresh interpreter after these statements."""
    code = f"{statements}\nimport sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_the_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout
    assert " 0 broken" in done.stdout


def test_the_trainer_imports_nothing_of_the_operator_but_the_contract() -> None:
    wrong = [
        (where, name)
        for where, tree in trees(TRAINER)
        for name in imported(tree)
        if name.partition(".")[0] == "attune" and name.split(".")[:2] != ["attune", "contract"]
    ]
    assert wrong == []


def test_pure_packages_ask_no_clock() -> None:
    wrong = [
        f"{where}:{node.lineno}"
        for package in PURE
        for where, tree in trees(OPERATOR / package)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today", "monotonic", "perf_counter"}
        if isinstance(node.value, ast.Name | ast.Attribute) and "date" in ast.unparse(node.value).lower()
    ]
    assert wrong == []


def test_the_whole_operator_loads_without_torch_or_its_like() -> None:
    modules = ".".join(OPERATOR.relative_to(ROOT / "operator").parts)
    everything = f"import pkgutil, importlib, {modules} as top\n" + (
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(top.__path__, 'attune.')"
        " if not m.name.endswith('__main__')]"
    )
    loaded = loaded_after(everything)
    assert {"attune", "kopf", "kubernetes"} <= loaded
    assert not loaded & {*HEAVY, "attune_trainer"}


def test_the_trainers_command_line_starts_without_loading_the_training_stack() -> None:
    loaded = loaded_after("import attune_trainer.__main__")
    assert "attune_trainer" in loaded
    assert not loaded & HEAVY
