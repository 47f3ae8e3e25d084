"""Training without dropout. Called before embedding models and rerankers are trained."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.nn import Module


def without_dropout(model: "Module") -> None:
    """Dropout is no help in a few passes over pairs, and on a CPU its random numbers take a large part of a step."""
    import torch

    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(getattr(module, "attention_dropout", None), float):  # architectures that hand it to the kernel
            module.attention_dropout = 0.0  # type: ignore[assignment]
