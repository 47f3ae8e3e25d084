"""What each stage does: StageSpec in, part of a StageResult out. Called by `running`, in a pod and by hand."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune.contract import (
    ArtifactRef,
    EvaluationMetrics,
    Layout,
    ModelSummary,
    ModelType,
    Stage,
    StageSpec,
    TrainingMetrics,
)
from attune.contract.layout import join
from attune_retrieval import store
from attune_trainer import base_model
from attune_trainer.encode import TorchEncoder
from attune_trainer.errors import BadConfig
from attune_trainer.reporting import Reporter
from attune_trainer.signals import Termination
from attune_trainer.snapshots import local_snapshot

if TYPE_CHECKING:
    from attune_trainer.evaluate.compare import Candidate
    from attune_trainer.export.artifact import Provenance

log = logging.getLogger(__name__)
Outcome = dict[str, Any]
"""message, and at most one of dataset, model, evaluation, index: fields of StageResult."""


@dataclass(frozen=True)
class Work:
    """One stage at work: what to do, where to keep files meanwhile, whom to tell, when to end."""

    spec: StageSpec
    scratch: Path
    reporter: Reporter
    termination: Termination

    @property
    def layout(self) -> Layout:
        return layout_of(self.spec)

    def base_folder(self) -> Path:
        return base_model.locate(self.spec.config.base_model, self.layout, self.scratch)


def layout_of(spec: StageSpec) -> Layout:
    return Layout(spec.storage, spec.owner.namespace, spec.retriever)


def do(work: Work) -> Outcome:
    """Do the stage. Raises a StageError for everything that can be foreseen."""
    if work.spec.type is not ModelType.EMBEDDING and work.spec.stage not in {Stage.PREPARE, Stage.RETIRE}:
        raise BadConfig(
            f"type {work.spec.type.value!r} is not available yet; this trainer does embedding.", reason="NotSupported"
        )
    stages: dict[Stage, Callable[[Work], Outcome]] = {
        Stage.PREPARE: _prepare,
        Stage.TRAIN: _train,
        Stage.IMPORT: _import,
        Stage.EVALUATE: _evaluate,
        Stage.INDEX: _index,
        Stage.RETIRE: _retire,
    }
    return stages[work.spec.stage](work)


def _prepare(work: Work) -> Outcome:
    from attune_trainer.data.prepare import prepare

    def encode_factory() -> Callable[[Sequence[str]], Any]:
        # The prompts are put before the texts by the mining itself.
        model = base_model.load_model(work.base_folder())
        model.prompts = {"query": "", "document": ""}
        limit = base_model.position_limit(model) or work.spec.config.max_sequence_length
        model.max_seq_length = min(limit, work.spec.config.max_sequence_length)
        return lambda texts: TorchEncoder(model).encode(texts, "document")

    summary = prepare(_with_own_prompts(work), encode_factory=encode_factory, report=work.reporter.update)
    sources = ", ".join(f"{name} {count:,}" for name, count in summary.by_source.items()) or "none"
    return {
        "message": f"{summary.examples:,} training pairs ({sources}), {summary.validation_examples or 0:,} for "
        f"validation, {summary.held_out_queries or 0:,} held-out queries over {summary.documents or 0:,} documents.",
        "dataset": summary,
    }


def _with_own_prompts(work: Work) -> StageSpec:
    """Mining asks as training and serving will: with the model's own prompts where the configuration has none."""
    spec = work.spec
    if spec.config.hard_negatives.per_query == 0 or spec.data.min_examples == 0:
        return spec
    own = base_model.declared_prompts(work.base_folder())
    prompts = {
        "query_prompt": spec.config.query_prompt or own.get("query", ""),
        "document_prompt": spec.config.document_prompt or own.get("document", ""),
    }
    return spec.model_copy(update={"config": spec.config.model_copy(update=prompts)})


