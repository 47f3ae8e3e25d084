"""The contrastive losses of an embedding model, by their names in the API. Called by `embedding`."""

import copy
from typing import TYPE_CHECKING

from attune.contract import TrainingConfig
from attune_trainer.errors import BadConfig
from attune_trainer.train.world import ALONE, World

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

SCALE = 20.0
DIRECTIONS = ("query_to_doc", "query_to_query", "doc_to_query", "doc_to_doc")
"""Queries are also pushed from other queries and documents from other documents (Li et al. 2023, GTE, eq. 3): more is
learnt from the same batch, at no cost, because all the vectors are there anyway."""
GUIDED_MARGIN = 0.05


def embedding_loss(model: "SentenceTransformer", config: TrainingConfig, world: World = ALONE) -> "torch.nn.Module":
    """The loss that `config.loss` names. Raises BadConfig for one that does not train embeddings."""
    from sentence_transformers.sentence_transformer import losses

    match config.loss:
        case None | "multipleNegativesRanking" | "cachedMultipleNegativesRanking":
            from attune_trainer.train.contrastive import ContrastiveLoss
            from attune_trainer.train.joint_loss import JointLoss

            inner = JointLoss(scale=SCALE, directions=DIRECTIONS)
            always = config.loss == "cachedMultipleNegativesRanking"
            return ContrastiveLoss(model, nested(inner, config), world, always_recompute=always)
        case "guided":
            if world.size > 1 or config.matryoshka_dimensions:
                raise BadConfig(
                    "loss guided trains in one process and whole vectors only; use multipleNegativesRanking, or compute.nodes: 1 "
                    "without processesPerNode and matryoshkaDimensions.",
                    reason="NotSupported",
                )
            guide = copy.deepcopy(model).eval().requires_grad_(False)
            return losses.GISTEmbedLoss(
                model, guide, temperature=1 / SCALE, margin_strategy="relative", margin=GUIDED_MARGIN
            )
        case other:
            raise BadConfig(
                f"loss {other!r} does not train embeddings; use multipleNegativesRanking, "
                "cachedMultipleNegativesRanking or guided."
            )


def nested(inner: "torch.nn.Module", config: TrainingConfig) -> "torch.nn.Module":
    """The same loss over shortened vectors as well, where matryoshkaDimensions asks for that."""
    if not config.matryoshka_dimensions:
        return inner
    from attune_trainer.train.matryoshka import NestedLoss

    return NestedLoss(inner, config.matryoshka_dimensions)
