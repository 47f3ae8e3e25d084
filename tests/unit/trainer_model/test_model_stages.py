"""Train, export, import and evaluate on a tiny BERT: what a pod would do, in this process."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attune.contract import ArtifactRef, ExitCode, ModelType, Progress, Stage, StageSpec
from attune_trainer.running import Ended, result_uri, run
from attune_trainer.signals import Termination

MakeSpec = Callable[..., StageSpec]


def go(spec: StageSpec) -> Ended:
    return run(spec, Termination(), lambda _: None)


def succeeded(spec: StageSpec) -> Ended:
    ended = go(spec)
    assert ended.result.succeeded, ended.result.message
    return ended


def test_training_improves_retrieval_and_the_evaluation_says_by_how_much(make_spec: MakeSpec) -> None:
    seen: list[Progress] = []
    spec = make_spec(Stage.TRAIN, epochs=4)
    trained = run(spec, Termination(), seen.append).result
    assert trained.model is not None, trained.message
    assert trained.model.training is not None
    assert trained.model.dimensions == 32
    assert trained.model.training.training_examples == 96
    assert seen[0].percent == 0
    assert seen[-1].percent == 100
    model = ArtifactRef(name="emb-v2", uri=trained.model.uri, digest=trained.model.digest)
    evaluated = succeeded(make_spec(Stage.EVALUATE, spec_model=model)).result
    assert evaluated.evaluation is not None
    metrics = evaluated.evaluation.metrics
    assert metrics.queries == 12
    assert metrics.documents == 120
    assert metrics.base is not None
    assert (metrics.ndcg_at10 or 0) > (metrics.base.ndcg_at10 or 0) + 0.1
    assert metrics.verdict == "better"
    assert metrics.intervals is not None
    assert metrics.intervals["ndcgAt10"].low > 0
    assert metrics.score == pytest.approx(((metrics.context_precision or 0) + (metrics.context_recall or 0)) / 2, abs=1e-4)
    assert metrics.score_metric == "mean of contextPrecision, contextRecall"
    assert metrics.bm25 is not None
    assert (metrics.bm25.ndcg_at10 or 0) > 0.9
    assert evaluated.evaluation.not_measured == {
        "faithfulness": "no judge configured (Retriever.spec.judge)",
        "relevance": "no judge configured (Retriever.spec.judge)",
    }
    assert "95% CI" in evaluated.message


def test_a_stage_that_was_done_gives_its_result_again_without_doing_it(make_spec: MakeSpec) -> None:
    spec = make_spec(Stage.IMPORT)
    first = succeeded(spec).result
    again = succeeded(spec).result
    assert again == first
    other = succeeded(make_spec(Stage.IMPORT, max_sequence_length=16)).result
    assert other.spec_digest != first.spec_digest
    assert other.finished_at != first.finished_at


def test_a_result_whose_artifact_is_gone_is_not_believed(make_spec: MakeSpec) -> None:
    spec = make_spec(Stage.IMPORT)
    first = succeeded(spec).result
    assert first.model is not None
    (Path(first.model.uri) / "manifest.json").unlink()
    again = succeeded(spec).result
    assert again.model is not None
    assert again.finished_at != first.finished_at
    assert again.model.digest == first.model.digest


def test_the_same_training_twice_gives_the_same_weights(make_spec: MakeSpec) -> None:
    from safetensors.numpy import load_file

    spaces = []
    for name in ("one", "two"):
        spec = make_spec(Stage.TRAIN, epochs=1, spec_storage=str(Path(make_spec(Stage.TRAIN).storage) / name))
        ended = succeeded(spec)
        assert ended.result.model is not None
        spaces.append(load_file(Path(ended.result.model.uri) / "model.safetensors"))
    for name, weights in spaces[0].items():
        np.testing.assert_array_equal(weights, spaces[1][name], err_msg=name)


def test_training_goes_on_from_a_version(make_spec: MakeSpec) -> None:
    spec = make_spec(Stage.IMPORT)
    place = f"{spec.storage}/news/news/versions/emb-v1"
    imported = succeeded(make_spec(Stage.IMPORT, spec_model=ArtifactRef(name="emb-v1", uri=place)))
    assert imported.result.model is not None
    trained = succeeded(make_spec(Stage.TRAIN, base_model="version:emb-v1", epochs=1))
    assert trained.result.model is not None
    assert trained.result.model.embedding_space != imported.result.model.embedding_space


def test_the_result_lies_in_the_store_and_fits_a_termination_message(make_spec: MakeSpec) -> None:
    spec = make_spec(Stage.IMPORT)
    result = succeeded(spec).result
    stored = json.loads(Path(result_uri(spec)).read_text())
    assert stored["specDigest"] == spec.digest()
    assert len(result.termination_message().encode()) <= 4096


def test_an_unchanged_import_is_not_worse_than_its_base(make_spec: MakeSpec) -> None:
    imported = succeeded(make_spec(Stage.IMPORT)).result
    assert imported.model is not None
    model = ArtifactRef(name="emb-v1", uri=imported.model.uri, digest=imported.model.digest)
    evaluated = succeeded(make_spec(Stage.EVALUATE, spec_model=model, spec_active=model)).result
    assert evaluated.evaluation is not None
    metrics = evaluated.evaluation.metrics
    assert metrics.verdict == "notWorse"
    assert metrics.baseline is not None
    assert metrics.baseline.ndcg_at10 == metrics.ndcg_at10
    assert metrics.improvement_percent == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "lora"}, "method: full"),
        ({"method": "queryOnly"}, "method: full"),
        ({"loss": "bce"}, "multipleNegativesRanking"),
        ({"spec_type": ModelType.RERANKER}, "embedding"),
        ({"precision": "fp16"}, "GPU"),
        ({"base_model": "/no/such/folder"}, "/no/such/folder"),
        ({"base_model": "nobody/no-such-model"}, "HF_HUB_OFFLINE"),
        ({"base_model": "version:emb-v9"}, "emb-v9"),
        ({"spec_dataset": None}, "dataset"),
        ({"spec_model": None}, "model"),
    ],
)
def test_what_cannot_be_trained_is_refused_for_good_with_the_way_out(make_spec: MakeSpec, changes: dict[str, object], words: str) -> None:
    ended = go(make_spec(Stage.TRAIN, **changes))
    assert ended.exit_code is ExitCode.BAD_CONFIG, ended.result.message
    assert not ended.result.succeeded
    assert words in ended.result.message
