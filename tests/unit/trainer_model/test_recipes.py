"""What `attune-trainer run` does where it is not told."""

import pytest
import torch
from pydantic import ValidationError

from attune.contract import TrainingConfig
from attune_trainer.hardware import has_bf16, precision_of
from attune_trainer.recipes import CPU, chosen

NOT_ASKED = {"epochs": None, "learning_rate": None, "max_sequence_length": None}


def test_without_a_gpu_the_measured_recipe_for_cpus_is_taken() -> None:
    config = chosen("base", NOT_ASKED, {"per_query": None}, machine=CPU)
    assert (config.epochs, config.learning_rate, config.max_sequence_length) == (2, 1e-4, 128)
    assert config.hard_negatives.per_query == 4


def test_with_a_gpu_the_defaults_are_those_of_a_training_job() -> None:
    assert chosen("base", NOT_ASKED, {}, machine={}) == TrainingConfig(base_model="base")


@pytest.mark.parametrize("machine", [{}, CPU])
def test_what_was_asked_for_is_done(machine: dict[str, object]) -> None:
    config = chosen("base", {**NOT_ASKED, "epochs": 7}, {"per_query": 0}, machine=machine)
    assert (config.epochs, config.hard_negatives.per_query) == (7, 0)


@pytest.mark.parametrize(
    ("found", "bf16"), [({"amx_bf16": True}, True), ({"avx512_bf16": True}, True), ({"avx2": True}, False)]
)
def test_bf16_is_taken_where_the_processor_has_instructions_for_it(monkeypatch, found, bf16) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert has_bf16() is bf16
    assert precision_of(TrainingConfig(base_model="base")) == ("bf16" if bf16 else "fp32")


def test_a_value_out_of_bounds_names_the_field() -> None:
    with pytest.raises(ValidationError, match="epochs"):
        chosen("base", {"epochs": 0}, {}, machine=CPU)