def _train(work: Work) -> Outcome:
    from attune_trainer.export.artifact import Provenance
    from attune_trainer.train.checkpoints import Checkpoints
    from attune_trainer.train.embedding import refuse_unsupported, train_embedding

    spec = work.spec
    refuse_unsupported(spec.config)
    _target(spec)
    work.reporter.update(0)
    snapshot = local_snapshot(spec.dataset, work.scratch)
    base = work.base_folder()
    from attune_trainer.train.watch import Surroundings

    checkpoints = Checkpoints(checkpoints_uri(spec), spec.digest())
    around = Surroundings(work.reporter, work.termination, checkpoints)
    trained = train_embedding(spec.config, snapshot, base, work.scratch, around)
    provenance = Provenance(
        source="training",
        base_model=spec.config.base_model,
        license=base_model.licence(base),
        dataset_digest=spec.dataset.digest if spec.dataset else None,
        config=spec.config,
    )
    summary = _publish(work, trained.model, provenance, trained.metrics)
    return {"message": _trained_message(trained.metrics), "model": summary}


def _trained_message(metrics: TrainingMetrics) -> str:
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


def _import(work: Work) -> Outcome:
    from attune_trainer.export.artifact import Provenance

    spec = work.spec
    _target(spec)
    work.reporter.update(0)
    folder = work.base_folder()
    model = base_model.load_untouched(spec.config, folder)
    work.reporter.update(30)
    provenance = Provenance(
        source="import", base_model=spec.config.base_model, license=base_model.licence(folder), config=spec.config
    )
    summary = _publish(work, model, provenance, None)
    return {"message": f"{spec.config.base_model} exported: {summary.dimensions} dimensions.", "model": summary}


def _target(spec: StageSpec) -> ArtifactRef:
    if spec.model is None:
        raise BadConfig(f"stage {spec.stage.value} needs `model`, the place of the artifact; it is not in the spec.")
    return spec.model


def _publish(work: Work, model: Any, provenance: "Provenance", training: TrainingMetrics | None) -> ModelSummary:
    from attune_trainer.export import artifact

    target = _target(work.spec)
    work.reporter.update(92)
    written = artifact.write(model, work.scratch / "artifact", replace(provenance, version=target.name))
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


def _index(work: Work) -> Outcome:
    from attune_trainer.indexing.build import build_index

    summary = build_index(work.spec, work.scratch, work.reporter, work.termination)
    part = "" if summary.shard is None else f" in shard {summary.shard}"
    return {
        "message": f"{summary.documents:,} documents{part} of {summary.collection}: {summary.embedded:,} embedded, "
        f"{summary.removed:,} removed.",
        "index": summary,
    }


def _retire(work: Work) -> Outcome:
    from attune_trainer.indexing.retire import retire

    return {"message": retire(work.spec)}


def tidy(spec: StageSpec) -> None:
    """Once the result is in the store: a finished training needs its checkpoints no more."""
    if spec.stage is Stage.TRAIN:
        store.delete(checkpoints_uri(spec))


def checkpoints_uri(spec: StageSpec) -> str:
    return join(layout_of(spec).run(spec.owner.name, spec.owner.uid), "checkpoints")


def _evaluate(work: Work) -> Outcome:
    from attune_trainer.evaluate.compare import Contenders, evaluate
    from attune_trainer.evaluate.heldout import read_snapshot

    spec = work.spec
    target = _target(spec)
    work.reporter.update(0)
    held_out = read_snapshot(local_snapshot(spec.dataset, work.scratch))
    contenders = Contenders(
        candidate=_opened(target, work.scratch / "candidate"),
        active=_opened(spec.active, work.scratch / "active") if spec.active else None,
        base_name=spec.config.base_model,
        base=lambda: TorchEncoder(base_model.load_untouched(spec.config, work.base_folder())),
    )
    summary = evaluate(contenders, held_out, spec.evaluation, seed=spec.config.seed, report=work.reporter.part)
    work.reporter.update(100)
    return {"message": evaluated_message(summary.metrics), "evaluation": summary}


def _opened(reference: ArtifactRef, scratch: Path) -> "Candidate":
    from attune_trainer.evaluate.compare import Candidate

    place = store.resolve(reference.uri)
    folder = Path(place.path) if place.local else store.fetch_folder(reference.uri, scratch)
    return Candidate.open(folder, reference.digest)


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
        f"{metrics.documents} documents: {metrics.verdict}{bm25}."
    )
