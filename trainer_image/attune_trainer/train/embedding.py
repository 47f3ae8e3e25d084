"""Trains an embedding model on a snapshot of pairs, with sentence-transformers' trainer. Called by the train stage.

The whole run is one plan of batches made beforehand (`batches`), so that a restart continues at a step of the plan and
gives the same model as a run that was never stopped.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune.contract import ModelType, TrainingConfig, TrainingMetrics
from attune_trainer import base_model, towers
from attune_trainer.errors import BadConfig, InsufficientData
from attune_trainer.hardware import precision_of
from attune_trainer.train.arguments import run_watched, training_arguments
from attune_trainer.train.batches import Plan, plan_batches
from attune_trainer.train.dropout import without_dropout
from attune_trainer.train.lora import add_adapters, merge_adapters
from attune_trainer.train.losses import embedding_loss
from attune_trainer.train.pairs import Pair, read_pairs, with_negatives
from attune_trainer.train.validation import EmbeddingSubject, ValidationSet, validation_set

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch.nn import Module

    from attune_trainer.train.watch import Surroundings, Watch

log = logging.getLogger(__name__)
MIN_PAIRS = 2


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, its best weights in place."""

    model: "SentenceTransformer"
    metrics: TrainingMetrics
    plan: Plan
    validation: ValidationSet | None
    """On its `looks` `metrics.validation_ndcg_at10` was measured."""
    document: "SentenceTransformer | None" = None
    """The side for documents, where the model is for queries only."""


def refuse_unsupported(config: TrainingConfig) -> None:
    """BadConfig for what this version does not train, with what works instead."""
    if config.method == "queryOnly" and (config.loss == "guided" or config.matryoshka_dimensions):
        asked = "loss guided" if config.loss == "guided" else "matryoshkaDimensions"
        raise BadConfig(
            f"{asked} changes how documents are embedded, which method queryOnly leaves as it is; use method: full.",
            reason="NotSupported",
        )


def train_embedding(
    config: TrainingConfig, snapshot: Path, base: Path, scratch: Path, around: "Surroundings"
) -> Trained:
    """Train `base` on the snapshot. Raises Interrupted after SIGTERM, once a checkpoint is published."""
    refuse_unsupported(config)
    pairs, validation = read_training(config, snapshot)
    if config.method == "queryOnly":
        from attune_trainer.train.query_only import train_queries

        return train_queries(config, pairs, validation, (base, scratch), around)
    from attune_trainer.train.feed import PairCollator
    from attune_trainer.train.matryoshka import check_dimensions
    from attune_trainer.train.watch import Watch

    towers.refuse_two(config, base)
    model = base_model.load_for(config, base)
    check_dimensions(model, config.matryoshka_dimensions)
    served = base_model.served_length(model, config)
    model.max_seq_length = base_model.trained_length(model, config)
    without_dropout(model)  # before adapters, which have one of their own
    add_adapters(model, config, ModelType.EMBEDDING)
    subject = EmbeddingSubject(model, validation.looks if validation else None, precision_of(config))
    watch = Watch(model, config, planned(config, pairs), subject, around)
    collator = PairCollator(
        preprocess_fn=model.preprocess,
        pairs=pairs,
        texts_put_before={role: text or "" for role, text in model.prompts.items()},
    )
    run_watched(trainer(watch, scratch, pairs, collator, embedding_loss(model, config, around.world)), watch, scratch)
    merge_adapters(model, config)
    model.max_seq_length = served
    return Trained(model, watch.metrics(len(pairs)), watch.plan, validation)


def read_training(config: TrainingConfig, snapshot: Path) -> tuple[list[Pair], ValidationSet | None]:
    """The pairs of the snapshot, and what every look at the model is taken on. InsufficientData for next to none."""
    pairs = with_negatives(read_pairs(snapshot / "train.jsonl"), config.seed)
    if len(pairs) < MIN_PAIRS:
        raise InsufficientData(f"{len(pairs)} training pairs are too few to train on; at least {MIN_PAIRS} are needed.")
    return pairs, validation_set(read_pairs(snapshot / "validation.jsonl"), pairs, config.seed)


def planned(config: TrainingConfig, pairs: Sequence[Pair]) -> Plan:
    """Every batch of the run. Rows share an answer where that saves work, and where the loss knows of it (the guided one is stock)."""
    apart = config.loss == "guided" or config.method == "queryOnly"
    return plan_batches(pairs, batch_size=config.batch_size, epochs=config.epochs, seed=config.seed, apart=apart)


def trainer(watch: "Watch", scratch: Path, pairs: Sequence[Pair], collator: Any, loss: "Module") -> Any:
    """sentence-transformers' trainer, steered by the watch."""
    from datasets import Dataset  # type: ignore[import-untyped]
    from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments
    from transformers import PrinterCallback

    from attune_trainer.train.feed import PlanSampler
    from attune_trainer.train.steering import Steered

    config, world = watch.config, watch.around.world

    class Trainer(Steered, SentenceTransformerTrainer):
        """Tells every loss to the watch: the stock trainer hides NaN in averages."""

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            step = self.state.global_step
            if world.size > 1:
                loss.spare = not watch.plan.batches[step].share(world)  # type: ignore[assignment]
            result = super().compute_loss(*args, **kwargs)
            value = result[0] if isinstance(result, tuple) else result
            watch.note_loss(float(value.detach()), step)
            return result

    model: Any = watch.model
    made = Trainer(
        model=model,
        args=training_arguments(
            SentenceTransformerTrainingArguments,
            config,
            watch.plan,
            scratch,
            lambda *_, **__: PlanSampler(watch.plan, len(pairs), world),
        ),
        train_dataset=Dataset.from_dict({"position": list(range(len(pairs) * config.epochs))}),
        loss=loss,
        data_collator=collator,
        callbacks=[watch],
    )
    made.watch = watch
    made.remove_callback(PrinterCallback)
    return made
