"""Between the base model and the tuned one: means of their weights, and which of them is kept. Called at the end of training.

A mean of both often ranks better than either, and forgets less of what the base model knew (Wortsman et al. 2022, WiSE-FT, eq. 2:
the weights share * tuned + (1 - share) * base). benchmarks/quality.py measures what it brings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

SHARES = (1.0, 0.9, 0.8)
WORTH = 0.001
"""Of scores as close as this the one nearest to the base model is kept: it has forgotten less."""


@dataclass(frozen=True, slots=True)
class Looks:
    """How a model is looked at as it is: nDCG@10 on the validation set and, None for not at all, on the general set;
    `lowest_general`: below it a model has forgotten too much."""

    validation: Callable[[], float]
    general: Callable[[], float] | None = None
    lowest_general: float | None = None


@dataclass(frozen=True, slots=True)
class Tried:
    """A mean that was looked at: its nDCG@10 on the validation set, and on the general set (None: that was not asked)."""

    share: float
    score: float
    general: float | None = None


def mixed(tuned: Mapping[str, "Tensor"], base: Mapping[str, "Tensor"], share: float) -> dict[str, "Tensor"]:
    """share * tuned + (1 - share) * base; what is no number, or of another shape (a new head), is the tuned model's."""
    import torch

    return {
        name: torch.lerp(base[name].to(value), value, share)
        if name in base and value.is_floating_point() and base[name].shape == value.shape
        else value
        for name, value in tuned.items()
    }


def chosen(tried: list[Tried], lowest_general: float | None) -> Tried:
    """The best on the validation set among those that did not forget; where all did, the one that forgot least.

    `lowest_general`: the nDCG@10 on the general set below which a model has forgotten; None: not asked.
    """
    kept = [one for one in tried if lowest_general is None or one.general is None or one.general >= lowest_general]
    if not kept:
        return max(tried, key=lambda one: (one.general or 0.0, -one.share))
    best = max(one.score for one in kept)
    return min((one for one in kept if one.score >= best - WORTH), key=lambda one: one.share)


@dataclass(frozen=True, slots=True)
class Kept(Tried):
    """The mean that is kept; `of_tuned`: the validation score of the tuned weights alone."""

    of_tuned: float = 0.0


def keep_best_mean(
    model: "Module", base: Mapping[str, "Tensor"], looks: Looks, one_more: Callable[[], None] = lambda: None
) -> Kept:
    """Try the SHARES, leave the chosen weights in `model` and say which. `one_more` is called after each.

    The general set is asked of the best one, and of the next best where that has forgotten too much.
    """
    tuned: dict[str, Any] = {name: value.detach().clone() for name, value in model.state_dict().items()}
    tried = []
    for share in SHARES:
        model.load_state_dict(mixed(tuned, base, share))
        tried.append(Tried(share, looks.validation()))
        one_more()
    best = chosen(tried, looks.lowest_general)
    model.load_state_dict(mixed(tuned, base, best.share))
    while looks.general and best.general is None:
        tried[SHARES.index(best.share)] = replace(best, general=looks.general())
        best = chosen(tried, looks.lowest_general)
        model.load_state_dict(mixed(tuned, base, best.share))
    return Kept(best.share, best.score, best.general, of_tuned=tried[0].score)
