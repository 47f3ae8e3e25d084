"""Trains a cross-encoder on a snapshot of pairs: cross-entropy by text or by list, mined and random negatives. Called by the train stage.

As with embeddings the run is one plan of batches made beforehand, so a restart gives the model of a run that was never stopped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune.contract import ModelType, TrainingConfig, TrainingMetrics
from attune_trainer import cross_encoder
from attune_trainer.errors import BadConfig, InsufficientData
from attune_trainer.train.arguments import run_watched, training_arguments
from attune_trainer.train.dropout import without_dropout
from attune_trainer.train.examples import Example, examples, plan_examples, plan_lists
from attune_trainer.train.lora import add_adapters, merge_adapters
from attune_trainer.train.pairs import read_pairs
from attune_trainer.train.reranker_validation import Asked, RerankerSubject, candidates

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from attune_trainer.train.watch import Surroundings, Watch

MIN_PAIRS = 2
LOSSES = (None, "bce", "listwise")


@dataclass(frozen=True, slots=True)
class TrainedReranker:
    """A trained cross-encoder, its best weights in place."""

    model: "CrossEncoder"
    metrics: TrainingMetrics
    fresh_head: bool
    """The base model had no scoring head of its own."""
    held_out: tuple[Asked, ...]
    """What `metrics.validation_ndcg_at10` was measured on."""


def refuse_unsupported_reranking(config: TrainingConfig) -> None:
    """BadConfig for what this version does not train, with what works instead."""
    if config.loss not in LOSSES:
        raise BadConfig(
            f"loss {config.loss!r} is not available for rerankers; leave loss out, or use bce or listwise.",
            reason="NotSupported",
        )
    if config.method == "queryOnly":
        raise BadConfig(
            "a reranker reads query and document together and has no side for queries; use method: full or lora.",
            reason="NotSupported",
        )


def train_reranker(
    config: TrainingConfig, snapshot: Path, base: Path, scratch: Path, around: "Surroundings"
) -> TrainedReranker:
    """Train `base` on the snapshot. Raises Interrupted after SIGTERM, once a checkpoint is published."""
    refuse_unsupported_reranking(config)
    pairs = read_pairs(snapshot / "train.jsonl")
    if len(pairs) < MIN_PAIRS:
        raise InsufficientData(f"{len(pairs)} training pairs are too few to train on; at least {MIN_PAIRS} are needed.")
    import torch

    torch.manual_seed(config.seed)  # a fresh head starts from the same weights in every attempt
    model = cross_encoder.load(base, max_length=config.max_sequence_length)
    without_dropout(model)  # before adapters, which have one of their own
    add_adapters(model, config, ModelType.RERANKER)
    rows = examples(pairs, config.seed)
    plan = (plan_lists if config.loss == "listwise" else plan_examples)(
        rows, batch_size=config.batch_size, epochs=config.epochs, seed=config.seed
    )
    held_out = candidates(read_pairs(snapshot / "validation.jsonl"), pairs, config.seed)

    from attune_trainer.train.watch import Watch

    watch = Watch(model, config, plan, RerankerSubject(model, held_out), around)
    run_watched(_trainer(model, rows, watch, scratch), watch, scratch)
    merge_adapters(model, config)
    return TrainedReranker(model, watch.metrics(len(pairs)), not cross_encoder.has_head(base), held_out)


def _trainer(model: "CrossEncoder", rows: list[Example], watch: "Watch", scratch: Path) -> Any:
    from datasets import Dataset  # type: ignore[import-untyped]
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    from sentence_transformers.cross_encoder.trainer import CrossEncoderTrainer
    from sentence_transformers.cross_encoder.training_args import CrossEncoderTrainingArguments
    from transformers import PrinterCallback

    from attune_trainer.train.feed import ExampleCollator, PlanSampler
    from attune_trainer.train.scoring import share_of_loss
    from attune_trainer.train.steering import Steered

    config, world = watch.config, watch.around.world
    share = share_of_loss(config, rows, watch.plan, world)

    class Trainer(Steered, CrossEncoderTrainer):
        """Computes the loss of a planned batch, and tells it to the watch."""

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            del num_items_in_batch
            step = self.state.global_step
            labels, lists = inputs.pop("labels"), inputs.pop("lists")
            scores = model(inputs)["scores"].view(-1)
            loss = share(scores.float(), labels, lists, step)
            watch.note_loss(world.total(float(loss.detach())), step)
            return (loss, {"scores": scores}) if return_outputs else loss

    made = Trainer(
        model=model,
        args=training_arguments(
            CrossEncoderTrainingArguments,
            config,
            watch.plan,
            scratch,
            lambda *_, **__: PlanSampler(watch.plan, len(rows), world),
        ),
        train_dataset=Dataset.from_dict({"position": list(range(len(rows) * config.epochs))}),
        loss=BinaryCrossEntropyLoss(model),
        data_collator=ExampleCollator(preprocess_fn=model.preprocess, rows=rows),
        callbacks=[watch],
    )
    made.watch = watch
    made.remove_callback(PrinterCallback)
    return made
