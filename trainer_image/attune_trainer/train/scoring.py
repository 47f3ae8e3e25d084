"""The losses of a reranker over the scores of a planned batch: binary cross-entropy by text, or a softmax over each query's list.

Each process computes the part that its own texts have in the loss of the whole batch; the parts add up to it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attune.contract import TrainingConfig
from attune_trainer.train.batches import Plan
from attune_trainer.train.examples import Example, positive_weight
from attune_trainer.train.world import World

Share = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""(scores, labels, numbers of their lists, step) of this process's texts → its part of the loss."""


def share_of_loss(config: TrainingConfig, rows: Sequence[Example], plan: Plan, world: World) -> Share:
    """The loss that `config.loss` names."""
    if config.loss == "listwise":
        return _listwise(plan, world)
    weight = torch.tensor(positive_weight(rows))

    def by_text(scores: Tensor, labels: Tensor, lists: Tensor, step: int) -> Tensor:
        """Mean over the batch; both kinds of texts weigh the same in all (pos_weight)."""
        del lists
        batch = plan.batches[step].rows
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            scores, labels, pos_weight=weight.to(scores.device), reduction="none"
        )
        return each.sum() * bool(world.share(batch)) / len(batch)

    return by_text


def _listwise(plan: Plan, world: World) -> Share:
    """Mean over the lists of -log softmax(scores)[answer]: ListNet's top-one loss (Cao et al. 2007, 4.2) with one answer a list."""

    def by_list(scores: Tensor, labels: Tensor, lists: Tensor, step: int) -> Tensor:
        batch = plan.batches[step].rows
        if world.size > 1:  # a list may be shared out; its softmax needs the scores of all
            scores, labels, lists = (_together(world, batch, values) for values in (scores, labels, lists))
        _, place = torch.unique(lists, return_inverse=True)
        count = int(place.max()) + 1
        highest = scores.detach().new_full((count,), -torch.inf).scatter_reduce(0, place, scores.detach(), "amax")
        total = scores.new_zeros(count).index_add(0, place, torch.exp(scores - highest[place]))
        log_total = torch.log(total) + highest
        loss = ((log_total[place] - scores) * labels).sum() / count
        # Every process has the whole loss, and the gradient of its own scores alone; reported it is added up, too.
        return loss if world.size == 1 else loss / world.size + (loss - loss.detach()) * (1 - 1 / world.size)

    return by_list


def _together(world: World, batch: Sequence[int], values: Tensor) -> Tensor:
    """The values of all processes, without those that stand in for a process that has none."""
    own = values if world.share(batch) else values[:0]
    return world.gather(own.reshape(-1, 1)).reshape(-1)
