"""What a real API server makes of valid manifests: defaults, pruning, allowed changes, status, columns."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import yaml

from api_objects import DIGEST, ROOT, SPECS, ApiServer, Manifest, Refusal, manifest
from attune import api as attune_api
from attune.api import (
    ABTest,
    ABTestPhase,
    ABTestStatus,
    ActiveModel,
    Attempt,
    ModelVersion,
    ModelVersionStatus,
    Phase,
    Retriever,
    RetrieverStatus,
    Split,
    TrainingJob,
    TrainingJobStatus,
    TrainingSchedule,
    TrainingScheduleStatus,
    VersionStage,
    kinds,
    set_condition,
)
from attune.contract import (
    DatasetSummary,
    EvaluationMetrics,
    EvaluationSummary,
    ModelSummary,
    Progress,
    Stage,
    TrainingMetrics,
)

pytestmark = pytest.mark.cluster
NOW = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)
MODELS: dict[str, type[attune_api.Resource]] = {
    model.__name__: model for model in (Retriever, TrainingJob, ModelVersion, ABTest, TrainingSchedule)
}


@pytest.fixture
def api(kubeconfig: Path, namespace: str) -> ApiServer:
    return ApiServer(kubeconfig, namespace)


def accepted(answer: Manifest | Refusal) -> Manifest:
    assert not isinstance(answer, Refusal), answer.message
    return answer


def test_every_example_is_accepted_by_a_strict_server_side_dry_run(api: ApiServer) -> None:
    files = [f for f in sorted((ROOT / "examples").glob("*.yaml")) if f.name != "kustomization.yaml"]
    things = [thing for file in files for thing in yaml.safe_load_all(file.read_text())]
    assert {thing["kind"] for thing in things} == {kind.kind for kind in kinds.KINDS}
    for thing in things:
        accepted(api.apply(thing, dry_run=True))


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_the_server_fills_in_the_defaults_that_the_models_have(api: ApiServer, kind: str) -> None:
    stored = accepted(api.create(manifest(kind)))
    ours: Any = MODELS[kind].model_validate(manifest(kind))
    assert stored["spec"] == ours.spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert MODELS[kind].model_validate(stored) == MODELS[kind].model_validate(
        {**stored, "spec": manifest(kind)["spec"]}
    )


def test_what_the_operators_environment_decides_stays_unset(api: ApiServer) -> None:
    spec = accepted(api.create(manifest("TrainingJob")))["spec"]
    assert not {"provider", "autoPromote", "baseModel"} & spec.keys()
    assert spec["dataSource"] == {"leads": True, "synthetic": False}
    assert (spec["hyperparameters"]["learningRate"], spec["validation"]["splitRatio"], spec["evalThreshold"]) == (
        2e-05,
        0.9,
        0.85,
    )


def test_a_default_inside_a_part_that_is_half_written_is_filled_in(api: ApiServer) -> None:
    spec = accepted(api.create(manifest("Retriever", {"spec.rollback.window": "1h30m"})))["spec"]
    assert spec["rollback"] == {
        "enabled": True,
        "errorRateMultiplier": 3,
        "inlineGuard": True,
        "maxRecallDrop": 0.2,
        "minErrorRate": 0.01,
        "minRequests": 100,
        "window": "1h30m",
    }


def test_unknown_fields_are_pruned_and_refused_when_asked_for(api: ApiServer) -> None:
    thing = manifest("TrainingJob", {"spec.hyperparameters.epoch": 3, "spec.colour": "red"})
    stored = accepted(api.create(thing))["spec"]
    assert "colour" not in stored
    assert "epoch" not in stored["hyperparameters"]
    refusal = api.create(thing, unknown_fields="Strict")
    assert isinstance(refusal, Refusal)
    assert "spec.colour" in refusal.message
    assert "spec.hyperparameters.epoch" in refusal.message


def test_a_pod_template_is_kept_as_it_is(api: ApiServer) -> None:
    template = {
        "metadata": {"annotations": {"a": "b"}},
        "spec": {"hostNetwork": True, "containers": [{"name": "trainer", "env": []}]},
    }
    spec = accepted(api.create(manifest("TrainingJob", {"spec.compute.podTemplate": template})))["spec"]
    assert spec["compute"]["podTemplate"] == template


VARIANTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Retriever", {"spec.storage.uri": "file:///var/lib/attune"}),
    ("Retriever", {"spec.storage.uri": "pvc://store"}),
    ("Retriever", {"spec.storage.uri": "s3://bucket"}),
    ("Retriever", {"spec.storage.uri": "gs://bucket/a.b/c_d"}),
    ("Retriever", {"spec.embedding.baseModel": "all-MiniLM-L6-v2"}),
    ("Retriever", {"spec.embedding.baseModel": "file:///models/with..dots/x"}),
    ("Retriever", {"spec.data": {}}),
    ("Retriever", {"spec.data.feedback.uri": "https://host/feedback.jsonl?since=1"}),
    ("Retriever", {"spec.data.archive.uri": "http://articles.news.svc:8080/archive.parquet"}),
    ("Retriever", {"spec.data.feedback": {"uri": "pvc://d/clicks.csv", "positiveRating": 1, "implicit": True}}),
    (
        "Retriever",
        {
            "spec.data.synthetic": {
                "llm": {"baseURL": "http://vllm/v1", "model": "q"},
                "maxCostUSD": 0.5,
                "price": {"inputPerMillionUSD": 0, "outputPerMillionUSD": 1.6},
            }
        },
    ),
    ("Retriever", {"spec.index": {"store": "pgvector", "uri": "postgresql://me@db:5432/x"}}),
    ("Retriever", {"spec.index": {"store": "qdrant", "uri": "http://qdrant:6333"}}),
    ("Retriever", {"spec.rollback": {"enabled": False, "inlineGuard": False}}),
    (
        "Retriever",
        {"spec.serving.resources": {"requests": {"cpu": 2, "memory": "1.5Gi"}, "limits": {"nvidia.com/gpu": 1}}},
    ),
    ("TrainingJob", {"spec.type": "reranker", "spec.hyperparameters.loss": "bce"}),
    ("TrainingJob", {"spec.baseModel": "version:emb-v1-20260301"}),
    ("TrainingJob", {"spec.provider": "openai", "spec.openai": {"model": "text-embedding-3-small"}}),
    (
        "TrainingJob",
        {"spec.openai": {"baseURL": "http://gateway:8000/v1", "model": "org/embed:latest", "side": "query"}},
    ),
    ("ModelVersion", {"spec.baseModel": "openai:text-embedding-3-small", "spec.secretRef": {"name": "openai"}}),
    ("TrainingJob", {"spec.dataSource": {"archive": False, "feedback": False, "synthetic": True}}),
    ("TrainingJob", {"spec.compute.tolerations": [{"operator": "Exists"}, {"key": "gpu", "value": "a100"}]}),
    ("TrainingJob", {"spec.ttlSecondsAfterFinished": 0}),
    ("ModelVersion", {"spec.source": {"import": "BAAI/bge"}}),
    ("ModelVersion", {"spec.artifact.digest": DIGEST, "spec.promotion.requestID": "1"}),
    ("ABTest", {"spec.modelA": "emb-v1-20260301", "spec.maxDuration": "2160h", "spec.trafficSplit": 0.01}),
    ("TrainingSchedule", {"spec.training.schedule": "*/15 2-4,6 1 jan-mar MON"}),
    ("TrainingSchedule", {"spec.training.schedule": "@monthly", "spec.timeZone": "America/Argentina/Buenos_Aires"}),
)


def test_every_valid_variant_is_accepted(api: ApiServer) -> None:
    stored = [accepted(api.create(manifest(kind, change)))["kind"] for kind, change in VARIANTS]
    assert stored == [kind for kind, _ in VARIANTS]


CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("TrainingJob", {"spec.suspend": True}),
    ("TrainingJob", {"spec.compute.resources.limits": {"memory": "32Gi"}}),
    ("TrainingJob", {"spec.backoffLimit": 5, "spec.activeDeadlineSeconds": 60, "spec.ttlSecondsAfterFinished": 60}),
    ("ModelVersion", {"spec.promotion.requestID": "first"}),
    ("ModelVersion", {"spec.promotion.requestID": "second"}),
    ("ABTest", {"spec.trafficSplit": 0.5}),
    ("ABTest", {"spec.trafficSplit": 0.5, "spec.maxDuration": "336h", "spec.autoPromote": True}),
    ("ABTest", {"spec.trafficSplit": 0.5, "spec.cancel": True}),
    ("TrainingSchedule", {"spec.template.evalThreshold": 0.5, "spec.suspend": True}),
    ("Retriever", {"spec.embedding.baseModel": "BAAI/bge-base-en-v1.5", "spec.storage.uri": "s3://other"}),
)


def test_what_may_change_can_be_changed(api: ApiServer) -> None:
    for kind in SPECS:
        accepted(api.apply(manifest(kind)))
    for kind, change in CHANGES:
        stored = accepted(api.apply(manifest(kind, change)))
        for path, value in change.items():
            assert reduce(lambda part, name: part[name], path.split("."), stored) == value


def test_applying_the_same_again_changes_nothing(api: ApiServer) -> None:
    for kind in SPECS:
        first, second = (accepted(api.apply(manifest(kind))) for _ in range(2))
        assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


def conditions(kind: str) -> Any:
    return set_condition((), kind, status=True, reason="Completed", message="4200 pairs", now=NOW, generation=1)


DATASET = DatasetSummary(
    uri="pvc://s/d", digest=DIGEST, examples=4200, by_source={"archive": 4200}, dropped_by_reason={"empty": 3}
)
ARTIFACT = ModelSummary(
    uri="pvc://s/v",
    digest=DIGEST,
    dimensions=384,
    embedding_space=DIGEST,
    training=TrainingMetrics(loss=0.41, epochs=3),
)
METRICS = EvaluationMetrics(ndcg_at10=0.8731, score=0.8731, improvement_percent=12.49, queries=678)
ATTEMPT = Attempt(
    stage=Stage.TRAIN, number=1, job="j", exit_code=75, reason="Interrupted", started_at=NOW, finished_at=NOW
)
STATUSES: dict[str, Any] = {
    "Retriever": RetrieverStatus(
        embedding=ActiveModel(
            active="emb-v1-20260301",
            promoted_at=NOW,
            split=Split(test="news-v2", challenger="emb-v2-20260315", fraction=0.2),
        ),
        serving_generation=3,
        conditions=conditions("Ready"),
        observed_generation=1,
    ),
    "TrainingJob": TrainingJobStatus(
        phase=Phase.TRAINING,
        reason="StageRunning",
        message="train: Job j running",
        model_version="emb-v2-20260315",
        progress=Progress(stage="train", percent=43.21, step=120, estimated_remaining_seconds=1333.3, updated_at=NOW),
        dataset=DATASET,
        artifact=ARTIFACT,
        evaluation=EvaluationSummary(metrics=METRICS, not_measured={"faithfulness": "no judge"}),
        attempts=(ATTEMPT,) * 5,
        failures=1,
        start_time=NOW,
        conditions=conditions("DataPrepared"),
    ),
    "ModelVersion": ModelVersionStatus(
        stage=VersionStage.STAGED,
        evaluation_metrics=METRICS,
        artifact=ARTIFACT,
        dataset=DATASET,
        dimensions=384,
        conditions=conditions("Evaluated"),
    ),
    "ABTest": ABTestStatus(
        phase=ABTestPhase.RUNNING, model_a="emb-v1-20260301", samples_a=412, samples_b=98, started_at=NOW
    ),
    "TrainingSchedule": TrainingScheduleStatus(last_training=NOW, new_pairs=312),
}


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_a_status_comes_back_from_the_server_as_it_was_written(api: ApiServer, kind: str) -> None:
    stored = accepted(api.apply(manifest(kind)))
    status = STATUSES[kind].model_dump(mode="json", by_alias=True, exclude_none=True)
    written = accepted(api.replace_status({**stored, "status": status}))
    assert written["status"] == status
    again: Any = MODELS[kind].model_validate(written)
    assert again.status == STATUSES[kind]
    assert again.status.model_dump(mode="json", by_alias=True, exclude_none=True) == status


def test_a_status_that_grows_without_bound_is_refused(api: ApiServer) -> None:
    stored = accepted(api.apply(manifest("TrainingJob")))
    status = TrainingJobStatus.model_construct(attempts=(ATTEMPT,) * 6).model_dump(
        mode="json", by_alias=True, exclude_none=True
    )
    refusal = api.replace_status({**stored, "status": status})
    assert isinstance(refusal, Refusal)
    assert "must have at most 5 items" in refusal.message or "Too many" in refusal.message


ROWS = {
    "Retriever": "emb-v1-20260301 | None | emb-v2-20260315 20% | True",
    "TrainingJob": "embedding | Training | 43% | 22m | 0.873 | emb-v2-20260315",
    "ModelVersion": "embedding | 2 | staged | 0.873 | +12.5%",
    "ABTest": "emb-v1-20260301 | emb-v2-20260315 | 0.2 | 412/98 | Running | None",
    "TrainingSchedule": "news | 0 2 1 * * | False | 312",
}
HEADERS = {
    "Retriever": "Embedding Reranker Test Ready Age",
    "TrainingJob": "Type Phase Progress ETA Score Version Age",
    "ModelVersion": "Type Version Stage NDCG Improvement Age",
    "ABTest": "A B Split Samples Phase Winner Age",
    "TrainingSchedule": "Retriever Training Suspend New-Pairs Last-Training Next-Training Ready Age",
}


@pytest.mark.parametrize("kind", sorted(SPECS))
def test_kubectl_get_shows_the_columns_that_matter(api: ApiServer, kind: str) -> None:
    stored = accepted(api.apply(manifest(kind)))
    accepted(
        api.replace_status(
            {**stored, "status": STATUSES[kind].model_dump(mode="json", by_alias=True, exclude_none=True)}
        )
    )
    table = api.table(kind)
    shown = [c["name"] for c in table["columnDefinitions"] if not c.get("priority")]
    assert shown == ["Name", *HEADERS[kind].split()]
    cells = [
        cell
        for cell, c in zip(table["rows"][0]["cells"], table["columnDefinitions"], strict=True)
        if not c.get("priority")
    ]
    assert " | ".join(map(str, cells[1:])).startswith(ROWS[kind])


def test_all_kinds_are_found_by_category_and_short_name(api: ApiServer) -> None:
    resources = {r["kind"]: r for r in api.discovery()["resources"] if "/" not in r["name"]}
    assert {kind: tuple(r["shortNames"]) for kind, r in resources.items()} == {
        k.kind: k.short_names for k in kinds.KINDS
    }
    assert all(r["categories"] == ["attune"] and r["namespaced"] for r in resources.values())


def test_the_published_schema_describes_every_field_of_every_spec(api: ApiServer) -> None:
    deadline = monotonic() + 30  # the server publishes the schemas some time after it serves the kinds
    while len(schemas := published(api)) < len(kinds.KINDS) and monotonic() < deadline:
        sleep(0.5)
    assert len(schemas) == len(kinds.KINDS)
    for name, schema in schemas.items():
        assert not list(undescribed(schema["properties"]["spec"], f"{name}.spec")), name
    assert "x-kubernetes-validations" in json.dumps(schemas)


def published(api: ApiServer) -> dict[str, Any]:
    """The schemas of our kinds that `kubectl explain` reads."""
    groups = api.get("/openapi/v3")["paths"]
    path = f"apis/{kinds.GROUP}/{kinds.VERSION}"
    schemas = api.get(f"/openapi/v3/{path}")["components"]["schemas"] if path in groups else {}
    return {name: s for name, s in schemas.items() if name.startswith("dev.attune.") and not name.endswith("List")}


def undescribed(schema: dict[str, Any], path: str) -> Any:
    for name, child in schema.get("properties", {}).items():
        if not child.get("description"):
            yield f"{path}.{name}"
        yield from undescribed(child, f"{path}.{name}")
        yield from undescribed(child.get("items", {}), f"{path}.{name}[]")
