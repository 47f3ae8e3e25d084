"""What both trainers (embedding, reranker) do otherwise than the stock one. Mixed into them; needs the trainer's libraries.

One step is the same on one process and on many: each computes its share, then the gradients are added up (`world`).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from attune_trainer.train import weights

if TYPE_CHECKING:
    from attune_trainer.train.watch import Watch


class Steered:
    """Put before the stock trainer's class; `watch` is set before training begins."""

    watch: "Watch"
    model: Any
    args: Any
    state: Any

    def training_step(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        world = self.watch.around.world
        if world.size > 1:
            self._seed_step()
        loss = super().training_step(model, *args, **kwargs)  # type: ignore[misc]
        world.add_up(p.grad for p in self.model.parameters() if p.grad is not None)
        return loss

    def _seed_step(self) -> None:
        """Dropout by step and process: a restart, on however many nodes, needs no state of random numbers of each."""
        import torch

        world = self.watch.around.world
        torch.manual_seed((self.watch.config.seed * 1_000_003 + self.state.global_step) * 4096 + world.rank)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """What is trained; not the arguments, which the stock trainer pickles, nor what is frozen."""
        del state_dict
        weights.save(self.model, Path(output_dir or str(self.args.output_dir)))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        del model
        weights.load(self.model, Path(resume_from_checkpoint))

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """No model card: it would read the whole data set to describe it."""
