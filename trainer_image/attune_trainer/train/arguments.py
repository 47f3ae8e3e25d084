"""How sentence-transformers' trainers are told to run, and the run itself: the same for embeddings and rerankers."""

import logging
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from attune.contract import TrainingConfig
from attune_trainer.hardware import keep_memory, precision_of, suited
from attune_trainer.train.batches import Plan

if TYPE_CHECKING:
    from attune_trainer.train.watch import Surroundings, Watch

log = logging.getLogger(__name__)
A = TypeVar("A")
WARMUP_SHARE = 0.1


def run_watched(trainer: Any, watch: "Watch", scratch: Path) -> None:
    """From the newest checkpoint, where there is one, to the best weights. Raises Interrupted once a checkpoint is published."""
    around, checkpoint = watch.around, _newest_checkpoint(watch.around, scratch / "run")
    done = False
    if checkpoint is not None:
        step, folder = checkpoint
        log.info("going on from the checkpoint of step %d of %d", step, watch.plan.steps)
        watch.recall(folder)
        done = watch.steps_done >= watch.plan.steps or watch.memory.stopped_early
        if done:
            watch.take_over(folder)
    if not done:
        keep_memory()
        guarded = around.guard.watching() if around.guard is not None else nullcontext()
        with around.termination.defer(), guarded, suited(watch.model, precision_of(watch.config)):
            trainer.train(resume_from_checkpoint=str(checkpoint[1]) if checkpoint else None)
        # What was wrapped for mixed precision would compute in it for good, and be exported by it.
        trainer.accelerator.unwrap_model(watch.model, keep_fp32_wrapper=False)
    if around.world.any(around.termination.requested) and not watch.finished:
        saved = f"the checkpoint of step {watch.steps_done} of {watch.plan.steps} is published"
        raise around.termination.interrupted(saved=saved)
    watch.restore_best()


def _newest_checkpoint(around: "Surroundings", scratch: Path) -> tuple[int, Path] | None:
    """All processes go on from the same one: that which process 0 finds."""
    found = around.world.from_first(lambda: around.checkpoints.newest(scratch))
    if found is None or around.world.first:
        return found
    return around.checkpoints.at(found[0], scratch)


def training_arguments(
    kind: Callable[..., A], config: TrainingConfig, plan: Plan, scratch: Path, batch_sampler: Any
) -> A:
    """Arguments of the class `kind`; BadConfig for a precision that this machine does not have."""
    import torch

    os.environ.update(HF_HUB_DISABLE_TELEMETRY="1", WANDB_DISABLED="true", DISABLE_MLFLOW_INTEGRATION="TRUE")
    cuda = torch.cuda.is_available()
    precision = precision_of(config)
    arguments: Any = kind(
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
    chosen: A = arguments
    return chosen
