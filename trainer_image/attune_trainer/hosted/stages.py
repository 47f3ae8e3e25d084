"""What prepare, train, evaluate and index do for provider openai. Called by `stages`, where the configuration names an API."""

from collections.abc import Callable, Sequence
from copy import copy
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from attune.contract import HostedModel, OpenAITraining, TrainingConfig, TrainingMetrics
from attune_retrieval import endpoint
from attune_retrieval.encoding import Encoder, Role
from attune_retrieval.hosted import HostedEncoder
from attune_trainer.errors import BadConfig, BadData
from attune_trainer.hosted.vectors import Remembered, remembered
from attune_trainer.snapshots import local_snapshot
from attune_trainer.stage_work import Outcome, Work, publish, target_of

if TYPE_CHECKING:
    from attune_trainer.evaluate.compare import Candidate
    from attune_trainer.evaluate.heldout import HeldOut
    from attune_trainer.hosted.adapter import Fitted, Rows, Validation
    from attune_trainer.train.pairs import Pair

EMBED_UNTIL, FIT_UNTIL = 60.0, 90.0


def model_of(training: OpenAITraining) -> HostedModel:
    """The API's model before anything is trained."""
    return HostedModel(base_url=training.base_url, model=training.model, dimensions=training.dimensions)


def encoder_of(work: Work, model: HostedModel, config: TrainingConfig) -> HostedEncoder:
    """By the API as it is, remembering what it answered."""
    prompts = {"query": config.query_prompt, "document": config.document_prompt}
    encoder = HostedEncoder(model, prompts=prompts, max_length=config.max_sequence_length)
    encoder.embed = _memory(work, model).embed
    return encoder


def _memory(work: Work, model: HostedModel) -> Remembered:
    return remembered(model, work.layout, work.scratch, work.termination.check)


def mining(work: Work, training: OpenAITraining) -> Callable[[Sequence[str]], Any]:
    """Texts to vectors for the mining of negatives, which puts the prompts before the texts itself."""
    encoder = encoder_of(work, model_of(training), work.spec.config)
    encoder.prompts = {}
    return lambda texts: encoder.encode(texts, "document")


def with_memory(work: Work, candidate: "Candidate") -> "Candidate":
    """An opened version that asks the API for nothing that it answered before; one with weights as it is."""
    if isinstance(candidate.encoder, HostedEncoder):
        candidate.encoder.embed = _memory(work, candidate.encoder.model).embed
    return candidate


def index_encoder(work: Work, encoder: Encoder) -> Encoder:
    """The encoder that fills an index: the API is asked for no text whose vector another stage has paid for, and nothing new is kept.

    One with weights is given back as it is; the given one is left as it is, and asks the API itself.
    """
    if not isinstance(encoder, HostedEncoder):
        return encoder
    same = copy(encoder)
    same.embed = remembered(encoder.model, work.layout, work.scratch, work.termination.check, keeps=False).embed
    return same


def base_encoder(work: Work, training: OpenAITraining) -> Encoder:
    """What the candidate is compared with, where no version is active: the API's vectors as they are."""
    return encoder_of(work, model_of(training), work.spec.config)


def train(work: Work, training: OpenAITraining) -> Outcome:
    """The train stage."""
    target_of(work.spec)
    work.reporter.update(0)
    if training.method == "fineTune":
        return _fine_tune(work, training)
    return _adapt(work, training)


def _adapt(work: Work, training: OpenAITraining) -> Outcome:
    from attune_trainer.hosted.adapter import fit

    began, config = monotonic(), work.spec.config
    snapshot = local_snapshot(work.spec.dataset, work.scratch)
    pairs, validation = _pairs(snapshot / "train.jsonl"), _pairs(snapshot / "validation.jsonl")
    model = model_of(training)
    memory = _memory(work, model)
    encoder = encoder_of(work, model, config)
    encoder.embed = memory.embed
    rows, looked = _vectors(work, encoder, pairs, validation)

    def advance(share: float) -> None:
        work.termination.check()
        work.reporter.update(EMBED_UNTIL + share * (FIT_UNTIL - EMBED_UNTIL))

    fitted = fit(rows, looked, training.side, config.seed, advance)
    metrics = TrainingMetrics(
        loss=round(fitted.loss, 5) if fitted.epoch else None,
        epochs=fitted.epochs,
        best_epoch=fitted.epoch,
        training_examples=len(pairs),
        training_duration_seconds=round(monotonic() - began, 1),
        validation_ndcg_at10=round(fitted.ndcg, 5) if fitted.ndcg is not None else None,
        api_tokens=memory.tokens,
    )
    from attune_trainer.hosted.artifact import write_hosted

    summary = publish(
        work,
        lambda named: write_hosted(model, fitted.adapter, work.scratch / "artifact", named),
        _provenance(work),
        metrics,
    )
    return {"message": f"{_told(fitted, len(pairs))}; {memory.told()}.", "model": summary}


