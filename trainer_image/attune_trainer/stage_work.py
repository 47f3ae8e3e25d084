"""What all stages share: the work at hand, the artifact's way into the store, and the sentences that tell of it.

Used by `stages` and `reranker_stages`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune.contract import ArtifactRef, EvaluationMetrics, Layout, ModelSummary, StageSpec, TrainingMetrics
from attune.contract.layout import join
from attune_retrieval import store
from attune_trainer import base_model
from attune_trainer.errors import BadConfig, Stalled
from attune_trainer.reporting import Reporter
from attune_trainer.signals import Termination
from attune_trainer.train.world import ALONE, World

if TYPE_CHECKING:
    from attune_retrieval.manifest import Manifest
    from attune_trainer.evaluate.compare import Candidate
    from attune_trainer.export.artifact import Provenance, Written
    from attune_trainer.train.curve import Curve
    from attune_trainer.train.watch import Surroundings

Outcome = dict[str, Any]
"""message, and at most one of dataset, model, evaluation, index: fields of StageResult."""


@dataclass(frozen=True)
class Work:
    """One stage at work: what to do, where to keep files meanwhile, whom to tell, when to end."""

    spec: StageSpec
    scratch: Path
    reporter: Reporter
    termination: Termination
    world: World = ALONE
    """The processes that train together; one alone in every other stage."""
    give_up: Callable[[Stalled], None] | None = None
    """Ends the process of a training that hangs; None: nobody looks."""

    @property
    def layout(self) -> Layout:
        return layout_of(self.spec)

    def base_folder(self) -> Path:
        return base_model.locate(self.spec.config.base_model, self.layout, self.scratch)


def layout_of(spec: StageSpec) -> Layout:
    return Layout(spec.storage, spec.owner.namespace, spec.retriever)


def trained_message(metrics: TrainingMetrics) -> str:
    validated = (
        f"validation nDCG@10 {metrics.validation_ndcg_at10:.3f} after epoch {metrics.best_epoch:g}, the weights kept"
        if metrics.validation_ndcg_at10 is not None and metrics.best_epoch is not None
        else "no validation pairs, so the last weights were kept"
    )
    loss = f"loss {metrics.loss:.3f}, " if metrics.loss is not None else ""
    return (
        f"{metrics.epochs or 0:g} epoch{'' if metrics.epochs == 1 else 's'} on {metrics.training_examples or 0:,} pairs in "
        f"{metrics.training_duration_seconds or 0:.0f} s: {loss}{validated}."
    )


def target_of(spec: StageSpec) -> ArtifactRef:
    if spec.model is None:
        raise BadConfig(f"stage {spec.stage.value} needs `model`, the place of the artifact; it is not in the spec.")
    return spec.model


def publish(
    work: Work, write: "Callable[[Provenance], Written]", provenance: "Provenance", training: TrainingMetrics | None
) -> ModelSummary:
    """Write the artifact here, then make it appear in the store, whole."""
    target = target_of(work.spec)
    work.reporter.update(92)
    told = _documents(work, provenance, training)
    written = write(replace(provenance, version=target.name, documents=told))
    # The exporter catches and skips what is raised inside it, SIGTERM too: a graph made after that is not to be trusted.
    work.termination.check()
    work.reporter.update(97)
    store.publish_folder(written.folder, target.uri)
    work.reporter.update(100)
    return ModelSummary(
        uri=target.uri,
        digest=written.digest,
        dimensions=written.manifest.dimensions,
        embedding_space=written.manifest.embedding_space,
        training=training,
    )


def surroundings(work: Work) -> "Surroundings":
    """What a training run needs from outside."""
    from attune_trainer.train.checkpoints import Checkpoints
    from attune_trainer.train.stall import StallGuard
    from attune_trainer.train.watch import Surroundings

    # What finds a reranker's candidates may be another version in the next attempt; the training is the same.
    same = work.spec.model_copy(update={"first_stage": None})
    checkpoints = Checkpoints.of(checkpoints_uri(work.spec), same.digest())
    guard = StallGuard(work.give_up) if work.give_up is not None else None
    return Surroundings(work.reporter, work.termination, checkpoints, work.world, guard)


def provenance_of(spec: StageSpec, base: Path, curve: "Curve") -> "Provenance":
    """Where a trained model comes from."""
    from attune_trainer.export.artifact import Provenance

    return Provenance(
        source="training",
        base_model=spec.config.base_model,
        license=base_model.licence(base),
        dataset_digest=spec.dataset.digest if spec.dataset else None,
        config=spec.config,
        curve=curve.to_json(),
    )


def _documents(
    work: Work, provenance: "Provenance", training: TrainingMetrics | None
) -> "Callable[[Path, Manifest], Mapping[str, bytes]]":
    """The training record and the model card of an artifact."""
    from attune_trainer.report.files import CARD_IN_ARTIFACT, CURVE, Exported, card_for, data_facts, training_record

    name, data = target_of(work.spec).name, data_facts(work.spec.dataset) if training is not None else None

    def made(folder: Path, described: "Manifest") -> Mapping[str, bytes]:
        record = training_record(provenance.curve or b"{}", training) if training else None
        if record is not None:
            (folder / CURVE).write_bytes(record)
        text = card_for(Exported(folder, described), name, data)
        return {CARD_IN_ARTIFACT: text.encode()} | ({CURVE: record} if record is not None else {})

    return made


def checkpoints_uri(spec: StageSpec) -> str:
    return join(layout_of(spec).run(spec.owner.name, spec.owner.uid), "checkpoints")


def judgements_uri(spec: StageSpec) -> str:
    return join(layout_of(spec).run(spec.owner.name, spec.owner.uid), "judgements")


def opened(reference: ArtifactRef, scratch: Path) -> "Candidate":
    """An embedding artifact, verified."""
    from attune_trainer.evaluate.compare import Candidate

    return Candidate.open(fetched(reference, scratch), reference.digest)


def fetched(reference: ArtifactRef, scratch: Path) -> Path:
    """An artifact's folder on this machine."""
    place = store.resolve(reference.uri)
    return Path(place.path) if place.local else store.fetch_folder(reference.uri, scratch)


