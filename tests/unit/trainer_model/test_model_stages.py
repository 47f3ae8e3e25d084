"""Train, export, import and evaluate on a tiny BERT: what a pod would do, in this process."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import interrupted_export
from attune.contract import ArtifactRef, ExitCode, ModelType, Progress, Stage, StageResult, StageSpec
from attune_retrieval import manifest
from attune_trainer.running import Ended, result_uri, run
from attune_trainer.signals import Termination

MakeSpec = Callable[..., StageSpec]
Done = tuple[MakeSpec, StageResult]


def go(spec: StageSpec) -> Ended:
    return run(spec, Termination(), lambda _: None)


def artifact_of(result: StageResult) -> ArtifactRef:
    assert result.model is not None
    return ArtifactRef(name="emb", uri=result.model.uri, digest=result.model.digest)


def evaluated(make: MakeSpec, **changes: Any) -> StageResult:
    result = go(make(Stage.EVALUATE, **changes)).result
    assert result.evaluation is not None, result.message
    return result


def test_training_improves_retrieval_and_the_evaluation_says_by_how_much(trained: Done) -> None:
    make, training = trained
    assert training.model is not None
    assert training.model.training is not None
    assert training.model.dimensions == 32
    assert training.model.training.training_examples == 96
    assert training.model.training.epochs == 8
    result = evaluated(make, spec_model=artifact_of(training))
    assert result.evaluation is not None
    metrics = result.evaluation.metrics
    assert (metrics.queries, metrics.documents) == (12, 120)
    assert metrics.base is not None
    assert metrics.baseline is None
    assert (metrics.ndcg_at10 or 0) > (metrics.base.ndcg_at10 or 0) + 0.1
    assert metrics.verdict == "better"
    assert metrics.intervals is not None
    assert metrics.intervals["ndcgAt10"].low > 0
    assert metrics.score == pytest.approx(
        ((metrics.context_precision or 0) + (metrics.context_recall or 0)) / 2, abs=1e-4
    )
    assert metrics.score_metric == "mean of contextPrecision, contextRecall"
    assert metrics.bm25 is not None
    assert (metrics.bm25.ndcg_at10 or 0) > 0.9
    assert set(result.evaluation.not_measured) == {"faithfulness", "relevance"}
    assert "95% CI" in result.message


def test_an_import_is_the_base_model_so_it_is_measured_once_and_not_worse(imported: Done) -> None:
    make, result = imported
    model = artifact_of(result)
    progress: list[Progress] = []
    ended = run(make(Stage.EVALUATE, spec_model=model, spec_active=model), Termination(), progress.append).result
    assert ended.evaluation is not None
    metrics = ended.evaluation.metrics
    assert metrics.verdict == "notWorse"
    assert metrics.baseline is not None
    assert metrics.base is not None
    assert metrics.baseline.ndcg_at10 == metrics.base.ndcg_at10 == metrics.ndcg_at10
    assert metrics.improvement_percent == 0
    assert (progress[0].percent, progress[-1].percent) == (0, 100)


def test_a_model_that_lost_what_it_knew_is_worse_than_the_active_one(imported: Done, trained: Done) -> None:
    make, good = trained
    result = evaluated(make, spec_model=artifact_of(imported[1]), spec_active=artifact_of(good), seed=7)
    assert result.evaluation is not None
    assert result.evaluation.metrics.verdict == "worse"
    assert (result.evaluation.metrics.improvement_percent or 0) < 0


def test_the_score_can_be_one_named_metric_and_must_be_a_measured_one(imported: Done) -> None:
    from attune.contract import EvaluationConfig

    make, result = imported
    model = artifact_of(result)
    named = evaluated(make, spec_model=model, spec_evaluation=EvaluationConfig(score_metric="recallAt10"))
    assert named.evaluation is not None
    assert named.evaluation.metrics.score == named.evaluation.metrics.recall_at10
    judged = evaluated(make, spec_model=model, spec_evaluation=EvaluationConfig(score_metric="faithfulness"))
    assert judged.evaluation is not None
    assert judged.evaluation.metrics.score is None
    unknown = go(make(Stage.EVALUATE, spec_model=model, spec_evaluation=EvaluationConfig(score_metric="accuracy")))
    assert unknown.exit_code is ExitCode.BAD_CONFIG
    assert "ndcgAt10" in unknown.result.message


def test_a_stage_that_was_done_gives_its_result_again_without_doing_it(imported: Done) -> None:
    make, first = imported
    again: list[Progress] = []
    assert run(make(Stage.IMPORT), Termination(), again.append).result == first
    assert again == []


def test_a_result_whose_artifact_is_gone_is_not_believed(make_spec: MakeSpec) -> None:
    spec = make_spec(Stage.IMPORT)
    first = go(spec).result
    (Path(artifact_of(first).uri) / "manifest.json").unlink()
    again = go(spec).result
    assert artifact_of(again).digest == artifact_of(first).digest
    assert again.finished_at != first.finished_at


def test_the_result_lies_in_the_store_and_fits_a_termination_message(imported: Done) -> None:
    make, result = imported
    stored = json.loads(Path(result_uri(make(Stage.IMPORT))).read_text())
    assert stored["specDigest"] == make(Stage.IMPORT).digest()
    assert len(result.termination_message().encode()) <= 4096


def test_checkpoints_go_when_the_training_has_its_result(trained: Done) -> None:
    make, _ = trained
    run_folder = Path(result_uri(make(Stage.TRAIN))).parent.parent
    assert [path.name for path in run_folder.iterdir()] == ["train"] or not (run_folder / "checkpoints").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "queryOnly", "loss": "guided"}, "method: full"),
        ({"method": "queryOnly", "matryoshka_dimensions": (8,)}, "method: full"),
        ({"loss": "guided", "matryoshka_dimensions": (8,)}, "use multipleNegativesRanking"),
        ({"spec_type": ModelType.RERANKER, "method": "queryOnly"}, "full or lora"),
        ({"loss": "bce"}, "multipleNegativesRanking"),
        ({"spec_type": ModelType.RERANKER, "loss": "guided"}, "use bce or listwise"),
        ({"precision": "fp16"}, "GPU"),
        ({"base_model": "/no/such/folder"}, "/no/such/folder"),
        ({"base_model": "nobody/no-such-model"}, "HF_HUB_OFFLINE"),
        ({"base_model": "version:emb-v9"}, "emb-v9"),
        ({"spec_dataset": None}, "dataset"),
        ({"spec_model": None}, "model"),
    ],
)
def test_what_cannot_be_trained_is_refused_for_good_with_the_way_out(
    make_spec: MakeSpec, changes: dict[str, object], words: str
) -> None:
    ended = go(make_spec(Stage.TRAIN, **changes))
    assert ended.exit_code is ExitCode.BAD_CONFIG, ended.result.message
    assert not ended.result.succeeded
    assert words in ended.result.message


@pytest.mark.parametrize(
    ("missing", "words"),
    [("*.safetensors", "weights"), ("tokenizer*", "tokenizer"), ("config.json", "config.json")],
)
def test_a_base_model_that_lacks_a_part_is_refused_by_name(
    make_spec: MakeSpec, tiny_model: Path, tmp_path: Path, missing: str, words: str
) -> None:
    copy = tmp_path / "incomplete"
    shutil.copytree(tiny_model, copy)
    for path in [*copy.rglob(missing)]:
        path.unlink()
    ended = go(make_spec(Stage.IMPORT, base_model=str(copy)))
    assert ended.exit_code is ExitCode.BAD_CONFIG
    assert ended.result.reason in {"BaseModelIncomplete", "BaseModelNotFound"}
    assert words in ended.result.message


def test_pickled_weights_are_never_loaded(make_spec: MakeSpec, tiny_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "pickled"
    shutil.copytree(tiny_model, copy)
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    ended = go(make_spec(Stage.IMPORT, base_model=str(copy)))
    assert ended.result.reason == "BaseModelIncomplete"
    assert "safetensors" in ended.result.message


def test_a_snapshot_that_was_changed_is_refused(make_spec: MakeSpec) -> None:
    spec = make_spec(Stage.TRAIN)
    assert spec.dataset is not None
    with (Path(spec.dataset.uri) / "train.jsonl").open("a") as file:
        file.write("{}\n")
    ended = go(spec)
    assert ended.exit_code is ExitCode.BAD_DATA
    assert ended.result.reason == "DigestMismatch"
    assert "train.jsonl" in ended.result.message


@pytest.mark.parametrize("where", ["tracing", "registering"])
def test_sigterm_inside_the_exporter_asks_for_another_attempt(make_spec: MakeSpec, tmp_path: Path, where: str) -> None:
    """In a process of its own, as in a Pod: whatever a signal does to it, the tests after this one live."""
    spec = make_spec(Stage.IMPORT)
    (tmp_path / "spec.json").write_text(spec.to_json())
    command = [sys.executable, "-X", "faulthandler", interrupted_export.__file__, str(tmp_path / "spec.json"), where]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.INTERRUPTED, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert interrupted_export.SENT in done.stdout
    told = StageResult.from_json(Path(result_uri(spec)).read_bytes())
    assert (told.succeeded, told.reason) == (False, "Interrupted"), told.message
    assert not Path(spec.model.uri if spec.model else "").exists()


def test_the_artifact_says_how_much_its_vectors_weigh_in_a_hybrid_search(
    make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from attune_trainer.train import search_weights

    monkeypatch.setattr(search_weights, "FEWEST", 12)  # as many as the snapshot has
    result = go(make_spec(Stage.TRAIN)).result
    assert result.model is not None
    assert result.model.training is not None
    weight = result.model.training.dense_weight
    assert weight in search_weights.DENSE_WEIGHTS
    assert manifest.read(Path(result.model.uri)).dense_weight == weight


def test_too_few_validation_queries_leave_the_default_weight(trained: Done) -> None:
    _, result = trained
    assert result.model is not None
    assert result.model.training is not None
    assert result.model.training.dense_weight is None
    assert result.model.training.tuned_share in {1.0, 0.9, 0.8}
    assert manifest.read(Path(result.model.uri)).dense_weight is None
