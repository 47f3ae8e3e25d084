"""Watches a training run step by step: progress, validation, early stopping, checkpoints, SIGTERM. The trainer calls.

What it must remember across a restart is one small value (`Memory`) that travels in the checkpoint beside the weights.
"""

import math
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from typing_extensions import override

from attune.contract import TrainingConfig, TrainingMetrics
from attune_trainer.errors import Diverged, Interrupted
from attune_trainer.hardware import in_full_precision
from attune_trainer.reporting import Reporter
from attune_trainer.signals import Termination
from attune_trainer.train import weights
from attune_trainer.train.batches import Plan
from attune_trainer.train.checkpoints import Checkpoints
from attune_trainer.train.curve import Curve
from attune_trainer.train.stall import StallGuard
from attune_trainer.train.validation import Score, Subject, chance
from attune_trainer.train.world import ALONE, World

if TYPE_CHECKING:
    from torch.nn import Module

CHECKPOINT_SECONDS = 300.0
SMOOTHING = 0.95
COLLAPSED_SPREAD = 0.02
"""Collapsed: documents differ by less than this share of what they did, and rank no better for it."""
MEMORY, BEST = "attune_memory.json", "best.safetensors"


@dataclass
class Memory:
    """The state of a run besides weights, optimizer and random numbers."""

    best_step: int = 0
    best_score: float = -1.0
    best_queries: list[float] = field(default_factory=list)
    """The same of each validation query."""
    base_score: float = -1.0
    """Of the untrained model."""
    reference: float = -1.0
    """Score of the last improvement that counted (minImprovement)."""
    stale: int = 0
    """Evaluations since then."""
    base_similarity: float | None = None
    looked_at: int = -1
    """Step of the last look at the validation set; behind the current one when SIGTERM came between."""
    loss: float | None = None
    epoch_losses: list[float] = field(default_factory=list)
    steps: int = 0
    """Optimizer steps done."""
    seconds: float = 0.0
    stopped_early: bool = False

    def save(self, path: Path) -> None:
        path.write_bytes(TypeAdapter(Memory).dump_json(self))

    @staticmethod
    def load(path: Path) -> "Memory":
        return TypeAdapter(Memory).validate_json(path.read_bytes())

    def note_loss(self, loss: float) -> None:
        self.loss = loss if self.loss is None else SMOOTHING * self.loss + (1 - SMOOTHING) * loss
        self.epoch_losses.append(loss)

    def note_score(
        self, step: int, score: Score, min_improvement: float, *, last: bool = False, patience: int = 0
    ) -> bool:
        """Take in a look at the validation set; True where these weights are to be kept: the best so far.

        The `last` ones, and those at which `patience` (0: endless) runs out, also where others were better by no more than chance gives
        (min_improvement, or two standard errors) and they are better than the untrained model: in the middle of a run weights wander.
        """
        self.looked_at, ndcg = step, score.ndcg
        if step == 0:
            self.base_score = ndcg
        if ndcg >= self.reference + min_improvement or self.reference < 0:
            self.reference, self.stale = ndcg, 0
        else:
            self.stale += 1
        ends = last or (patience > 0 and self.stale >= patience)
        by_chance = max(min_improvement, chance(self.best_queries, score.queries))
        settled = ends and ndcg > self.base_score and ndcg > self.best_score - by_chance
        if ndcg <= self.best_score and not settled:
            return False
        self.best_step, self.best_score, self.best_queries = step, ndcg, list(score.queries)
        return True


@dataclass(frozen=True)
class Surroundings:
    """What a run needs from outside: where to report, when to end, where checkpoints go, who trains with it."""

    reporter: Reporter
    termination: Termination
    checkpoints: Checkpoints
    world: World = ALONE
    guard: StallGuard | None = None
    curve: Curve = field(default_factory=Curve)

    def check(self) -> None:
        """A sign of life from within something long; Interrupted if the end was asked for."""
        self.beat("while it looked at the validation set")
        self.termination.check()

    def beat(self, doing: str) -> None:
        if self.guard is not None:
            self.guard.beat(doing)


