"""What the stages train, import and evaluate do for rerankers. The others are the same for both types. Called by `stages`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune.contract import Stage, StageSpec, TrainingMetrics
from attune_retrieval.encoding import Encoder, OnnxEncoder
from attune_retrieval.hosted import HostedEncoder
from attune_retrieval.reranking import OnnxReranker
from attune_retrieval.weighing import ALONE, fusion_of, rerank_weight_of
from attune_trainer import base_model, cross_encoder
from attune_trainer.errors import BadConfig
from attune_trainer.snapshots import local_snapshot
from attune_trainer.stage_work import (
    Outcome,
    Work,
    fetched,
    opened,
    provenance_of,
    publish,
    surroundings,
    target_of,
    trained_message,
)

if TYPE_CHECKING:
    from attune_trainer.export.artifact import Provenance, Written
    from attune_trainer.train.reranker import TrainedReranker
    from attune_trainer.train.search_weights import Search

Encode = Callable[[Sequence[str]], Any]


def mined_by_first_stage(work: Work) -> tuple[StageSpec, Callable[[], Encode]]:
    """Wrong answers are what the first stage takes for right ones. Without a first stage none are mined; random ones remain."""
    spec = work.spec

    def nobody() -> Encode:
        raise BadConfig("negatives of a reranker are mined by the active embedding version; the spec names none.")

    if spec.first_stage is None:
        mined = spec.config.hard_negatives.model_copy(update={"per_query": 0})
        return _configured(spec, hard_negatives=mined), nobody
    first = opened(spec.first_stage, work.scratch / "first")
    prompts = first.manifest.prompts
    assert isinstance(first.encoder, OnnxEncoder | HostedEncoder)
    encoder = first.encoder
    encoder.prompts = {}  # the mining puts the prompts before the texts itself
    asked = _configured(spec, query_prompt=prompts.get("query", ""), document_prompt=prompts.get("document", ""))
    return asked, lambda: lambda texts: encoder.encode(texts, "document")


def _configured(spec: StageSpec, **changes: Any) -> StageSpec:
    return spec.model_copy(update={"config": spec.config.model_copy(update=changes)})


def _train(work: Work) -> Outcome:
    from attune_retrieval.artifact import open_unverified
    from attune_trainer.export.reranker import write_reranker
    from attune_trainer.train.proof import prove
    from attune_trainer.train.reranker import refuse_unsupported_reranking, train_reranker
    from attune_trainer.train.reranker_validation import look

    spec = work.spec
    refuse_unsupported_reranking(spec.config)
    target_of(spec)
    work.reporter.update(0)
    snapshot = local_snapshot(spec.dataset, work.scratch)
    base = work.base_folder()
    around = surroundings(work)
    trained = train_reranker(spec.config, snapshot, base, work.scratch, around)
    if not work.world.first:
        return {"message": f"process {work.world.rank} of {work.world.size}: {trained_message(trained.metrics)}"}

    metrics = _weighed(work, trained, snapshot)

    def write(named: "Provenance") -> "Written":
        written = write_reranker(trained.model, work.scratch / "artifact", named)
        exported = open_unverified(written.folder, written.manifest)
        assert isinstance(exported, OnnxReranker)
        prove(metrics, lambda: look(exported.score, trained.held_out, lambda: None))
        return written

    provenance = replace(provenance_of(spec, base, around.curve), rerank_weight=metrics.rerank_weight)
    summary = publish(work, write, provenance, metrics)
    head = " The base model had no scoring head; a new one was trained." if trained.fresh_head else ""
    return {"message": trained_message(metrics) + head, "model": summary}


def _weighed(work: Work, trained: "TrainedReranker", snapshot: Path) -> TrainingMetrics:
    """With the share that the reranker has beside the search."""
    from attune_trainer.train.pairs import read_pairs
    from attune_trainer.train.search_weights import rerank_weight
    from attune_trainer.train.validation import validation_set

    spec = work.spec
    validation, training = (read_pairs(snapshot / name) for name in ("validation.jsonl", "train.jsonl"))
    found = validation_set(validation, training, spec.config.seed)
    weight = rerank_weight(
        partial(cross_encoder.scores, trained.model),
        _search(work),
        found.whole if found else None,
        work.termination.check,
    )
    return trained.metrics.model_copy(update={"rerank_weight": weight})


def _search(work: Work) -> "Search":
    """As serving searches: the active version's vectors and words, in its shares; where there is none, by words alone."""
    from attune_trainer.evaluate.reranking import hybrid_search
    from attune_trainer.train.search_weights import RERANKED_DEPTH

    encoder, weight = _first_stage(work)
    return lambda asked: hybrid_search(encoder, weight, asked, lambda _: work.termination.check(), depth=RERANKED_DEPTH)


def _first_stage(work: Work) -> tuple[Encoder | None, float]:
    """What finds the candidates, and the share of its vectors in its hybrid search; (None, 0.0): words alone find them."""
    reference = work.spec.first_stage
    first = opened(reference, work.scratch / "first") if reference else None
    return (first.encoder, fusion_of(first.manifest).dense_weight) if first else (None, 0.0)


def _import(work: Work) -> Outcome:
    from attune_trainer.export.artifact import Provenance
    from attune_trainer.export.reranker import write_reranker

    spec = work.spec
    target_of(spec)
    work.reporter.update(0)
    folder = work.base_folder()
    base_model.check_complete(folder)
    if not cross_encoder.has_head(folder):
        raise BadConfig(
            f"base model {spec.config.base_model!r} is no reranker: it has no head that gives one score, and a head of random "
            "numbers would rank at random; use a cross-encoder such as BAAI/bge-reranker-base.",
            reason="NotAReranker",
        )
    model = cross_encoder.load(folder, max_length=spec.config.max_sequence_length)
    work.reporter.update(30)
    provenance = Provenance(
        source="import", base_model=spec.config.base_model, license=base_model.licence(folder), config=spec.config
    )
    summary = publish(work, lambda named: write_reranker(model, work.scratch / "artifact", named), provenance, None)
    return {"message": f"{spec.config.base_model} exported as a reranker.", "model": summary}


def _evaluate(work: Work) -> Outcome:
    from attune_retrieval.artifact import open_verified
    from attune_trainer import evaluating
    from attune_trainer.evaluate.reranking import Rerankers

    spec = work.spec
    target = target_of(spec)
    work.reporter.update(0)
    snapshot = local_snapshot(spec.dataset, work.scratch)
    active = spec.active
    candidate = open_verified(fetched(target, work.scratch / "candidate"), target.digest)
    before = open_verified(fetched(active, work.scratch / "active"), active.digest) if active else None
    encoder, dense_weight = _first_stage(work)
    contenders = Rerankers(
        candidate=candidate.reranker,
        active=before.reranker if before else None,
        candidate_weight=rerank_weight_of(candidate.manifest),
        active_weight=rerank_weight_of(before.manifest) if before else ALONE,
        first_stage=encoder,
        dense_weight=dense_weight,
    )
    outcome = evaluating.reranker(work, contenders, snapshot)
    found_by = spec.first_stage.name if spec.first_stage else "BM25"
    return outcome | {"message": f"{outcome['message']} Candidates by {found_by}."}


STAGES: dict[Stage, Callable[[Work], Outcome]] = {
    Stage.TRAIN: _train,
    Stage.IMPORT: _import,
    Stage.EVALUATE: _evaluate,
}
