"""An artifact that is there already: listed for `registry rebuild`, and taken as it is by an import that names its digest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from artifacts import Made, tiny_artifact
from attune.contract import ArtifactRef, ExitCode, ModelType, Stage, StageSpec
from attune_trainer.__main__ import app
from attune_trainer.registry import listed
from attune_trainer.running import run
from attune_trainer.signals import Termination

MakeSpec = Callable[..., StageSpec]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return tiny_artifact(tmp_path_factory.mktemp("adoption"), "emb-v3-20260101-0a1b2c3d")


def adopt(make: MakeSpec, folder: Path, digest: str, **changes: object) -> tuple[ExitCode, str, object]:
    model = ArtifactRef(name="emb-v3-20260101", uri=f"file://{folder}", digest=digest)
    ended = run(make(Stage.IMPORT, spec_model=model, base_model="/not/there", **changes), Termination(), lambda _: None)
    return ended.exit_code, f"{ended.result.reason}: {ended.result.message}", ended.result.model


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def copied(made: Made, folder: Path) -> Path:
    for name, data in bytes_of(made.folder).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_it_is_verified_and_taken_without_a_base_model_and_without_a_write(
    make_spec: MakeSpec, made: Made, tmp_path: Path
) -> None:
    folder = copied(made, tmp_path / "artifact")
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    code, said, model = adopt(make_spec, folder, made.digest)
    assert code is ExitCode.OK, said
    assert (model.digest, model.dimensions, model.embedding_space) == (made.digest, made.dimensions, made.space)  # type: ignore[attr-defined]
    assert "is taken as it is" in said
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


@pytest.mark.parametrize("fault", ["another digest", "one byte", "another type", "nothing there"])
def test_what_is_not_that_artifact_is_refused_for_good_and_left_alone(
    make_spec: MakeSpec, made: Made, tmp_path: Path, fault: str
) -> None:
    folder, digest, changes = copied(made, tmp_path / "artifact"), made.digest, {}
    if fault == "another digest":
        digest = "sha256:" + "0" * 64
    elif fault == "one byte":
        path = folder / "tokenizer.json"
        path.write_bytes(path.read_bytes()[:-1] + b" ")
    elif fault == "another type":
        changes = {"spec_type": ModelType.RERANKER}
    else:
        folder = tmp_path / "nothing"
    before = bytes_of(folder)
    code, said, model = adopt(make_spec, folder, digest, **changes)
    assert (code, model) == (ExitCode.BAD_DATA, None)
    assert said.startswith("WrongType: " if fault == "another type" else "ArtifactCorrupt: ")
    assert bytes_of(folder) == before


def test_the_list_has_every_published_artifact_with_its_digest_and_says_what_is_damaged(
    made: Made, tmp_path: Path
) -> None:
    copied(made, tmp_path / "versions" / made.name)
    (tmp_path / "versions" / "unfinished").mkdir()
    (tmp_path / "versions" / "unfinished" / "model.onnx").write_text("half")
    (tmp_path / "versions" / "zz-broken").mkdir()
    (tmp_path / "versions" / "zz-broken" / "manifest.json").write_text("{}")
    whole, broken, end = listed(f"file://{tmp_path}/versions")
    assert (whole["uri"], whole["digest"]) == (f"file://{tmp_path}/versions/{made.name}", made.digest)
    assert whole["manifest"]["embeddingSpace"] == made.space
    assert not whole["manifest"].get("files")
    assert broken["problem"].startswith("manifest.json is damaged, or not one of Attune's: ")
    assert end == {"artifacts": 2}


def test_the_command_prints_one_json_line_each_and_one_line_of_words_where_there_is_no_store(
    made: Made, tmp_path: Path
) -> None:
    copied(made, tmp_path / made.name)
    done = CliRunner().invoke(app, ["registry", str(tmp_path)])
    assert [sorted(json.loads(line)) for line in done.stdout.splitlines()] == [
        ["digest", "manifest", "uri"],
        ["artifacts"],
    ]
    wrong = CliRunner().invoke(app, ["registry", "ftp://host/x"])
    assert wrong.exit_code == ExitCode.BAD_CONFIG
    assert "no store for ftp://" in wrong.output
    assert CliRunner().invoke(app, ["registry", str(tmp_path / "none")]).stdout == '{"artifacts": 0}\n'