class Watch(TrainerCallback):
    """Steers one run of the trainer."""

    def __init__(
        self,
        model: "Module",
        config: TrainingConfig,
        plan: Plan,
        subject: Subject,
        around: Surroundings,
    ) -> None:
        self.model = model
        self.config = config
        self.plan = plan
        self.subject = subject
        self.around = around
        self.memory = Memory()
        self.best: dict[str, Any] | None = None
        self.started = self.saved = time.monotonic()
        self.first_step = 0

    # ---- called by the trainer ----

    @override
    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The first look (what the base model can do), or the one that SIGTERM cut off."""
        self.first_step = state.global_step
        self.started = self.saved = time.monotonic()
        if self._look_is_due(state.global_step) and self.memory.looked_at < state.global_step:
            self._look(state.global_step)
            self._stop_if_stale(state.global_step, control)
            self.saved = time.monotonic()

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        step = self.memory.steps = state.global_step
        first = self.around.world.first
        self.around.beat(f"after step {step} of {self.plan.steps}")
        self._report(step)
        if self._look_is_due(step):
            # A look that SIGTERM cuts off is taken again by the next pod.
            with suppress(Interrupted):
                self._look(step)
            control.should_save = first
            self._stop_if_stale(step, control)
        # At the end without validation pairs, too: what was trained to its end is not trained again.
        if step == self.plan.steps or time.monotonic() - self.saved > CHECKPOINT_SECONDS:
            control.should_save = first
        if self.around.world.any(self.around.termination.requested):
            control.should_save, control.should_training_stop = first, True

    @override
    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """The trainer has written its part of the checkpoint; add ours and publish it."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        memory = Memory(**asdict(self.memory))
        memory.seconds += time.monotonic() - self.started
        memory.save(folder / MEMORY)
        self.around.curve.save(folder)
        if self.best is not None:
            from safetensors.torch import save_file

            save_file(self.best, folder / BEST)
        self.around.checkpoints.publish(folder, state.global_step)
        self.around.beat(f"after the checkpoint of step {state.global_step}")
        self.saved = time.monotonic()

    # ---- called by embedding ----

    def recall(self, folder: Path) -> None:
        """Take up what a checkpoint remembers."""
        self.memory = Memory.load(folder / MEMORY)
        self.around.curve.load(folder)
        if (folder / BEST).is_file():
            from safetensors.torch import load_file

            self.best = load_file(folder / BEST)

    def take_over(self, folder: Path) -> None:
        """All steps were done before the restart: load the weights, and look at them if that was cut off."""
        weights.load(self.model, folder)
        if self._look_is_due(self.steps_done) and self.memory.looked_at < self.steps_done:
            self._look(self.steps_done)

    def note_loss(self, loss: float, step: int) -> None:
        """Take in the loss of a step; Diverged where it is no number."""
        if not math.isfinite(loss):
            settings = f"learningRate {self.config.learning_rate:g}, precision {self.config.precision}"
            raise Diverged(
                f"the loss became {loss} at step {step + 1} of {self.plan.steps} ({settings}); "
                "lower the learning rate, or use precision fp32.",
                reason="LossNotFinite",
            )
        if step in self.plan.epoch_ends:
            self.memory.epoch_losses.clear()
        self.memory.note_loss(loss)
        self.around.curve.note_loss(step + 1, self.plan.epochs_at(step + 1), loss)

    def restore_best(self) -> None:
        """Put the weights of the best look back into the model."""
        if self.best is not None:
            weights.put_back(self.model, self.best)

    @property
    def steps_done(self) -> int:
        return self.memory.steps

    @property
    def finished(self) -> bool:
        """Whether the plan is done, or was ended early for want of improvement."""
        return self.memory.stopped_early or (
            self.steps_done >= self.plan.steps
            and (not self.subject.validated or self.memory.looked_at >= self.plan.steps)
        )

    def metrics(self, pairs: int) -> TrainingMetrics:
        """What the run reports of itself."""
        losses = self.memory.epoch_losses
        return TrainingMetrics(
            loss=sum(losses) / len(losses) if losses else None,
            epochs=self.plan.epochs_at(self.steps_done),
            training_examples=pairs,
            training_duration_seconds=round(self.seconds, 1),
            best_epoch=self.plan.epochs_at(self.memory.best_step) if self.subject.validated else None,
            validation_ndcg_at10=self.memory.best_score if self.subject.validated else None,
        )

    @property
    def seconds(self) -> float:
        return self.memory.seconds + time.monotonic() - self.started

    # ---- inside ----

    def _look_is_due(self, step: int) -> bool:
        return self.subject.validated and (step in self.plan.epoch_ends or step == 0)

    def _stop_if_stale(self, step: int, control: TrainerControl) -> None:
        patience = self.config.early_stopping_patience
        if patience and self.memory.stale >= patience and step < self.plan.steps:
            self.memory.stopped_early = True
            control.should_training_stop = True

    def _look(self, step: int) -> None:
        if not self.subject.validated:
            return
        training = self.model.training
        self.model.eval()
        try:
            with in_full_precision(self.model):
                score = self.around.world.from_first(lambda: self.subject.look(self.around.check))
        finally:
            self.model.train(training)
        self._refuse_collapse(score, step)
        self.around.curve.note_look(step, self.plan.epochs_at(step), score.ndcg)
        last, patience = step == self.plan.steps, self.config.early_stopping_patience
        if self.memory.note_score(step, score, self.config.min_improvement, last=last, patience=patience):
            self.best = weights.trained_state(self.model) if self.around.world.first else None

    def _refuse_collapse(self, score: Score, step: int) -> None:
        if self.memory.base_similarity is None:
            self.memory.base_similarity = score.similarity
        spread, before = 1 - score.similarity, 1 - self.memory.base_similarity
        if step > 0 and spread < COLLAPSED_SPREAD * before and score.ndcg < self.memory.best_score:
            raise Diverged(
                f"{self.subject.collapsed} at step {step} of {self.plan.steps}: {self.subject.alike} "
                f"{score.similarity:.4f}, it was {self.memory.base_similarity:.4f}; lower learningRate "
                f"({self.config.learning_rate:g}) or check the pairs.",
                reason=self.subject.reason,
            )

    def _report(self, step: int) -> None:
        elapsed = max(1e-9, time.monotonic() - self.started)
        done = sum(len(batch.rows) for batch in self.plan.batches[self.first_step : step])
        steps_per_second = (step - self.first_step) / elapsed
        self.around.reporter.update(
            5 + 75 * step / self.plan.steps,
            epoch=self.plan.epochs_at(step),
            step=step,
            loss=self.memory.loss,
            examples_per_second=done / elapsed,
            estimated_remaining_seconds=(self.plan.steps - step) / steps_per_second * 1.1 if steps_per_second else None,
        )
