"""Trains an embedding model on a snapshot of pairs, with sentence-transformers' trainer. Called by the train stage.

The whole run is one plan of batches made beforehand (`batches`), so that a restart continues at a step of the plan and
gives the same model as a run that was never stopped.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune.contract import TrainingConfig, TrainingMetrics
from attune_trainer import base_model
from attune_trainer.errors import BadConfig, InsufficientData
from attune_trainer.train.arguments import run_watched, training_arguments
from attune_trainer.train.batches import Plan, plan_batches
from attune_trainer.train.losses import embedding_loss
from attune_trainer.train.pairs import Pair, read_pairs, with_negatives
from attune_trainer.train.validation import EmbeddingSubject, validation_set

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer

    from attune_trainer.train.watch import Surroundings, Watch

log = logging.getLogger(__name__)
MIN_PAIRS = 2


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, its best weights in place."""

    model: "SentenceTransformer"
    metrics: TrainingMetrics
    plan: Plan


def refuse_unsupported(config: TrainingConfig) -> None:
    """BadConfig for what this version does not train, with what works instead."""
    if config.method != "full":
        raise BadConfig(f"method {config.method!r} is not available yet; use method: full.", reason="NotSupported")


def train_embedding(
    config: TrainingConfig, snapshot: Path, base: Path, scratch: Path, around: "Surroundings"
) -> Trained:
    """Train `base` on the snapshot. Raises Interrupted after SIGTERM, once a checkpoint is published."""
    refuse_unsupported(config)
    pairs = with_negatives(read_pairs(snapshot / "train.jsonl"), config.seed)
    if len(pairs) < MIN_PAIRS:
        raise InsufficientData(f"{len(pairs)} training pairs are too few to train on; at least {MIN_PAIRS} are needed.")
    model = base_model.load_for(config, base)
    limit = base_model.position_limit(model)
    model.max_seq_length = min(config.max_sequence_length, limit or config.max_sequence_length)
    plan = plan_batches(pairs, batch_size=config.batch_size, epochs=config.epochs, seed=config.seed)
    held_out = validation_set(read_pairs(snapshot / "validation.jsonl"), pairs, config.seed)

    from attune_trainer.train.watch import Watch

    watch = Watch(model, config, plan, EmbeddingSubject(model, held_out), around)
    run_watched(_trainer(model, config, pairs, watch, scratch), watch, scratch)
    return Trained(model, watch.metrics(len(pairs)), plan)


def _trainer(
    model: "SentenceTransformer", config: TrainingConfig, pairs: list[Pair], watch: "Watch", scratch: Path
) -> "SentenceTransformerTrainer":
    from datasets import Dataset  # type: ignore[import-untyped]
    from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments
    from transformers import PrinterCallback

    from attune_trainer.train.feed import PairCollator, PlanSampler

    class Trainer(SentenceTransformerTrainer):
        """Tells every loss to the watch: the stock trainer hides NaN in averages."""

        def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
            result = super().compute_loss(*args, **kwargs)
            loss = result[0] if isinstance(result, tuple) else result
            watch.note_loss(float(loss.detach()), self.state.global_step)
            return result

        def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
            """Weights and tokenizer; not the arguments, which the stock trainer pickles."""
            del state_dict
            self.model.save_pretrained(output_dir or str(self.args.output_dir), create_model_card=False)

        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            """No model card: it would read the whole data set to describe it."""

    trainer = Trainer(
        model=model,
        args=training_arguments(
            SentenceTransformerTrainingArguments,
            config,
            watch.plan,
            scratch,
            lambda *_, **__: PlanSampler(watch.plan, len(pairs)),
        ),
        train_dataset=Dataset.from_dict({"position": list(range(len(pairs) * config.epochs))}),
        loss=embedding_loss(model, config),
        data_collator=PairCollator(
            preprocess_fn=model.preprocess,
            pairs=pairs,
            texts_put_before={role: text or "" for role, text in model.prompts.items()},
        ),
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer
