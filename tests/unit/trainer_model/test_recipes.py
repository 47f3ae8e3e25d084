"""What `attune-trainer run` does where it is not told."""

import pytest
from pydantic import ValidationError

from attune.contract import TrainingConfig
from attune_trainer.recipes import chosen

NOT_ASKED = {"epochs": None, "learning_rate": None, "max_sequence_length": None}


def test_without_a_gpu_the_measured_recipe_for_cpus_is_taken() -> None:
    config = chosen("base", NOT_ASKED, {"per_query": None}, gpu=False)
    assert (config.epochs, config.learning_rate, config.max_sequence_length) == (1, 1e-4, 128)
    assert config.hard_negatives.per_query == 4


def test_with_a_gpu_the_defaults_are_those_of_a_training_job() -> None:
    assert chosen("base", NOT_ASKED, {}, gpu=True) == TrainingConfig(base_model="base")


@pytest.mark.parametrize("gpu", [True, False])
def test_what_was_asked_for_is_done(gpu: bool) -> None:
    config = chosen("base", {**NOT_ASKED, "epochs": 7}, {"per_query": 0}, gpu=gpu)
    assert (config.epochs, config.hard_negatives.per_query) == (7, 0)


def test_a_value_out_of_bounds_names_the_field() -> None:
    with pytest.raises(ValidationError, match="epochs"):
        chosen("base", {"epochs": 0}, {}, gpu=False)
