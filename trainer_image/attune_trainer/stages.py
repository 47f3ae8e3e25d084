"""What each stage does: StageSpec in, part of a StageResult out. Called by `running`, in a pod and by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune.contract import (
    ModelSummary,
    ModelType,
    Stage,
    StageSpec,
    TrainingConfig,
)
from attune_retrieval import store
from attune_retrieval.reranking import OnnxReranker
from attune_trainer import base_model, reranker_stages, towers
from attune_trainer.encode import TorchEncoder
from attune_trainer.errors import BadData
from attune_trainer.hardware import precision_of
from attune_trainer.hosted import stages as hosted
from attune_trainer.snapshots import local_snapshot
from attune_trainer.stage_work import (
    Outcome,
    Work,
    checkpoints_uri,
    judgements_uri,
    opened,
    provenance_of,
    publish,
    surroundings,
    target_of,
    trained_message,
)

if TYPE_CHECKING:
    from attune_trainer.export.artifact import Provenance, Written

Encode = Callable[[Sequence[str]], Any]
"""Texts to unit vectors, (texts x dimensions)."""


def do(work: Work) -> Outcome:
    """Do the stage. Raises a StageError for everything that can be foreseen."""
    stages: dict[Stage, Callable[[Work], Outcome]] = {
        Stage.PREPARE: _prepare,
        Stage.TRAIN: _train,
        Stage.IMPORT: _import,
        Stage.EVALUATE: _evaluate,
        Stage.INDEX: _index,
        Stage.RETIRE: _retire,
    }
    if work.spec.type is ModelType.RERANKER:
        stages |= reranker_stages.STAGES
    if work.spec.stage is Stage.IMPORT and target_of(work.spec).digest is not None:
        return _adopt(work)
    return stages[work.spec.stage](work)


def _prepare(work: Work) -> Outcome:
    from attune_trainer.data.prepare import prepare

    openai = work.spec.config.openai

    def encode_factory() -> Encode:
        return (
            hosted.mining(work, openai) if openai is not None else mining_encoder(work.spec.config, work.base_folder())
        )

    if work.spec.type is ModelType.RERANKER:
        spec, encode_factory = reranker_stages.mined_by_first_stage(work)
    else:
        spec = _with_own_prompts(work)
    summary = prepare(spec, encode_factory=encode_factory, report=work.reporter.update)
    sources = ", ".join(f"{name} {count:,}" for name, count in summary.by_source.items()) or "none"
    last, new = spec.last_trained, summary.new_pairs
    since = f", {new:,} of them new since {last.name}" if last is not None and new is not None else ""
    paid = f"; {summary.cost_usd:.2f} USD paid for questions" if summary.cost_usd else ""
    return {
        "message": f"{summary.examples:,} training pairs ({sources}){since}, {summary.validation_examples or 0:,} for "
        f"validation, {summary.held_out_queries or 0:,} held-out queries over {summary.documents or 0:,} documents{paid}.",
        "dataset": summary,
    }


def mining_encoder(config: TrainingConfig, folder: Path) -> Encode:
    """The base model as mining asks it: in the precision that is fast here, without prompts, which the mining puts before texts."""
    model = base_model.load_model(folder)
    model.prompts = {"query": "", "document": ""}
    limit = base_model.position_limit(model) or config.max_sequence_length
    model.max_seq_length = min(limit, config.max_sequence_length)
    encoder = TorchEncoder(model, precision=precision_of(config), as_in_training=False)
    return lambda texts: encoder.encode(texts, "document")


def _with_own_prompts(work: Work) -> StageSpec:
    """Mining asks as training and serving will: with the model's own prompts where the configuration has none."""
    spec = work.spec
    if spec.config.hard_negatives.per_query == 0 or spec.data.min_examples == 0 or spec.config.openai is not None:
        return spec
    own = base_model.declared_prompts(work.base_folder())
    prompts = {
        "query_prompt": spec.config.query_prompt or own.get("query", ""),
        "document_prompt": spec.config.document_prompt or own.get("document", ""),
    }
    return spec.model_copy(update={"config": spec.config.model_copy(update=prompts)})


