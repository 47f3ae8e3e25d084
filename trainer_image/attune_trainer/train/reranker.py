"""Trains a cross-encoder on a snapshot of pairs: binary cross-entropy, mined and random negatives. Called by the train stage.

As with embeddings the run is one plan of batches made beforehand, so a restart gives the model of a run that was never stopped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune.contract import TrainingConfig, TrainingMetrics
from attune_trainer import cross_encoder
from attune_trainer.errors import BadConfig, InsufficientData
from attune_trainer.train.arguments import run_watched, training_arguments
from attune_trainer.train.examples import Example, examples, plan_examples, positive_weight
from attune_trainer.train.pairs import read_pairs
from attune_trainer.train.reranker_validation import RerankerSubject, candidates

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from attune_trainer.train.watch import Surroundings, Watch

MIN_PAIRS = 2
LOSSES = (None, "bce")


@dataclass(frozen=True, slots=True)
class TrainedReranker:
    """A trained cross-encoder, its best weights in place."""

    model: "CrossEncoder"
    metrics: TrainingMetrics
    fresh_head: bool
    """The base model had no scoring head of its own."""


def refuse_unsupported_reranking(config: TrainingConfig) -> None:
    """BadConfig for what this version does not train, with what works instead."""
    if config.loss not in LOSSES:
        raise BadConfig(
            f"loss {config.loss!r} is not available for rerankers; leave loss out, or use bce.", reason="NotSupported"
        )
    if config.method != "full":
        raise BadConfig(
            f"method {config.method!r} is not available for rerankers; use method: full.", reason="NotSupported"
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
    rows = examples(pairs, config.seed)
    plan = plan_examples(rows, batch_size=config.batch_size, epochs=config.epochs, seed=config.seed)
    held_out = candidates(read_pairs(snapshot / "validation.jsonl"), pairs, config.seed)

    from attune_trainer.train.watch import Watch

    watch = Watch(model, config, plan, RerankerSubject(model, held_out), around)
    run_watched(_trainer(model, config, rows, watch, scratch), watch, scratch)
    return TrainedReranker(model, watch.metrics(len(pairs)), not cross_encoder.has_head(base))


def _trainer(model: "CrossEncoder", config: TrainingConfig, rows: list[Example], watch: "Watch", scratch: Path) -> Any:
    import torch
    from datasets import Dataset  # type: ignore[import-untyped]
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    from sentence_transformers.cross_encoder.trainer import CrossEncoderTrainer
    from sentence_transformers.cross_encoder.training_args import CrossEncoderTrainingArguments
    from transformers import PrinterCallback

    from attune_trainer.train.feed import ExampleCollator, PlanSampler

    weight = torch.tensor(positive_weight(rows))

    class Trainer(CrossEncoderTrainer):
        """Computes the loss of a planned batch, and tells it to the watch."""

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            del num_items_in_batch
            labels = inputs.pop("labels")
            scores = model(inputs)["scores"].view(-1)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                scores.float(), labels, pos_weight=weight.to(scores.device)
            )
            watch.note_loss(float(loss.detach()), self.state.global_step)
            return (loss, {"scores": scores}) if return_outputs else loss

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            del state_dict
            self.model.save_pretrained(output_dir or str(self.args.output_dir), create_model_card=False)

        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            """No model card: it would read the whole data set to describe it."""

    trainer = Trainer(
        model=model,
        args=training_arguments(
            CrossEncoderTrainingArguments,
            config,
            watch.plan,
            scratch,
            lambda *_, **__: PlanSampler(watch.plan, len(rows)),
        ),
        train_dataset=Dataset.from_dict({"position": list(range(len(rows) * config.epochs))}),
        loss=BinaryCrossEntropyLoss(model),
        data_collator=ExampleCollator(preprocess_fn=model.preprocess, rows=rows),
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
