"""What `attune-trainer run` does where it is not told: settings that fit the machine. Called by the CLI.

The API's defaults (three epochs, 512 tokens) are for GPUs; on two cores they would take a day. The recipes for CPUs are the ones
that benchmarks/quality.py measures: a high rate, 128 tokens, four mined negatives; with bf16 instructions larger batches and two epochs.
"""

from typing import Any

from attune.contract import HardNegatives, TrainingConfig

CPU: dict[str, Any] = {"epochs": 1, "learning_rate": 1e-4, "max_sequence_length": 128}
BF16_CPU: dict[str, Any] = CPU | {"epochs": 2, "batch_size": 64}


def chosen(
    base_model: str, asked: dict[str, Any], negatives: dict[str, Any], *, machine: dict[str, Any]
) -> TrainingConfig:
    """The configuration: what was asked for (None: not asked), else the recipe, else the API's default.

    Raises pydantic.ValidationError for a value out of bounds.
    """
    told = {name: value for name, value in asked.items() if value is not None}
    mined = HardNegatives.model_validate({name: value for name, value in negatives.items() if value is not None})
    return TrainingConfig.model_validate({"base_model": base_model, **machine, **told, "hard_negatives": mined})


def sentence(config: TrainingConfig) -> str:
    """One line for the user: what is going to be done."""
    epochs = "1 epoch" if config.epochs == 1 else f"{config.epochs} epochs"
    return (
        f"{epochs} of batches of {config.batch_size} at learning rate {config.learning_rate:g}, "
        f"{config.max_sequence_length} tokens a text, {config.hard_negatives.per_query} mined negatives a pair"
    )


def of_this_machine() -> dict[str, Any]:
    """The recipe that fits; nothing where the API's own defaults do."""
    import torch

    from attune_trainer.hardware import has_bf16

    if torch.cuda.is_available():
        return {}
    return BF16_CPU if has_bf16() else CPU
