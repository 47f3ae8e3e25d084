"""What `attune-trainer run` does where it is not told: settings that fit the machine. Called by the CLI.

The API's defaults (three epochs, 512 tokens) are for GPUs; on two cores they would take hours. The recipe for CPUs is the one
that benchmarks/quality.py measures: a high rate, two epochs, 128 tokens, four mined negatives.
"""

from typing import Any

from attune.contract import HardNegatives, TrainingConfig

CPU: dict[str, Any] = {"epochs": 2, "learning_rate": 1e-4, "max_sequence_length": 128}


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

    return {} if torch.cuda.is_available() else CPU
