"""Method lora: low-rank adapters beside every linear layer, by peft; at the end they are merged into the weights. Called by both trainers.

The artifact is then an ordinary one. Hu et al. 2021, LoRA: W + (alpha / rank) B A.
"""

from typing import TYPE_CHECKING, Any

from attune.contract import Lora, ModelType, TrainingConfig
from attune_trainer.errors import BadConfig

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder, SentenceTransformer


def add_adapters(model: "SentenceTransformer | CrossEncoder", config: TrainingConfig, kind: ModelType) -> None:
    """With method lora: freeze the weights and put adapters beside them. A reranker's head stays trainable as a whole."""
    if config.method != "lora":
        return
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    asked = config.lora or Lora()
    torch.manual_seed(config.seed)  # the adapters start from the same numbers in every attempt and in every process
    holder: Any = model[0]
    try:
        holder.model = get_peft_model(
            holder.auto_model,
            LoraConfig(
                r=asked.rank,
                lora_alpha=asked.alpha,
                lora_dropout=asked.dropout,
                target_modules="all-linear",
                task_type=TaskType.SEQ_CLS if kind is ModelType.RERANKER else TaskType.FEATURE_EXTRACTION,
            ),
        )
    except (ValueError, AttributeError, TypeError) as error:
        raise BadConfig(
            f"method lora finds no linear layers in this base model ({error}); use method: full.", reason="NotSupported"
        ) from error


def merge_adapters(model: "SentenceTransformer | CrossEncoder", config: TrainingConfig) -> None:
    """Add the adapters to the weights they stand beside; what is left has the base model's layers and no others."""
    if config.method == "lora":
        holder: Any = model[0]
        holder.model = holder.auto_model.merge_and_unload()
        model.requires_grad_(True)