def _train(work: Work) -> Outcome:
    from attune_retrieval.artifact import open_unverified
    from attune_trainer.export import artifact
    from attune_trainer.export.document_side import DocumentSide
    from attune_trainer.finishing import finished
    from attune_trainer.train.embedding import refuse_unsupported, train_embedding
    from attune_trainer.train.proof import prove
    from attune_trainer.train.validation import look

    spec = work.spec
    if spec.config.openai is not None:
        return hosted.train(work, spec.config.openai)
    refuse_unsupported(spec.config)
    target_of(spec)
    work.reporter.update(0)
    snapshot = local_snapshot(spec.dataset, work.scratch)
    base = work.base_folder()
    around = surroundings(work)
    trained = train_embedding(spec.config, snapshot, base, work.scratch, around)
    if not work.world.first:
        return {"message": f"process {work.world.rank} of {work.world.size}: {trained_message(trained.metrics)}"}
    trained = finished(work, trained, base)
    metrics = trained.metrics
    document = DocumentSide(trained.document, base) if trained.document is not None else None

    def write(named: "Provenance") -> "Written":
        written = artifact.write(trained.model, work.scratch / "artifact", named, document)
        if (validation := trained.validation) is not None:
            exported = open_unverified(written.folder, written.manifest)
            assert not isinstance(exported, OnnxReranker)
            prove(metrics, lambda: look(exported, validation.looks))
        return written

    provenance = replace(provenance_of(spec, base, around.curve), dense_weight=metrics.dense_weight)
    summary = publish(work, write, provenance, metrics)
    return {"message": trained_message(metrics), "model": summary}


def _import(work: Work) -> Outcome:
    from attune_trainer.export import artifact
    from attune_trainer.export.artifact import Provenance
    from attune_trainer.export.document_side import DocumentSide

    spec = work.spec
    target_of(spec)
    work.reporter.update(0)
    folder = work.base_folder()
    model, document = base_model.load_untouched(spec.config, folder), None
    if towers.has_two(folder):
        sides = towers.split(model)
        model, document = sides.query, DocumentSide(sides.document, folder)
    work.reporter.update(30)
    provenance = Provenance(
        source="import", base_model=spec.config.base_model, license=base_model.licence(folder), config=spec.config
    )
    summary = publish(
        work, lambda named: artifact.write(model, work.scratch / "artifact", named, document), provenance, None
    )
    return {"message": f"{spec.config.base_model} exported: {summary.dimensions} dimensions.", "model": summary}


def _adopt(work: Work) -> Outcome:
    """The artifact is there already, and its digest is known (`registry rebuild`): verified, taken as it is, nothing is written."""
    from attune_retrieval import manifest

    target = target_of(work.spec)
    place = store.resolve(target.uri)
    folder = Path(place.path) if place.local else store.fetch_folder(target.uri, work.scratch / "artifact")
    found = manifest.verified(folder, target.digest)
    if found.type is not work.spec.type:
        raise BadData(
            f"{target.uri} is of type {found.type.value}, the version of type {work.spec.type.value}.",
            reason="WrongType",
        )
    summary = ModelSummary(
        uri=target.uri,
        digest=target.digest or "",
        dimensions=found.dimensions,
        embedding_space=found.embedding_space,
    )
    return {"message": f"{target.uri} is taken as it is: every file has the digest of its manifest.", "model": summary}


def _index(work: Work) -> Outcome:
    from attune_trainer.indexing.build import build_index

    summary = build_index(work.spec, work.scratch, work.reporter, work.termination, partial(hosted.index_encoder, work))
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
    """Once the result is in the store: a finished training needs its checkpoints no more, an evaluation no judgements."""
    if spec.stage is Stage.TRAIN:
        store.delete(checkpoints_uri(spec))
    if spec.stage is Stage.EVALUATE:
        store.delete(judgements_uri(spec))


def _evaluate(work: Work) -> Outcome:
    from attune_trainer import evaluating
    from attune_trainer.evaluate.compare import Contenders

    spec = work.spec
    target = target_of(spec)
    work.reporter.update(0)
    snapshot = local_snapshot(spec.dataset, work.scratch)
    openai = spec.config.openai
    contenders = Contenders(
        candidate=hosted.with_memory(work, opened(target, work.scratch / "candidate")),
        active=hosted.with_memory(work, opened(spec.active, work.scratch / "active")) if spec.active else None,
        base_name=spec.config.base_model,
        base=lambda: (
            hosted.base_encoder(work, openai)
            if openai is not None
            else TorchEncoder(base_model.load_untouched(base_model.as_imported(spec.config), work.base_folder()))
        ),
    )
    return evaluating.embedding(work, contenders, snapshot)
