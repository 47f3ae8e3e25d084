"""The contrastive loss over a batch embedded in pieces of similar length. Made by `losses`; needs torch.

The stock losses pad all texts of a batch, queries too, to its longest document. Here the texts of all columns are sorted by
length and embedded a few thousand tokens at a time: the same vectors and gradients (up to dropout), several times faster on
a CPU. Pieces whose activations would not fit are embedded again in the backward pass (Chen et al. 2016;
for contrastive batches Gao et al. 2021, GradCache), so memory does not grow with the batch.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from attune_trainer.train.pieces import cheapest_pieces
from attune_trainer.train.world import ALONE, World

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TOKENS_CPU, TOKENS_GPU = 2048, 16384
"""Of a piece, at most."""
OWN_COST_CPU, OWN_COST_GPU = 200, TOKENS_GPU
"""What a piece costs beside its tokens, in tokens. On two cores 200 and 300 gave the fastest steps, with 60 they took 2% longer, with as
few pieces as possible 7%. On a GPU, where a small piece leaves most of it idle: as few as possible."""
MEMORY_CPU, SHARE_OF_GPU = 1.5 * 2**30, 0.4
BYTES_PER_TOKEN_LAYER_AND_DIMENSION = 100
"""Activations kept for the backward pass, measured on BERT in float32; in bf16 half of it."""


class ContrastiveLoss(torch.nn.Module):
    """`inner` (a loss that has `compute_loss_from_embeddings`) over vectors that are computed economically.

    With several processes it is the loss of the whole batch in each of them (`world`). `spare`: this process has no row of the
    batch, which has fewer rows than there are processes; what it is given stands in and does not count.
    """

    def __init__(
        self,
        model: "SentenceTransformer",
        inner: torch.nn.Module,
        world: World = ALONE,
        *,
        always_recompute: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.inner = inner
        self.world = world
        self.spare = False
        self.always_recompute = always_recompute

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        columns = list(sentence_features)
        if all("input_ids" in column and column["input_ids"].ndim == 2 for column in columns):
            own = self.embed(columns)
        else:  # a model without a row of tokens a text, as static embeddings
            own = [self.model(dict(column))["sentence_embedding"] for column in columns]
        return self.of_all(own, labels)

    def of_all(self, own: list[Tensor], labels: Tensor) -> Tensor:
        """The loss of the whole batch, from this process's vectors (one tensor a column), the numbers of its rows' documents, and the
        others'."""
        if self.spare:
            own, labels = [vectors[:0] for vectors in own], labels[:0]
        together = [self.world.gather(vectors) for vectors in own]
        numbers = self.world.gather(labels.reshape(-1, 1)).reshape(-1)
        loss: Tensor = self.inner.compute_loss_from_embeddings(together, numbers)  # type: ignore[operator]
        return loss

    def embed(self, columns: list[dict[str, Tensor]]) -> list[Tensor]:
        """One tensor (rows x dimensions) a column."""
        names = [name for name, value in columns[0].items() if isinstance(value, Tensor) and value.ndim == 2]
        width = max(column["input_ids"].shape[1] for column in columns)
        merged = {name: torch.cat([self._padded(column[name], name, width) for column in columns]) for name in names}
        lengths = merged["attention_mask"].sum(dim=1).tolist()
        on_gpu = merged["input_ids"].is_cuda
        most, own_cost = (TOKENS_GPU, OWN_COST_GPU) if on_gpu else (TOKENS_CPU, OWN_COST_CPU)
        pieces = cheapest_pieces(lengths, most=most, own_cost=own_cost)
        left = 0.0 if self.always_recompute else self._memory(merged["input_ids"])
        vectors = []
        for piece in pieces:  # as many as fit keep what the backward pass needs; only the others are computed again
            needed = self._activations(piece, lengths)
            vectors.append(self._forward(self._cut(merged, piece, lengths), recompute=needed > left))
            left -= needed if needed <= left else 0.0
        order = torch.tensor([index for piece in pieces for index in piece], device=vectors[0].device)
        back = torch.cat(vectors)[torch.argsort(order)]
        return list(torch.split(back, [column["input_ids"].shape[0] for column in columns]))

    def _forward(self, features: dict[str, Tensor], *, recompute: bool) -> Tensor:
        def vectors(inputs: dict[str, Tensor]) -> Tensor:
            found: Tensor = self.model(dict(inputs))["sentence_embedding"]
            return found

        if recompute and torch.is_grad_enabled():
            return checkpoint(vectors, features, use_reentrant=False)
        return vectors(features)

    @property
    def _tokenizer(self) -> Any:
        return self.model.tokenizer

    def _padded(self, values: Tensor, name: str, width: int) -> Tensor:
        missing = width - values.shape[1]
        fill = (self._tokenizer.pad_token_id or 0) if name == "input_ids" else 0
        sides = (missing, 0) if self._tokenizer.padding_side == "left" else (0, missing)
        return torch.nn.functional.pad(values, sides, value=fill)

    def _cut(self, merged: dict[str, Tensor], piece: list[int], lengths: list[int]) -> dict[str, Tensor]:
        width = max(lengths[index] for index in piece)
        rows = torch.tensor(piece, device=merged["input_ids"].device)
        left = self._tokenizer.padding_side == "left"
        return {name: values[rows][:, -width:] if left else values[rows][:, :width] for name, values in merged.items()}

    def _activations(self, piece: list[int], lengths: list[int]) -> float:
        config = getattr(getattr(self.model[0], "auto_model", None), "config", None)
        size = getattr(config, "num_hidden_layers", 12) * getattr(config, "hidden_size", 768)
        tokens = len(piece) * max(lengths[index] for index in piece)
        halved = torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
        return float(tokens * size * BYTES_PER_TOKEN_LAYER_AND_DIMENSION) / (2 if halved else 1)

    @staticmethod
    def _memory(on: Tensor) -> float:
        if on.is_cuda:
            return SHARE_OF_GPU * torch.cuda.get_device_properties(on.device).total_memory
        return MEMORY_CPU