def _told(fitted: "Fitted", pairs: int) -> str:
    if fitted.ndcg is None or fitted.ndcg_before is None:
        return f"adapter trained for {fitted.epochs} epochs on {pairs:,} pairs, without validation pairs to choose by"
    before = f"validation nDCG@10 {fitted.ndcg_before:.3f}"
    if fitted.epoch == 0:
        return f"no adapter was better than none on {pairs:,} pairs ({before}): the vectors stay as they are"
    return (
        f"adapter trained on {pairs:,} pairs: {before} → {fitted.ndcg:.3f} "
        f"(epoch {fitted.epoch}, lambda {fitted.regularization:g})"
    )


def _vectors(
    work: Work, encoder: HostedEncoder, pairs: "Sequence[Pair]", validation: "Sequence[Pair]"
) -> "tuple[Rows, Validation | None]":
    """All that training looks at, embedded."""
    from attune_trainer.hosted.adapter import Validation
    from attune_trainer.train.validation import validation_set

    found = validation_set(validation, pairs, work.spec.config.seed)
    texts = {pair.document: pair.positive for pair in pairs}
    for pair in pairs:
        texts |= {d: t for d, t in zip(pair.negative_documents, pair.negatives, strict=True) if d not in texts}
    names = sorted(texts)

    def embedded(what: Sequence[str], role: Role, start: float, end: float) -> Any:
        return encoder.encode(what, role, work.reporter.part(start, end))

    documents = embedded([texts[name] for name in names], "document", 2, 40)
    queries = embedded([pair.query for pair in pairs], "query", 40, 52)
    rows = _rows(pairs, {name: place for place, name in enumerate(names)}, queries, documents)
    if found is None:
        return rows, None
    held_out: HeldOut = found.whole
    asked = embedded(list(held_out.queries.values()), "query", 52, 54)
    looked = embedded(held_out.texts, "document", 54, EMBED_UNTIL)
    return rows, Validation(held_out, asked, looked)


def _rows(pairs: "Sequence[Pair]", place: dict[str, int], queries: Any, documents: Any) -> "Rows":
    from attune_trainer.hosted.adapter import Rows

    right: dict[str, set[int]] = {}
    for pair in pairs:
        right.setdefault(pair.query, set()).add(place[pair.document])
    width = max((len(pair.negatives) for pair in pairs), default=0)
    negatives = np.full((len(pairs), max(1, width)), -1, dtype=np.int64)
    for row, pair in enumerate(pairs):
        known = [place[d] for d in pair.negative_documents if place[d] not in right[pair.query]]
        negatives[row, : len(known)] = known
    answers = np.array([place[pair.document] for pair in pairs], dtype=np.int64)
    return Rows(queries, documents, answers, negatives, [frozenset(right[pair.query]) for pair in pairs])


def _fine_tune(work: Work, training: OpenAITraining) -> Outcome:
    from attune_trainer.hosted.artifact import write_hosted
    from attune_trainer.hosted.fine_tuning import FineTuning, Material, Run, lines

    began, spec = monotonic(), work.spec
    snapshot = local_snapshot(spec.dataset, work.scratch)
    pairs, validation = _pairs(snapshot / "train.jsonl"), _pairs(snapshot / "validation.jsonl")
    _embeds(model_of(training))
    form = training.file_format
    material = Material(lines(pairs, form), lines(validation, form) if validation else None)
    tuned = FineTuning(training, Run.of(spec), work.reporter, work.termination).tuned(
        spec.config, target_of(spec).name, material
    )
    metrics = TrainingMetrics(
        loss=tuned.loss,
        epochs=spec.config.epochs,
        training_examples=len(pairs),
        training_duration_seconds=round(monotonic() - began, 1),
        validation_loss=tuned.validation_loss,
        api_tokens=tuned.tokens,
        fine_tuned_model=tuned.model,
    )
    model = HostedModel(base_url=training.base_url, model=tuned.model, dimensions=training.dimensions)
    try:
        summary = publish(
            work, lambda named: write_hosted(model, None, work.scratch / "artifact", named), _provenance(work), metrics
        )
    except BadConfig as error:
        raise BadConfig(
            f"{training.base_url} fine-tuned {tuned.model} (job {tuned.job}), and does not answer by it: {error}",
            reason=error.reason,
        ) from error
    tokens = f", {tuned.tokens:,} tokens" if tuned.tokens is not None else ""
    told = f"{training.base_url} fine-tuned {tuned.model} (job {tuned.job}) on {len(pairs):,} pairs{tokens}."
    return {"message": told, "model": summary}


def _embeds(model: HostedModel) -> None:
    """Before anything is paid for: a model that gives no vectors cannot become one that does."""
    endpoint.embed(model, ["a question"])


def _pairs(path: Any) -> "list[Pair]":
    from attune_trainer.train.pairs import read_pairs

    found = read_pairs(path)
    if not found and path.name == "train.jsonl":
        raise BadData("the snapshot has no training pairs; run the prepare stage again.", reason="NoPairs")
    return found


def _provenance(work: Work) -> Any:
    from attune_trainer.export.artifact import Provenance

    spec = work.spec
    return Provenance(
        source="training",
        base_model=spec.config.base_model,
        dataset_digest=spec.dataset.digest if spec.dataset else None,
        config=spec.config,
    )
