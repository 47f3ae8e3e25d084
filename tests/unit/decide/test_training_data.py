"""What a prepare stage is told of a Retriever's sources, whose Secrets it gets, and what a job without any is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from attune.api import ModelVersion, Retriever, TrainingJob
from attune.contract import Stage
from attune.decide.refusals import no_source, not_in_this_release, source_not_defined
from attune.decide.training_job import decide_training_job
from attune.desired.stage_spec import data_spec, for_training, last_trained
from attune.observation import Defaults, SeenTrainingJob

NOW = datetime(2026, 3, 15, tzinfo=UTC)
LLM = {"baseURL": "http://vllm/v1", "model": "small", "secretRef": {"name": "llm"}}
SYNTHETIC = {
    "llm": LLM, "maxArticles": 50, "maxCostUSD": 5, "price": {"inputPerMillionUSD": 1, "outputPerMillionUSD": 2},
}  # fmt: skip
ALL = {
    "archive": {"uri": "pvc://docs/a.jsonl"},
    "feedback": {"uri": "https://host/f.csv", "format": "csv", "negativeRating": 2},
    "synthetic": SYNTHETIC,
}


def seen(data: dict[str, Any] | None = None, *siblings: ModelVersion, **source: Any) -> SeenTrainingJob:
    retriever = Retriever.model_validate(
        {
            "metadata": {"name": "docs", "namespace": "n"},
            "spec": {
                "embedding": {"baseModel": "m"},
                "storage": {"uri": "s3://b", "secretRef": {"name": "bucket"}},
                "data": ALL if data is None else data,
            },
        }
    )
    job = TrainingJob.model_validate(
        {
            "metadata": {"name": "tune", "namespace": "n", "uid": "12345678"},
            "spec": {"retriever": "docs", "type": "embedding", "dataSource": source},
        }
    )
    return SeenTrainingJob(
        job,
        Defaults("image", finetune_enabled=True),
        retriever,
        active=version(1, "active", job=None),
        siblings=siblings,
    )


def version(number: int, stage: str, *, job: str | None = "tune", digest: str = "sha256:d") -> ModelVersion:
    source = {"trainingJob": job} if job else {"import": "m"}
    return ModelVersion.model_validate(
        {
            "metadata": {"name": f"emb-v{number}", "namespace": "n", "uid": str(number)},
            "spec": {
                "retriever": "docs", "type": "embedding", "version": number, "baseModel": "m",
                "artifact": {"uri": "s3://b/v"}, "source": source,
            },
            "status": {"stage": stage, "dataset": {"uri": f"s3://b/{number}", "digest": digest, "examples": 1}},
        }
    )  # fmt: skip


def told(one: SeenTrainingJob) -> Any:
    assert one.retriever is not None
    return data_spec(one, one.retriever)


def test_synthetic_questions_are_asked_for_by_the_job_alone() -> None:
    assert told(seen()).synthetic is None
    source = told(seen(synthetic=True)).synthetic
    assert source.model_dump(by_alias=True) == {
        "baseURL": "http://vllm/v1", "model": "small", "questionsPerArticle": 3, "maxArticles": 50, "maxCostUSD": 5.0,
        "price": {"inputPerMillionUSD": 1.0, "outputPerMillionUSD": 2.0}, "concurrency": 8,
    }  # fmt: skip


def test_an_archive_that_is_not_trained_on_is_still_the_corpus() -> None:
    data = told(seen(archive=False))
    assert data.archive.uri == "pvc://docs/a.jsonl"
    assert not data.titles
    assert told(seen()).titles
    assert data.feedback.negative_rating == 2


@pytest.mark.parametrize(("synthetic", "secrets"), [(True, ["bucket", "llm"]), (False, ["bucket"])])
def test_the_key_of_the_language_model_is_in_the_prepare_job_of_a_run_that_asks_it(
    synthetic: bool, secrets: list[str]
) -> None:
    one = seen(synthetic=synthetic)
    (job,) = decide_training_job(one, NOW).create
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert [entry["secretRef"]["name"] for entry in container["envFrom"]] == secrets
    assert container["args"][0] == "prepare"


def test_the_other_stages_get_no_key_and_no_data() -> None:
    one = seen(synthetic=True)
    assert one.retriever is not None
    for stage in (Stage.TRAIN, Stage.EVALUATE):
        spec = for_training(one, one.retriever, stage)
        assert (spec.data.synthetic, spec.last_trained) == (None, None)


def test_synthetic_alone_is_a_source_and_none_at_all_is_refused() -> None:
    off = {"archive": False, "feedback": False}
    assert no_source(seen(synthetic=True, **off)) is None
    assert not_in_this_release(seen(synthetic=True)) is None
    problem = no_source(seen(**off))
    assert problem is not None
    assert problem.reason == "NoDataSource"
    problem = source_not_defined(seen({"archive": ALL["archive"]}, synthetic=True))
    assert problem is not None
    assert "spec.dataSource.synthetic: true, but Retriever 'docs' has no spec.data.synthetic" in problem.message


def test_what_is_new_is_counted_from_the_newest_version_that_was_trained() -> None:
    siblings = [
        version(1, "active", job=None),
        version(2, "deprecated"),
        version(3, "staged"),
        version(4, "failed"),
        version(5, "training"),
    ]
    one = seen(None, *siblings)
    found = last_trained(one)
    assert found is not None
    assert (found.name, found.uri, found.digest) == ("emb-v3", "s3://b/3", "sha256:d")
    assert one.retriever is not None
    assert for_training(one, one.retriever, Stage.PREPARE).last_trained == found
    assert last_trained(seen(None, siblings[0], siblings[3])) is None
