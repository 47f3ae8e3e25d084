"""Fixtures of the trainer's model half: a tiny BERT, specs to train it by, and stages that were done once."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

from attune.contract import ArtifactRef, HardNegatives, OwnerRef, Stage, StageResult, StageSpec, TrainingConfig
from tiny_bert import build_tiny_model, write_snapshot


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny") / "bert")


@pytest.fixture(scope="session")
def build_model() -> Callable[..., Path]:
    return build_tiny_model


MakeSpec = Callable[..., StageSpec]


def spec_maker(folder: Path, base: Path) -> MakeSpec:
    """Specs on a store and a snapshot in `folder`; keyword arguments change the configuration, `spec_` ones the spec."""
    snapshot = write_snapshot(folder / "snapshot")

    def make(stage: Stage, **changes: Any) -> StageSpec:
        of_spec = {key.removeprefix("spec_"): changes.pop(key) for key in list(changes) if key.startswith("spec_")}
        config = TrainingConfig.model_validate(
            {
                "base_model": str(base),
                "epochs": 2,
                "batch_size": 8,
                "learning_rate": 3e-3,
                "max_sequence_length": 32,
                "precision": "fp32",
            }
            | {"early_stopping_patience": 0, "hard_negatives": HardNegatives(per_query=1)}
            | changes
        )
        return StageSpec.model_validate(
            {
                "stage": stage,
                "owner": OwnerRef(kind="TrainingJob", namespace="news", name="tune", uid="12345678-abcd"),
                "retriever": "news",
                "storage": str(folder / "store"),
                "config": config,
                "dataset": snapshot,
                "model": ArtifactRef(name="emb-v2", uri=str(folder / "store" / "versions" / "emb-v2")),
            }
            | of_spec
        )

    return make


@pytest.fixture(scope="session")
def specs_from() -> Callable[[Path, Path], MakeSpec]:
    """Specs in a folder, from another base model than the tiny one."""
    return spec_maker


@pytest.fixture
def make_spec(tmp_path: Path, tiny_model: Path) -> MakeSpec:
    return spec_maker(tmp_path, tiny_model)


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[MakeSpec, StageResult]:
    """The tiny model, imported by its stage; made once, never changed."""
    return _done(spec_maker(tmp_path_factory.mktemp("imported"), tiny_model), Stage.IMPORT)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> tuple[MakeSpec, StageResult]:
    """The tiny model, trained by its stage until it is clearly better; made once, never changed."""
    return _done(spec_maker(tmp_path_factory.mktemp("trained"), tiny_model), Stage.TRAIN, epochs=8)


def _done(make: MakeSpec, stage: Stage, **changes: Any) -> tuple[MakeSpec, StageResult]:
    from attune_trainer.running import run
    from attune_trainer.signals import Termination

    result = run(make(stage, **changes), Termination(), lambda _: None).result
    assert result.succeeded, result.message
    return make, result


@pytest.fixture(autouse=True)
def scratch_below_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