def evaluated_message(metrics: EvaluationMetrics) -> str:
    """One sentence: before, after, how sure, on how much."""
    before, name = (metrics.baseline, "active") if metrics.baseline else (metrics.base, "base")
    interval = (metrics.intervals or {}).get("ndcgAt10")
    change = "" if metrics.improvement_percent is None else f"{metrics.improvement_percent:+.1f}%"
    bounds = f", 95% CI {interval.low:+.3f} to {interval.high:+.3f}" if interval else ""
    old = f"{before.ndcg_at10:.3f} ({name}) → " if before and before.ndcg_at10 is not None else ""
    bm25 = f"; BM25 {metrics.bm25.ndcg_at10:.3f}" if metrics.bm25 and metrics.bm25.ndcg_at10 is not None else ""
    return (
        f"nDCG@10 {old}{metrics.ndcg_at10 or 0:.3f} ({change}{bounds}) on {metrics.queries} queries over "
        f"{metrics.documents} documents: {metrics.verdict}{bm25}.{_beyond(metrics)}"
    )


def _beyond(metrics: EvaluationMetrics) -> str:
    """What the judge said and what was forgotten, as far as it was measured."""
    judge, general = metrics.judge, metrics.general
    told = ""
    for name, counted in (("faithfulness", judge and judge.faithfulness), ("relevance", judge and judge.relevance)):
        value = getattr(metrics, name)
        if value is not None and counted:
            told += f" {name.capitalize()} {value:.3f} ({counted.scored} of {counted.asked} judgements)."
    if general is not None:
        told += f" General set: {general.base:.3f} (base) → {general.ndcg_at10:.3f}."
    return told
