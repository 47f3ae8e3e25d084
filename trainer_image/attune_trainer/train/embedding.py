"""Trains an embedding model on a snapshot of pairs, with sentence-transformers' trainer. Called by the train stage.

The whole run is one plan of batches made beforehand (`batches`), so that a restart continues at a step of the plan and
gives the same model as a run that was never stopped.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune.contract import TrainingConfig, TrainingMetrics
from attune_trainer import base_model
from attune_trainer.errors import BadConfig, InsufficientData
from attune_trainer.train.batches import Plan, plan_batches
from attune_trainer.train.losses import embedding_loss
from attune_trainer.train.pairs import Pair, read_pairs, with_negatives
from attune_trainer.train.validation import validation_set

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

    from attune_trainer.train.watch import Surroundings, Watch

log = logging.getLogger(__name__)
WARMUP_SHARE = 0.1
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

    watch = Watch(model, config, plan, held_out, around)
    _run(_trainer(model, config, pairs, watch, scratch), watch, scratch)
    if around.termination.requested and not watch.finished:
        saved = f"the checkpoint of step {watch.steps_done} of {plan.steps} is published"
        raise around.termination.interrupted(saved=saved)
    watch.restore_best()
    return Trained(model, watch.metrics(len(pairs)), plan)


def _run(trainer: "SentenceTransformerTrainer", watch: "Watch", scratch: Path) -> None:
    checkpoint = watch.around.checkpoints.newest(scratch / "run")
    if checkpoint is not None:
        step, folder = checkpoint
        log.info("going on from the checkpoint of step %d of %d", step, watch.plan.steps)
        watch.recall(folder)
        if watch.steps_done >= watch.plan.steps or watch.memory.stopped_early:
            watch.take_over(folder)
            return
    with watch.around.termination.defer():
        trainer.train(resume_from_checkpoint=str(checkpoint[1]) if checkpoint else None)


def _trainer(
    model: "SentenceTransformer", config: TrainingConfig, pairs: list[Pair], watch: "Watch", scratch: Path
) -> "SentenceTransformerTrainer":
    from datasets import Dataset  # type: ignore[import-untyped]
    from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
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
        args=_arguments(config, watch.plan, scratch, lambda *_, **__: PlanSampler(watch.plan, len(pairs))),
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


def _arguments(
    config: TrainingConfig, plan: Plan, scratch: Path, batch_sampler: Any
) -> "SentenceTransformerTrainingArguments":
    import torch
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", WANDB_DISABLED="true", DISABLE_MLFLOW_INTEGRATION="TRUE")
    cuda = torch.cuda.is_available()
    precision = config.precision
    if precision == "auto":
        precision = "bf16" if cuda and torch.cuda.is_bf16_supported() else "fp32"
    if precision == "fp16" and not cuda:
        raise BadConfig("precision fp16 needs a GPU, and there is none; use auto, or ask for one in compute.resources.")
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(scratch / "run"),
        max_steps=plan.steps,
        per_device_train_batch_size=config.batch_size,
        batch_sampler=batch_sampler,
        learning_rate=config.learning_rate,
        warmup_steps=min(config.warmup_steps, int(plan.steps * WARMUP_SHARE)),
        weight_decay=0.01,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not cuda,
        dataloader_pin_memory=cuda,
        seed=config.seed,
        save_strategy="no",
        save_total_limit=1,
        eval_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    # One process, one GPU: with more in sight the trainer would fall back to DataParallel, which splits our batches.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments
