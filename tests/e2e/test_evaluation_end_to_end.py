"""An evaluation with everything real: control plane, operator, stages, a judge over HTTP; to a staged version that names its report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devcluster import Cluster
from judge_server import JudgeServer
from page_layout import layout_faults
from serving_world import API, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]
KEY = "sk-judge"
SECONDS = 900
"""Three stages with torch, on two cores that others use."""


@pytest.fixture(scope="module")
def judge() -> Iterator[JudgeServer]:
    made = JudgeServer(key=KEY)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def world(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, worker_id: str, judge: JudgeServer
) -> Iterator[World]:
    made = World(cluster, f"evaluation-{worker_id}", tmp_path_factory.mktemp("evaluation"))
    made.apply(secret("judge-key", KEY))
    judged_by(made, judge.url, "judge-key")
    made.operator.start()
    made.first(SECONDS)
    yield made
    made.close()


def secret(name: str, key: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"OPENAI_API_KEY": key}}


def judged_by(world: World, url: str, key: str) -> None:
    judge = {"baseURL": url, "model": "judge-1", "secretRef": {"name": key}, "sampling": {"share": 0}}
    world.retriever(judge=judge, serving={"deploy": False})


def trained(world: World, name: str, **spec: Any) -> dict[str, Any]:
    """Status of a TrainingJob of the tiny model, at its end."""
    known = {
        "retriever": "news",
        "type": "embedding",
        "dataSource": {"minExamples": 20},
        "hyperparameters": {
            "epochs": 4,
            "batchSize": 8,
            "learningRate": 0.003,
            "maxSequenceLength": 32,
            "hardNegatives": {"perQuery": 0},
        },
        "validation": {"splitRatio": 0.7},
        "evaluation": {"judgedQueries": 6, "maxGeneralDrop": 1},
        "evalThreshold": 0.05,
    }
    world.apply(
        {"apiVersion": API, "kind": "TrainingJob", "metadata": {"name": name}, "spec": known | spec},
    )
    over = {"Succeeded", "Failed"}
    ended = world.until("tj", name, lambda j: j.get("status", {}).get("phase") in over, seconds=SECONDS)
    status: dict[str, Any] = ended["status"]
    return status


def file_of(world: World, uri: str) -> Path:
    return world.volume / uri.removeprefix("pvc://docs/")


def test_a_version_has_judged_metrics_a_report_and_a_card(world: World, judge: JudgeServer) -> None:
    status = trained(world, "judged")
    assert status["phase"] == "Succeeded", status["message"]
    version = world.until("mv", status["modelVersion"], lambda v: v.get("status", {}).get("stage") == "staged")
    metrics, report = version["status"]["evaluationMetrics"], version["status"]["report"]
    assert metrics["faithfulness"] == 1.0
    assert 0 <= metrics["relevance"] <= 1
    assert metrics["baseline"]["faithfulness"] == 1.0
    assert metrics["judge"]["faithfulness"] == {"scored": 18, "asked": 18}
    assert metrics["judge"]["tokens"] > 0
    assert metrics["scoreMetric"] == "mean of faithfulness, relevance, contextPrecision, contextRecall"
    assert metrics["general"]["queries"] == 300
    page = file_of(world, report["page"])
    assert page.parent.parts[-1] == "evaluate"
    assert "18 of 18 judgements" in page.read_text()
    assert layout_faults(page) == []
    values = json.loads((page.parent / "report.json").read_text())
    assert values["evaluation"]["metrics"]["ndcgAt10"] == metrics["ndcgAt10"]
    assert values["about"]["data"]["bySource"] == status["dataset"]["bySource"]
    card = yaml.safe_load(file_of(world, report["card"]).read_text().split("---\n")[1])
    assert card["model-index"][0]["name"] == status["modelVersion"]
    artifact = file_of(world, version["status"]["artifact"]["uri"])
    assert {"README.md", "training_curve.json"} <= {path.name for path in artifact.iterdir()}


def test_a_wrong_key_leaves_the_metrics_absent_with_the_reason(world: World, judge: JudgeServer) -> None:
    world.apply(secret("wrong-key", "sk-wrong"))
    judged_by(world, judge.url, "wrong-key")
    try:
        status = trained(world, "unjudged")
    finally:
        judged_by(world, judge.url, "judge-key")
    assert status["phase"] == "Succeeded", status["message"]
    version = world.until("mv", status["modelVersion"], lambda v: v.get("status", {}).get("stage") == "staged")
    assert "faithfulness" not in version["status"]["evaluationMetrics"]
    told = {c["type"]: c["message"] for c in version["status"]["conditions"]}["Evaluated"]
    assert "faithfulness not measured: the judge gave a score for 0 of 6 queries" in told
    assert "answered 401" in told
