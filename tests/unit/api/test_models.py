"""The five kinds as values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from attune.api import (
    ABTestStatus,
    ModelVersion,
    OpenAISettings,
    Retriever,
    TrainingJob,
    TrainingJobStatus,
    TrainingSchedule,
)
from attune.api.training_job import Hyperparameters, Validation
from attune.contract import EvaluationMetrics, EvaluationSummary, ModelType, OpenAITraining, Progress, TrainingConfig

NOW = datetime(2026, 3, 15, 12, 0, 30, 999, tzinfo=UTC)


def job(**spec: Any) -> TrainingJob:
    body = {"metadata": {"name": "march", "namespace": "n"}, "spec": {"retriever": "news", "type": "embedding", **spec}}
    return TrainingJob.model_validate(body)


def test_a_small_job_has_the_documented_defaults() -> None:
    spec = job().spec
    assert (spec.hyperparameters.epochs, spec.hyperparameters.batch_size, spec.hyperparameters.learning_rate) == (
        3,
        32,
        2e-5,
    )
    assert (spec.validation.split_ratio, spec.validation.early_stopping_patience, spec.validation.min_improvement) == (
        0.9,
        2,
        0.01,
    )
    assert (spec.eval_threshold, spec.evaluation.k, spec.backoff_limit) == (0.85, 10, 2)
    assert (spec.suspend, spec.force) == (False, False)
    assert (spec.provider, spec.auto_promote, spec.data_source.archive, spec.data_source.min_examples) == (None,) * 4


@pytest.mark.parametrize("part", [Hyperparameters, Validation])
def test_hyperparameters_have_the_types_defaults_and_bounds_of_the_trainer(part: type[Any]) -> None:
    for name, field in part.model_fields.items():
        trainer = TrainingConfig.model_fields[name]
        assert field.annotation == trainer.annotation, name
        assert field.get_default(call_default_factory=True) == trainer.get_default(call_default_factory=True), name
        assert field.metadata == trainer.metadata, name


def test_every_setting_of_the_trainer_can_be_set_in_a_job() -> None:
    of_the_retriever = {"base_model", "query_prompt", "document_prompt"}
    assert {*Hyperparameters.model_fields, *Validation.model_fields} == {
        *TrainingConfig.model_fields
    } - of_the_retriever - {"openai"}


def test_every_setting_of_provider_openai_can_be_set_in_a_job() -> None:
    assert {*OpenAISettings.model_fields} == {*OpenAITraining.model_fields, "secret_ref"}
    for name in ("method", "dimensions", "side", "file_format", "base_url"):
        asked, trained = OpenAISettings.model_fields[name], OpenAITraining.model_fields[name]
        assert asked.default == trained.default, name


def test_a_new_object_has_an_empty_status_that_writes_nothing() -> None:
    assert job().status.model_dump(mode="json", by_alias=True, exclude_none=True) == {}


def test_fields_of_a_newer_version_are_passed_over() -> None:
    assert job(colour="red").spec == job().spec


def test_values_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        job().spec.suspend = True  # type: ignore[misc]


def test_times_are_written_in_utc_and_whole_seconds() -> None:
    written = TrainingJobStatus(start_time=NOW).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert written == {"startTime": "2026-03-15T12:00:30Z"}


def test_acronyms_keep_their_capitals() -> None:
    spec = {
        "embedding": {"baseModel": "a"},
        "storage": {"uri": "s3://b"},
        "judge": {"baseURL": "http://j/v1", "model": "m"},
        "data": {"synthetic": {"llm": {"baseURL": "http://j", "model": "m"}, "maxCostUSD": 5}},
    }
    made = Retriever.model_validate({"metadata": {"name": "r"}, "spec": spec})
    assert made.spec.judge is not None
    assert made.spec.judge.base_url == "http://j/v1"
    written = made.to_manifest()["spec"]
    assert written["judge"]["baseURL"] == "http://j/v1"
    assert written["data"]["synthetic"]["maxCostUSD"] == 5


def test_a_summary_is_made_from_the_other_fields_and_never_read() -> None:
    metrics = EvaluationSummary(metrics=EvaluationMetrics(score=0.87314))
    status = TrainingJobStatus(
        progress=Progress(stage="train", percent=43.2, estimated_remaining_seconds=1333), evaluation=metrics
    )
    written = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert written["summary"] == {"progress": "43%", "eta": "22m", "score": "0.873"}
    assert TrainingJobStatus.model_validate({**written, "summary": {"eta": "never"}}) == status
    assert "summary" not in ABTestStatus().model_dump(exclude_none=True)


def test_a_schedule_holds_a_job_without_its_retriever() -> None:
    body = {"metadata": {"name": "s"}, "spec": {"retriever": "news", "template": {"type": "reranker"}}}
    spec = TrainingSchedule.model_validate(body).spec
    assert spec.template.type is ModelType.RERANKER
    assert "retriever" not in type(spec.template).model_fields
    assert (spec.data_preparation.schedule, spec.training.schedule, spec.time_zone) == ("0 2 * * 0", "0 2 1 * *", "UTC")


def test_a_version_comes_from_a_run_or_from_an_import() -> None:
    spec = {"retriever": "r", "type": "embedding", "version": 1, "baseModel": "b", "artifact": {"uri": "s3://b/x"}}
    made = ModelVersion.model_validate({"metadata": {"name": "v"}, "spec": {**spec, "source": {"import": "b"}}})
    assert (made.spec.source.import_, made.spec.source.training_job) == ("b", None)
    assert made.to_manifest()["spec"]["source"] == {"import": "b"}
