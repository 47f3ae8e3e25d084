"""What the operator asks of an evaluation, and what becomes of its numbers and its report."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from attune.api import Compute, ModelVersionStatus, TrainingJob
from attune.contract import EvaluationSummary, Stage, StageResult
from attune.contract.result import TERMINATION_MESSAGE_BYTES
from attune.decide.model_version import decide_model_version
from attune.decide.training_job import decide_training_job
from attune.desired.stage_job import StageJob, job
from attune.desired.stage_spec import evaluation_config, for_import, judge_of, judge_secret
from attune.observation import JobState, SeenJob, SeenModelVersion, SeenTrainingJob
from versions import DEFAULTS, NOW, a_retriever, a_version

JUDGE = {"baseURL": "http://llm.team:8000/v1", "model": "judge-1", "secretRef": {"name": "llm-key"}}
DATASET = {"uri": "pvc://store/d", "digest": "sha256:" + "d" * 64, "examples": 1200}
ARTIFACT = {"uri": "pvc://store/emb-v2", "digest": "sha256:2"}
PAGE = "s3://" + "b" * 60 + "/team/news/runs/a-training-job-with-a-name-0a1b2c3d/evaluate/report.html"
RANKED = dict.fromkeys(("ndcgAt10", "mrrAt10", "recallAt10", "contextPrecision", "contextRecall"), 0.12345)
FULL = {
    "metrics": {
        **RANKED,
        "faithfulness": 0.81234,
        "relevance": 0.71234,
        "queries": 123456,
        "documents": 1234567,
        "score": 0.65432,
        "scoreMetric": "mean of faithfulness, relevance, contextPrecision, contextRecall",
        "improvementPercent": -12.34,
        "verdict": "better",
        "intervals": {name: {"low": -0.12345, "high": -0.12345} for name in (*RANKED, "faithfulness", "relevance")},
        "baseline": {**RANKED, "faithfulness": 0.81234, "relevance": 0.71234},
        "base": RANKED,
        "bm25": RANKED,
        "judge": {
            "model": "m" * 60,
            "queries": 1000,
            "repeats": 3,
            "faithfulness": {"scored": 2990, "asked": 3000},
            "relevance": {"scored": 2990, "asked": 3000},
            "calls": 20000,
            "tokens": 123456789,
        },
        "general": {
            "name": "g" * 80,
            "queries": 300,
            "documents": 400,
            "ndcgAt10": 0.12345,
            "base": 0.62345,
            "active": 0.61234,
            "drop": 0.5,
            "interval": {"low": -0.12345, "high": -0.12345},
        },
    },
    "notMeasured": {"faithfulness": "w" * 300, "relevance": "w" * 300},
    "report": {"page": PAGE, "card": PAGE.replace("report.html", "model-card.md")},
}


def a_training_job(**evaluation: Any) -> TrainingJob:
    return TrainingJob.model_validate(
        {
            "metadata": {"name": "tune", "namespace": "team", "uid": "0a1b2c3d-0000-4000-8000-000000000001"},
            "spec": {"retriever": "news", "type": "embedding", "evaluation": evaluation},
            "status": {"phase": "Evaluating", "dataset": DATASET, "artifact": ARTIFACT, "modelVersion": "emb-v2"},
        }
    )


def evaluating(**evaluation: Any) -> SeenTrainingJob:
    """A run whose model is trained and not yet measured."""
    defaults = replace(DEFAULTS, finetune_enabled=True)
    job = a_training_job(**evaluation)
    return SeenTrainingJob(job, defaults, a_retriever(judge=JUDGE), version=a_version(2), active=a_version(1, "active"))


def test_the_evaluate_job_gets_the_judge_and_its_key() -> None:
    decision = decide_training_job(evaluating(judgedQueries=7, maxGeneralDrop=0.2), NOW)
    config_map, made = decision.apply[0], decision.create[0]
    assert '"url": "http://llm.team:8000/v1"' in config_map["data"]["stage.json"]
    assert '"judgedQueries": 7' in config_map["data"]["stage.json"]
    container = made["spec"]["template"]["spec"]["containers"][0]
    assert container["envFrom"] == [{"secretRef": {"name": "llm-key"}}]


@pytest.mark.parametrize("stage", [s for s in Stage if s is not Stage.EVALUATE])
def test_no_other_stage_is_told_of_it(stage: Stage) -> None:
    assert judge_of(a_retriever(judge=JUDGE), stage) is None
    assert judge_secret(a_retriever(judge=JUDGE), stage) is None


def test_an_import_is_judged_too_and_without_a_judge_nobody_is() -> None:
    seen = SeenModelVersion(a_version(1), DEFAULTS)
    spec = for_import(seen, a_retriever(judge=JUDGE), Stage.EVALUATE)
    assert spec.judge is not None
    assert (spec.judge.url, spec.judge.model) == ("http://llm.team:8000/v1", "judge-1")
    assert for_import(seen, a_retriever(), Stage.EVALUATE).judge is None


def test_a_general_set_in_a_volume_is_mounted() -> None:
    config = evaluation_config(a_training_job(general={"uri": "pvc://sets/general.jsonl"}))
    assert config.general is not None
    spec = for_import(SeenModelVersion(a_version(1), DEFAULTS), a_retriever(), Stage.EVALUATE)
    told = spec.model_copy(update={"evaluation": config})
    made = job(StageJob(told, 1, "attune.dev/v1alpha1", Compute(), "attune-trainer"))
    mounts = made["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert "/mnt/pvc/sets" in {mount["mountPath"] for mount in mounts}


def test_the_limit_of_the_training_job_is_what_the_drop_is_compared_with() -> None:
    assert _ended(evaluating(maxGeneralDrop=0.4, scoreMetric="faithfulness")).reason == "ForgotGeneral"
    assert _ended(evaluating(maxGeneralDrop=0.6, scoreMetric="faithfulness")).reason == "Succeeded"


def _ended(seen: SeenTrainingJob) -> Any:
    spec = seen.job.spec.model_copy(update={"eval_threshold": 0.5})
    found = SeenJob("tune", "u", Stage.EVALUATE, 1, JobState.SUCCEEDED, False, NOW, result=_result(), exit_code=0)
    job = seen.job.model_copy(update={"spec": spec})
    status = decide_training_job(replace(seen, job=job, stage_jobs=(found,)), NOW).status
    assert isinstance(status, type(seen.job.status))
    return status


def _result(message: str = "") -> StageResult:
    return StageResult(
        stage=Stage.EVALUATE,
        spec_digest="sha256:" + "a" * 64,
        succeeded=True,
        reason="Completed",
        message=message,
        started_at=datetime(2026, 3, 15, tzinfo=UTC),
        finished_at=datetime(2026, 3, 15, tzinfo=UTC),
        evaluation=EvaluationSummary.model_validate(FULL),
    )


def test_every_number_of_a_full_evaluation_fits_a_termination_message() -> None:
    told = _result("m" * 2000).termination_message()
    assert len(told.encode()) <= TERMINATION_MESSAGE_BYTES
    back = StageResult.from_termination_message(told)
    assert back is not None
    assert back.evaluation == EvaluationSummary.model_validate(FULL)


def test_the_version_names_its_report_and_stays_under_ten_kilobytes() -> None:
    seen = evaluating(maxGeneralDrop=1, scoreMetric="faithfulness")
    job = seen.job.model_copy(update={"status": _ended(seen)})
    assert len(job.model_dump_json(by_alias=True, exclude_none=True)) < 10_000
    fresh = a_version(2, stage="evaluating")
    source = fresh.spec.source.model_copy(update={"import_": None, "training_job": "tune"})
    version = fresh.model_copy(update={"spec": fresh.spec.model_copy(update={"source": source})})
    status = decide_model_version(SeenModelVersion(version, DEFAULTS, seen.retriever, training_job=job), NOW).status
    assert isinstance(status, ModelVersionStatus)
    assert status.stage == "staged"
    assert status.report is not None
    assert status.report.page == PAGE
    told = version.model_copy(update={"status": status})
    assert len(told.model_dump_json(by_alias=True, exclude_none=True)) < 10_000
