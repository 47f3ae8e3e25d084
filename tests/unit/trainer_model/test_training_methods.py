"""Methods of training on a tiny BERT: adapters, queries only, vectors that may be cut; stopped and resumed as any other run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from attune.contract import ArtifactRef, ExitCode, ModelType, Stage, StageResult, StageSpec
from attune_retrieval import manifest
from attune_retrieval.artifact import open_verified
from attune_trainer.running import Ended, run
from attune_trainer.signals import Termination
from tiny_bert import sentences

MakeSpec = Callable[..., StageSpec]
SpecsFrom = Callable[[Path, Path], MakeSpec]
TEXTS = [text for _, text in sentences()[:30]]
QUERIES = [query for query, _ in sentences()[:30]]


def done(spec: StageSpec) -> Ended:
    return run(spec, Termination(), lambda _: None)


def made(result: StageResult) -> Path:
    assert result.model is not None, result.message
    return Path(result.model.uri)


def interrupted_and_resumed(spec: StageSpec, at: int) -> StageResult:
    """Two pods: the first is asked to end at step `at`."""
    termination = Termination()

    def stop(progress: Any) -> None:
        if (progress.step or 0) >= at:
            termination.requested = True

    first = run(spec, termination, stop, interval=0.0)
    assert first.exit_code == ExitCode.INTERRUPTED, first.result.message
    return done(spec).result


def vectors(folder: Path, role: Any, texts: list[str]) -> Any:
    return open_verified(folder, None).encoder.encode(texts, role)


@pytest.fixture(scope="session")
def queries_trained(
    tmp_path_factory: pytest.TempPathFactory, imported: tuple[MakeSpec, StageResult], specs_from: SpecsFrom
) -> tuple[MakeSpec, StageResult]:
    """Trained from the imported version, whose vectors are in the index; made once, never changed."""
    make = specs_from(tmp_path_factory.mktemp("queries"), made(imported[1]))
    result = done(make(Stage.TRAIN, method="queryOnly", epochs=20, learning_rate=2e-3, batch_size=32)).result
    assert result.succeeded, result.message
    return make, result


def test_adapters_learn_and_are_gone_from_the_artifact(
    make_spec: MakeSpec, imported: tuple[MakeSpec, StageResult]
) -> None:
    result = done(
        make_spec(Stage.TRAIN, method="lora", epochs=8, lora={"rank": 12, "alpha": 24}, learning_rate=1e-3)
    ).result
    folder, before = made(result), made(imported[1])
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "np") as tuned, safe_open(before / "model.safetensors", "np") as plain:
        assert set(tuned.keys()) == set(plain.keys())
    assert json.loads((folder / "manifest.json").read_text())["config"]["lora"]["rank"] == 12
    assert score_of(folder) > score_of(before) + 0.03


def score_of(folder: Path) -> float:
    """Share of all queries whose own document is the first of the 120."""
    found = (
        vectors(folder, "query", [q for q, _ in sentences()])
        @ vectors(folder, "document", [t for _, t in sentences()]).T
    )
    return float(np.mean(found.argmax(axis=1) == np.arange(len(found))))


def test_only_adapters_are_trained_and_kept_in_checkpoints(make_spec: MakeSpec, tmp_path: Path) -> None:
    from attune_trainer.base_model import load_for
    from attune_trainer.train.lora import add_adapters
    from attune_trainer.train.weights import trained_state

    spec = make_spec(Stage.TRAIN, method="lora")
    model = load_for(spec.config, Path(spec.config.base_model))
    whole = sum(value.numel() for value in trained_state(model).values())
    add_adapters(model, spec.config, ModelType.EMBEDDING)
    kept = trained_state(model)
    assert kept
    assert all("lora_" in name for name in kept)
    assert sum(value.numel() for value in kept.values()) < whole


@pytest.mark.parametrize("method", ["lora", "queryOnly"])
def test_a_run_that_was_stopped_gives_the_model_of_one_that_was_not(
    make_spec: MakeSpec, tmp_path: Path, method: str
) -> None:
    spec = make_spec(Stage.TRAIN, method=method, epochs=2)
    whole = vectors(made(done(spec).result), "query", QUERIES)
    shutil.rmtree(tmp_path / "store")
    resumed = vectors(made(interrupted_and_resumed(spec, 7)), "query", QUERIES)
    np.testing.assert_allclose(resumed, whole, atol=1e-5)


def test_documents_keep_their_vectors_and_space_while_queries_learn(
    queries_trained: tuple[MakeSpec, StageResult], imported: tuple[MakeSpec, StageResult]
) -> None:
    folder, before = made(queries_trained[1]), made(imported[1])
    now, old = manifest.read(folder), manifest.read(before)
    assert now.embedding_space == old.embedding_space
    assert now.document_graph == "onnx/document/model.onnx"
    assert (folder / now.document_graph).read_bytes() == (before / "onnx/model.onnx").read_bytes()
    np.testing.assert_array_equal(vectors(folder, "document", TEXTS), vectors(before, "document", TEXTS))
    assert not np.allclose(vectors(folder, "query", QUERIES), vectors(before, "query", QUERIES), atol=1e-2)
    assert score_of(folder) > score_of(before)


def test_the_plain_library_reads_both_sides_of_such_an_artifact(
    queries_trained: tuple[MakeSpec, StageResult],
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = made(queries_trained[1])
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    expected = model.encode_query(QUERIES, normalize_embeddings=True)
    np.testing.assert_allclose(vectors(folder, "query", QUERIES), expected, atol=1e-5)
    expected = model.encode_document(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(vectors(folder, "document", TEXTS), expected, atol=1e-5)


def test_queries_and_documents_in_one_batch_go_their_own_ways(queries_trained: tuple[MakeSpec, StageResult]) -> None:
    encoder = open_verified(made(queries_trained[1]), None).encoder
    mixed = [*encoder.tokenize(QUERIES[:3], "query"), *encoder.tokenize(TEXTS[:3], "document")]
    order = [0, 3, 1, 4, 2, 5]
    found = encoder.run([mixed[n] for n in order])
    expected = np.concatenate([encoder.encode(QUERIES[:3], "query"), encoder.encode(TEXTS[:3], "document")])[order]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_side_for_documents_is_opened_with_the_first_document(
    queries_trained: tuple[MakeSpec, StageResult],
) -> None:
    encoder = open_verified(made(queries_trained[1]), None).encoder
    encoder.encode(QUERIES[:1], "query")
    assert encoder._documents is None
    encoder.encode(TEXTS[:1], "document")
    assert encoder._documents is not None


def test_damage_to_the_side_for_documents_is_found(
    queries_trained: tuple[MakeSpec, StageResult], tmp_path: Path
) -> None:
    from attune_trainer.errors import BadData

    copy = tmp_path / "copy"
    shutil.copytree(made(queries_trained[1]), copy)
    shutil.copyfile(copy / "onnx/model.onnx", copy / "onnx/document/model.onnx")
    described = manifest.read(copy)
    manifest.write(copy, described.model_copy(update={"files": manifest.file_digests(copy)}))
    with pytest.raises(BadData, match="golden text 3"):
        open_verified(copy, None)


def test_queries_go_on_from_a_version_of_two_sides(
    queries_trained: tuple[MakeSpec, StageResult], tmp_path: Path, specs_from: SpecsFrom
) -> None:
    base = made(queries_trained[1])
    result = done(specs_from(tmp_path, base)(Stage.TRAIN, method="queryOnly", epochs=1)).result
    folder = made(result)
    assert manifest.read(folder).embedding_space == manifest.read(base).embedding_space
    np.testing.assert_array_equal(vectors(folder, "document", TEXTS), vectors(base, "document", TEXTS))
    near = (vectors(folder, "query", QUERIES) * vectors(base, "query", QUERIES)).sum(axis=1).mean()
    assert near > 0.9, "it began from the trained query side"


@pytest.mark.parametrize("method", ["full", "lora"])
def test_one_model_for_both_sides_does_not_start_from_two(
    queries_trained: tuple[MakeSpec, StageResult], tmp_path: Path, method: str, specs_from: SpecsFrom
) -> None:
    refused = done(specs_from(tmp_path, made(queries_trained[1]))(Stage.TRAIN, method=method))
    assert (refused.exit_code, refused.result.reason) == (ExitCode.BAD_CONFIG, "TwoTowers")
    assert "method: queryOnly" in refused.result.message


def test_another_prompt_for_documents_is_refused(
    imported: tuple[MakeSpec, StageResult], tmp_path: Path, specs_from: SpecsFrom
) -> None:
    make = specs_from(tmp_path, made(imported[1]))
    refused = done(make(Stage.TRAIN, method="queryOnly", document_prompt="the "))
    assert (refused.exit_code, refused.result.reason) == (ExitCode.BAD_CONFIG, "PromptDiffers")


def test_a_version_of_the_same_space_is_measured_and_not_taken_for_the_active_one(
    queries_trained: tuple[MakeSpec, StageResult], imported: tuple[MakeSpec, StageResult]
) -> None:
    make, result = queries_trained
    assert result.model is not None
    assert imported[1].model is not None
    ours, active = result.model, imported[1].model
    spec = make(
        Stage.EVALUATE,
        spec_model=ArtifactRef(name="emb-v2", uri=ours.uri, digest=ours.digest),
        spec_active=ArtifactRef(name="emb-v1", uri=active.uri, digest=active.digest),
    )
    evaluation = done(spec).result.evaluation
    assert evaluation is not None
    assert evaluation.metrics.baseline is not None
    assert evaluation.metrics.mrr_at10 != evaluation.metrics.baseline.mrr_at10
    assert evaluation.metrics.verdict is not None


def test_a_base_without_a_manifest_gives_the_space_of_its_import(
    make_spec: MakeSpec, imported: tuple[MakeSpec, StageResult]
) -> None:
    folder = made(done(make_spec(Stage.TRAIN, method="queryOnly", epochs=1)).result)
    assert manifest.read(folder).embedding_space == manifest.read(made(imported[1])).embedding_space


def test_a_version_of_two_sides_can_be_imported(
    queries_trained: tuple[MakeSpec, StageResult], tmp_path: Path, specs_from: SpecsFrom
) -> None:
    base = made(queries_trained[1])
    folder = made(done(specs_from(tmp_path, base)(Stage.IMPORT)).result)
    assert manifest.read(folder).embedding_space == manifest.read(base).embedding_space
    for role, texts in (("query", QUERIES), ("document", TEXTS)):
        np.testing.assert_allclose(vectors(folder, role, texts), vectors(base, role, texts), atol=1e-5)


def test_vectors_trained_to_be_cut_are_better_cut_than_others(make_spec: MakeSpec, tmp_path: Path) -> None:
    def cut_score(folder: Path, length: int) -> float:
        asked, texts = [query for query, _ in sentences()], [text for _, text in sentences()]
        cut = [vectors(folder, role, side)[:, :length] for role, side in (("query", asked), ("document", texts))]
        queries, documents = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in cut)
        return float(np.mean((queries @ documents.T).argmax(axis=1) == np.arange(len(texts))))

    asked = {"epochs": 16, "learning_rate": 2e-3}
    nested = made(done(make_spec(Stage.TRAIN, matryoshka_dimensions=(4, 8), **asked)).result)
    assert manifest.read(nested).matryoshka_dimensions == (4, 8)
    scores = {4: cut_score(nested, 4), 8: cut_score(nested, 8)}
    shutil.rmtree(tmp_path / "store")
    plain = made(done(make_spec(Stage.TRAIN, **asked)).result)
    assert manifest.read(plain).matryoshka_dimensions is None
    assert scores[8] > cut_score(plain, 8)
    assert scores[4] > cut_score(plain, 4) + 0.1


def test_a_length_that_is_not_below_the_models_is_refused(make_spec: MakeSpec) -> None:
    refused = done(make_spec(Stage.TRAIN, matryoshka_dimensions=(16, 32)))
    assert refused.exit_code == ExitCode.BAD_CONFIG
    assert "matryoshkaDimensions 32: the base model's vectors have 32 numbers" in refused.result.message


def test_the_loss_over_whole_and_cut_vectors_is_the_mean_of_the_stock_loss_over_each(tiny_model: Path) -> None:
    import torch
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    from attune_trainer.train.matryoshka import NestedLoss

    inner = MultipleNegativesRankingLoss(None)  # type: ignore[arg-type]
    embeddings = [torch.randn(6, 32, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    expected = [inner.compute_loss_from_embeddings([e[:, :d] for e in embeddings], None) for d in (32, 8, 4)]  # type: ignore[arg-type]
    found = NestedLoss(inner, (4, 8)).compute_loss_from_embeddings(embeddings, torch.zeros(0))
    torch.testing.assert_close(found, torch.stack(expected).mean())


def test_an_artifact_that_is_not_what_was_kept_is_not_published(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best weights are not put back: what is exported is the last look's, not the best one's."""
    from attune_trainer.train import weights

    monkeypatch.setattr(
        weights, "put_back", lambda model, state: model[0].auto_model.embeddings.word_embeddings.weight.data.normal_()
    )
    ended = done(make_spec(Stage.TRAIN, epochs=4))
    assert (ended.exit_code, ended.result.reason) == (ExitCode.BAD_CONFIG, "ExportDiffers")
    assert "nothing was published" in ended.result.message
