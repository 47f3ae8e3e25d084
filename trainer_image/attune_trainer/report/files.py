"""Reads what artifact and snapshot say of themselves, and puts the report into the store. Called by the stages."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from attune.contract import ArtifactRef, EvaluationReport, EvaluationSummary, ModelType, StageSpec, TrainingMetrics
from attune.contract.layout import join
from attune_retrieval import store
from attune_retrieval.manifest import Manifest
from attune_retrieval.weighing import fusion_of
from attune_trainer.evaluate.comparison import Comparison
from attune_trainer.report import queries
from attune_trainer.report.card import card
from attune_trainer.report.facts import About, Curve, DataFacts, Report
from attune_trainer.report.page import page

log = logging.getLogger(__name__)
CARD_IN_ARTIFACT, CURVE = "README.md", "training_curve.json"
PAGE, VALUES, CARD = "report.html", "report.json", "model-card.md"


@dataclass(frozen=True, slots=True)
class Exported:
    """An artifact as the report sees it: where its files are, and its manifest."""

    folder: Path
    manifest: Manifest


def about(exported: Exported, name: str, data: DataFacts | None) -> About:
    """What an artifact says of itself. Without a curve (an import, an older artifact) there is none to show."""
    manifest = exported.manifest
    told = _json(exported.folder / CURVE)
    return About(
        name=name,
        type=manifest.type,
        source=manifest.source,
        base_model=manifest.base_model,
        license=manifest.license,
        dimensions=manifest.dimensions,
        max_tokens=manifest.max_sequence_length,
        pooling=manifest.pooling,
        prompts=manifest.prompts,
        dense_weight=fusion_of(manifest).dense_weight if manifest.type is ModelType.EMBEDDING else None,
        rerank_weight=manifest.rerank_weight,
        config=manifest.config,
        libraries=manifest.libraries,
        data=data,
        training=_parsed(TrainingMetrics, told.get("metrics")),
        curve=_parsed(Curve, told) or Curve(),
    )


def data_facts(dataset: ArtifactRef | None) -> DataFacts | None:
    """What the snapshot's manifest counts; None without a snapshot."""
    if dataset is None:
        return None
    told: dict[str, Any] = json.loads(store.read_bytes(join(dataset.uri, store.MANIFEST)))
    split = told.get("split") or {}
    counts = told.get("counts") or {}
    known = {"digest": dataset.digest, "splitBy": split.get("by"), "heldOutSince": split.get("heldOutSince")}
    return DataFacts.model_validate({**counts, **known, "mining": told.get("mining") or {}})


def training_record(curve: bytes, metrics: TrainingMetrics) -> bytes:
    """training_curve.json of an artifact: the curve, and what training reported. No durations: equal trainings, equal bytes."""
    told = metrics.model_copy(update={"training_duration_seconds": None})
    known = {"metrics": told.model_dump(mode="json", by_alias=True, exclude_none=True), **json.loads(curve)}
    return json.dumps(known).encode() + b"\n"


def card_for(exported: Exported, name: str, data: DataFacts | None) -> str:
    """The card that goes with the artifact: what is known before it is evaluated."""
    return card(about(exported, name, data))


def published(
    spec: StageSpec, exported: Exported, compared: Comparison, summary: EvaluationSummary, place: str
) -> EvaluationReport:
    """Write report and card below `place`; where they lie."""
    assert spec.model is not None
    report = Report(
        about=about(exported, spec.model.name, data_facts(spec.dataset)),
        retriever=spec.retriever,
        namespace=spec.owner.namespace,
        run=spec.owner.name,
        evaluation=summary,
        config=spec.evaluation,
        queries=queries.changes(compared),
        written_at=datetime.now(UTC),
        **_against(spec),
    )
    found = EvaluationReport(page=join(place, PAGE), card=join(place, CARD))
    store.write_text(join(place, VALUES), report.to_json(indent=1) + "\n")
    store.write_text(found.page, page(report))
    store.write_text(found.card, card(report.about, report))
    return found


def _against(spec: StageSpec) -> dict[str, Any]:
    """Whom the candidate is compared with."""
    reranks = spec.type is ModelType.RERANKER
    found_by = (spec.first_stage.name if spec.first_stage else "BM25") if reranks else None
    if spec.active is not None:
        return {"compared_with": spec.active.name, "against": "active", "first_stage": found_by}
    if reranks:
        return {"compared_with": found_by, "against": "firstStage", "first_stage": found_by}
    return {"compared_with": spec.config.base_model, "against": "base"}


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _parsed(kind: Any, value: Any) -> Any:
    """None for what is not there, or not in its form: a report is not worth a failed evaluation."""
    if not value:
        return None
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        log.warning("%s cannot be read: %s", kind.__name__, error)
        return None
