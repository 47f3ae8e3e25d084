"""A loss that asks the beginnings of the vectors the same as the whole ones, so that they may be cut. Put around a loss by `losses`.

Kusupati et al. 2022, Matryoshka Representation Learning; all lengths weigh the same. The stock MatryoshkaLoss runs the model once a
length and decorates its forward pass, which embedding in pieces with recomputation does not survive.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import normalize

from attune_trainer.errors import BadConfig

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


class NestedLoss(torch.nn.Module):
    """The mean of `inner` (that has `compute_loss_from_embeddings`) over whole vectors and their first n numbers, for each n."""

    def __init__(self, inner: torch.nn.Module, dimensions: tuple[int, ...]) -> None:
        super().__init__()
        self.inner = inner
        self.dimensions = dimensions

    def compute_loss_from_embeddings(self, embeddings: list[Tensor], labels: Tensor) -> Tensor:
        total: Tensor = self.inner.compute_loss_from_embeddings(embeddings, labels)  # type: ignore[operator]
        for length in self.dimensions:
            cut = [normalize(vectors[:, :length], dim=1) for vectors in embeddings]
            total = total + self.inner.compute_loss_from_embeddings(cut, labels)  # type: ignore[operator]
        return total / (1 + len(self.dimensions))


def check_dimensions(model: "SentenceTransformer", dimensions: tuple[int, ...] | None) -> None:
    """BadConfig for a length that is not below the model's."""
    whole = int(model.get_embedding_dimension() or 0)
    long = [length for length in dimensions or () if length >= whole]
    if long:
        raise BadConfig(
            f"hyperparameters.matryoshkaDimensions {long[0]}: the base model's vectors have {whole} numbers; give lengths below that."
        )
