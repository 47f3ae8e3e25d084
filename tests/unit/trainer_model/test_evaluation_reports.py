"""What an evaluation leaves in the store, and what goes with an artifact: by the stages themselves, with tiny models."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from attune.contract import (
    ArtifactRef,
    EvaluationConfig,
    EvaluationSummary,
    ExitCode,
    GeneralSource,
    JudgeSource,
    Stage,
    StageResult,
    StageSpec,
)
from attune_retrieval import manifest
from attune_trainer.evaluate import general
from attune_trainer.report.facts import Report
from attune_trainer.running import result_uri, run
from attune_trainer.signals import Termination
from judge_server import JudgeServer

MakeSpec = Callable[..., StageSpec]
Done = tuple[MakeSpec, StageResult]


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    made = JudgeServer()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def few_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in general set, smaller."""
    whole = general.built_in(42, 30)
    monkeypatch.setattr(general, "built_in", lambda seed, queries=30: whole)


def artifact_of(done: Done) -> ArtifactRef:
    model = done[1].model
    assert model is not None
    return ArtifactRef(name="emb-v2", uri=model.uri, digest=model.digest)


def evaluated(done: Done, **changes: Any) -> tuple[EvaluationSummary, StageResult, Path]:
    """The evaluation of a model, and the folder of its report."""
    spec = done[0](Stage.EVALUATE, spec_model=artifact_of(done), **changes)
    result = run(spec, Termination(), lambda _: None).result
    assert result.evaluation is not None, result.message
    return result.evaluation, result, Path(result_uri(spec)).parent


def test_report_and_card_lie_beside_the_result(trained: Done) -> None:
    evaluation, result, folder = evaluated(trained, seed=1)
    assert evaluation.report is not None
    assert evaluation.report.page == str(folder / "report.html")
    assert result.message.endswith(f"Report: {folder}/report.html")
    report = Report.from_json((folder / "report.json").read_bytes())
    assert report.evaluation.metrics == evaluation.metrics
    assert report.queries.won + report.queries.lost + report.queries.equal == 12
    assert report.queries.won > report.queries.lost
    assert report.about.curve.looks[0][0] == 0
    assert len(report.about.curve.looks) == 9
    assert len(report.about.curve.losses) == report.about.curve.looks[-1][0]
    assert report.about.training is not None
    assert report.about.training.training_examples == 96
    assert "Better than the base model" in (folder / "report.html").read_text()
    front = yaml.safe_load((folder / "model-card.md").read_text().split("---\n")[1])
    assert front["model-index"][0]["results"][0]["metrics"][0]["value"] == evaluation.metrics.ndcg_at10


def test_an_artifact_carries_its_card_and_its_curve_under_its_digest(trained: Done) -> None:
    reference = artifact_of(trained)
    folder = Path(reference.uri)
    listed = {file.path for file in manifest.verified(folder, reference.digest).files}
    assert {"README.md", "training_curve.json"} <= listed
    text = (folder / "README.md").read_text()
    assert yaml.safe_load(text.split("---\n")[1])["library_name"] == "sentence-transformers"
    assert "| validation nDCG@10 |" in text
    assert "Texts are cut at 64 tokens" in text
    told = json.loads((folder / "training_curve.json").read_bytes())
    assert "trainingDurationSeconds" not in told["metrics"]


def test_an_import_has_a_card_and_a_report_and_nothing_to_forget(imported: Done) -> None:
    assert "as it is, exported by Attune" in (Path(artifact_of(imported).uri) / "README.md").read_text()
    evaluation, _, folder = evaluated(imported)
    assert evaluation.metrics.general is None
    assert evaluation.not_measured["general"] == "the candidate is the base model itself"
    assert (folder / "report.html").is_file()


def test_forgetting_is_measured_against_the_base_model(trained: Done) -> None:
    evaluation, result, _ = evaluated(trained, seed=2)
    found = evaluation.metrics.general
    assert found is not None
    assert (found.queries, found.name) == (30, "docstrings of Python's standard library")
    assert found.drop == pytest.approx(found.base - found.ndcg_at10, abs=1e-4)
    assert f"General set: {found.base:.3f} (base) → {found.ndcg_at10:.3f}." in result.message


def test_a_general_set_that_is_not_there_ends_the_stage_for_good(trained: Done, tmp_path: Path) -> None:
    config = EvaluationConfig(general=GeneralSource(uri=f"file://{tmp_path}/nowhere"))
    spec = trained[0](Stage.EVALUATE, spec_model=artifact_of(trained), spec_evaluation=config)
    ended = run(spec, Termination(), lambda _: None)
    assert ended.exit_code is ExitCode.BAD_DATA
    assert "evaluation.general" in ended.result.message


def test_a_judge_adds_faithfulness_and_relevance_with_n_of_n(
    trained: Done, imported: Done, server: JudgeServer
) -> None:
    evaluation, result, folder = evaluated(
        trained,
        spec_judge=JudgeSource(url=server.url, model="judge-1"),
        spec_evaluation=EvaluationConfig(judged_queries=11),
        spec_active=artifact_of(imported),
    )
    metrics = evaluation.metrics
    assert metrics.faithfulness == 1.0
    assert metrics.relevance is not None
    assert metrics.judge is not None
    assert metrics.judge.faithfulness is not None
    assert (metrics.judge.faithfulness.scored, metrics.judge.faithfulness.asked) == (33, 33)
    assert metrics.baseline is not None
    assert metrics.baseline.faithfulness == 1.0
    assert metrics.intervals is not None
    assert {"faithfulness", "relevance"} <= set(metrics.intervals)
    assert metrics.score_metric == "mean of faithfulness, relevance, contextPrecision, contextRecall"
    assert "Faithfulness 1.000 (33 of 33 judgements)." in result.message
    assert evaluation.not_measured == {}
    assert "33 of 33 judgements" in (folder / "report.html").read_text()
    assert len(result.termination_message().encode()) <= 4096


def test_a_judge_that_is_away_fails_nothing(trained: Done, server: JudgeServer) -> None:
    server.stop()
    evaluation, result, folder = evaluated(trained, spec_judge=JudgeSource(url=server.url, model="judge-1"))
    assert result.succeeded
    assert evaluation.metrics.faithfulness is None
    assert "could not be reached" in evaluation.not_measured["faithfulness"]
    assert "could not be reached" in (folder / "report.html").read_text()
    assert evaluation.metrics.score_metric == "mean of contextPrecision, contextRecall"


def test_no_query_is_judged_where_none_is_asked_for(trained: Done, server: JudgeServer) -> None:
    judge, config = JudgeSource(url=server.url, model="judge-1"), EvaluationConfig(judged_queries=0)
    evaluation, _, _ = evaluated(trained, spec_judge=judge, spec_evaluation=config)
    assert evaluation.not_measured["relevance"] == "evaluation.judgedQueries is 0"
    assert server.asked == []
