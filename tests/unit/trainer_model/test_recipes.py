"""What `attune-trainer run` does where it is not told."""

import pytest
from pydantic import ValidationError

from attune.contract import TrainingConfig
from attune_trainer.recipes import CPU, MATRIX_CPU, chosen

NOT_ASKED = {"epochs": None, "learning_rate": None, "max_sequence_length": None}


def test_without_a_gpu_the_measured_recipe_for_cpus_is_taken() -> None:
    config = chosen("base", NOT_ASKED, {"per_query": None}, machine=CPU)
    assert (config.epochs, config.learning_rate, config.max_sequence_length) == (1, 1e-4, 128)
    assert config.hard_negatives.per_query == 4


def test_with_a_gpu_the_defaults_are_those_of_a_training_job() -> None:
    assert chosen("base", NOT_ASKED, {}, machine={}) == TrainingConfig(base_model="base")


def test_a_cpu_with_matrix_units_does_more_in_the_same_time() -> None:
    config = chosen("base", NOT_ASKED, {}, machine=MATRIX_CPU)
    assert (config.epochs, config.batch_size, config.learning_rate) == (2, 64, 1e-4)


@pytest.mark.parametrize("machine", [{}, CPU, MATRIX_CPU])
def test_what_was_asked_for_is_done(machine: dict[str, object]) -> None:
    config = chosen("base", {**NOT_ASKED, "epochs": 7}, {"per_query": 0}, machine=machine)
    assert (config.epochs, config.hard_negatives.per_query) == (7, 0)


def test_a_value_out_of_bounds_names_the_field() -> None:
    with pytest.raises(ValidationError, match="epochs"):
        chosen("base", {"epochs": 0}, {}, machine=CPU)
