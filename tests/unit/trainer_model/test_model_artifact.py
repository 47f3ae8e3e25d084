"""The exported artifact: complete, reproducible, readable without torch, and refused once a byte of it has changed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attune.contract import ArtifactRef, ExitCode, Stage, StageResult, StageSpec
from attune_retrieval import manifest
from attune_retrieval.artifact import open_verified
from attune_trainer.errors import BadData
from attune_trainer.export import artifact
from attune_trainer.running import run
from attune_trainer.signals import Termination

Done = tuple[Callable[..., StageSpec], StageResult]


def folder_of(done: Done) -> Path:
    assert done[1].model is not None
    return Path(done[1].model.uri)


def test_the_artifact_says_what_it_is(imported: Done) -> None:
    folder = folder_of(imported)
    described = manifest.read(folder)
    assert described.source == "import"
    assert described.dimensions == 32
    assert described.pooling == "mean"
    assert described.max_sequence_length == 32
    assert described.prompts == {"query": "", "document": ""}
    assert imported[1].model is not None
    assert imported[1].model.embedding_space == described.embedding_space
    assert imported[1].model.digest == manifest.sha256(folder / "manifest.json")
    listed = {file.path for file in described.files}
    assert {"onnx/model.onnx", "golden.json", "tokenizer.json", "model.safetensors", "modules.json"} <= listed
    assert listed | {"manifest.json"} == {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert not [name for name in listed if name.endswith((".bin", ".pt", ".pkl", ".pth"))]


def test_the_graph_gives_the_vectors_of_the_model(trained: Done) -> None:
    from sentence_transformers import SentenceTransformer

    folder = folder_of(trained)
    encoder = open_verified(folder, None).encoder
    model = SentenceTransformer(str(folder), device="cpu")
    texts = ["red car", "", "the house is white and shines", "unknown words zzz", "stone " * 200, "é 東京"]
    expected = model.encode(texts, normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode(texts, "document"), expected, atol=2e-5)


def test_the_graph_names_no_file_of_the_machine_that_made_it(imported: Done) -> None:
    graph = (folder_of(imported) / "onnx" / "model.onnx").read_bytes()
    assert b"site-packages" not in graph
    assert b".py" not in graph


def test_the_artifact_is_read_without_torch(imported: Done) -> None:
    code = (
        "import sys; from pathlib import Path; from attune_retrieval.artifact import open_verified;"
        f"o = open_verified(Path({str(folder_of(imported))!r}), None);"
        "v = o.encoder.encode(['red car'], 'query'); assert v.shape == (1, o.manifest.dimensions);"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["onnx/model.onnx", "tokenizer.json", "golden.json", "model.safetensors"])
def test_a_changed_byte_is_found(imported: Done, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder_of(imported), copy)
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BadData, match=name.rsplit("/", maxsplit=1)[-1]) as error:
        open_verified(copy, None)
    assert error.value.reason == "ArtifactCorrupt"


def test_files_that_agree_with_each_other_but_not_with_the_golden_vectors_are_refused(
    imported: Done, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder_of(imported), copy)
    golden = json.loads((copy / "golden.json").read_text())
    golden[0]["vector"] = golden[3]["vector"][::-1]
    (copy / "golden.json").write_text(json.dumps(golden))
    described = manifest.read(copy)
    manifest.write(copy, described.model_copy(update={"files": manifest.file_digests(copy)}))
    with pytest.raises(BadData, match="golden text 0") as error:
        open_verified(copy, None)
    assert error.value.reason == "ArtifactCorrupt"


def test_the_evaluate_stage_refuses_another_artifact_than_the_one_that_was_trained(imported: Done) -> None:
    make, result = imported
    assert result.model is not None
    other = ArtifactRef(name="emb", uri=result.model.uri, digest="sha256:" + "0" * 64)
    ended = run(make(Stage.EVALUATE, spec_model=other), Termination(), lambda _: None)
    assert ended.exit_code is ExitCode.BAD_DATA
    assert ended.result.reason == "ArtifactCorrupt"


def test_cls_pooling_and_prompts_are_exported(build_model: Callable[..., Path], tmp_path: Path) -> None:
    from attune_trainer.base_model import load_model

    model = load_model(build_model(tmp_path / "cls", pooling="cls"), query_prompt="red ", document_prompt="the ")
    written = artifact.write(model, tmp_path / "artifact", artifact.Provenance("import", "cls"))
    assert written.manifest.pooling == "cls"
    encoder = open_verified(written.folder, written.digest).encoder
    expected = model.encode_query(["car"], normalize_embeddings=True)
    np.testing.assert_allclose(encoder.encode(["car"], "query"), expected, atol=2e-5)
    assert float(expected[0] @ encoder.encode(["car"], "document")[0]) < 0.9999


def test_prompts_and_weights_make_the_embedding_space() -> None:
    space = manifest.embedding_space(["w1"], "mean", {"query": "", "document": ""})
    assert space == manifest.embedding_space(["w1"], "mean", {"document": "", "query": ""})
    others = [
        manifest.embedding_space(["w2"], "mean", {"query": "", "document": ""}),
        manifest.embedding_space(["w1"], "cls", {"query": "", "document": ""}),
        manifest.embedding_space(["w1"], "mean", {"query": "query: ", "document": ""}),
    ]
    assert len({space, *others}) == 4
