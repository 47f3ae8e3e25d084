"""The files of the repository agree with each other: Makefile, CI, documents, Dockerfiles, versions."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import attune
from devcluster.node.images import BUILT_IN

ROOT = Path(__file__).parents[3]
MAKEFILE = (ROOT / "Makefile").read_text()
DOCKERFILES = {"attune-operator": ROOT / "operator/Dockerfile", "attune-trainer": ROOT / "trainer_image/Dockerfile"}
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "devcluster/README.md"])


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):(?!=)", MAKEFILE, re.MULTILINE))


def test_every_make_target_is_documented_and_phony() -> None:
    told = subprocess.run(["make", "help"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert {line.split()[1] for line in told.splitlines() if line.startswith("  make ")} == targets()
    assert set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE).group(1).split()) == targets()  # type: ignore[union-attr]


def test_ci_runs_lint_and_test_and_nothing_else() -> None:
    script = ROOT / ".ci/run"
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "$0")/.."', "make lint", "make test"]
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_only_files_and_targets_that_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    linked = [target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    assert [target for target in linked if target and not (document.parent / target).exists()] == []
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets()


def test_decisions_are_numbered_without_gaps_and_have_the_three_parts() -> None:
    records = sorted((ROOT / "docs/adr").glob("[0-9]*.md"))
    assert [int(path.name[:4]) for path in records] == list(range(1, len(records) + 1))
    for path in records:
        headings = re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE)
        assert headings == ["Context", "Choice", "Consequence"], path.name


@pytest.mark.parametrize(("name", "path"), DOCKERFILES.items(), ids=list(DOCKERFILES))
def test_a_dockerfile_starts_what_the_process_node_starts(name: str, path: Path) -> None:
    text = path.read_text()
    modules = {"attune": '["python", "-m", "attune"]', "attune_trainer": '["attune-trainer"]'}
    assert f"ENTRYPOINT {modules[BUILT_IN[name].entrypoint[-1]]}" in text
    assert "\nUSER 65532:65532\n" in text
    assert "uv sync --quiet --locked --no-dev" in text


def test_the_images_share_one_base() -> None:
    bases = {
        line for path in DOCKERFILES.values() for line in re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE)
    }
    assert len(bases) == 1


def test_one_version_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert attune.__version__ == project
    deployment = yaml.safe_load((ROOT / "manifests/operator.yaml").read_text())
    images = [container["image"] for container in deployment["spec"]["template"]["spec"]["containers"]]
    settings = yaml.safe_load((ROOT / "manifests/settings.yaml").read_text())
    assert images == [f"attune-operator:{project}"]
    assert settings["data"]["ATTUNE_TRAINER_IMAGE"] == f"attune-trainer:{project}"
    assert f"## [{project}]" in (ROOT / "CHANGELOG.md").read_text()
