"""An API that answers for models, and specs of the stages of provider openai over the tiny snapshot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

from attune.contract import ArtifactRef, OpenAITraining, OwnerRef, Stage, StageResult, StageSpec, TrainingConfig
from attune_retrieval import endpoint
from attune_trainer.hosted import adapter
from openai_server import EMBEDS, TUNABLE, OpenAIServer
from tiny_bert import write_snapshot

UID = "12345678-0000-4000-8000-000000000000"
MakeSpec = Callable[..., StageSpec]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    made = OpenAIServer().start()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of the machine's own, and pauses that a test can wait for."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(endpoint, "LONGEST_PAUSE", 0.3)
    monkeypatch.setattr(adapter, "MOST_LOOKS", 8)


@pytest.fixture
def make_spec(tmp_path: Path, server: OpenAIServer) -> MakeSpec:
    """Keyword arguments are those of OpenAITraining, `spec_` ones of the spec, `config_` ones of the configuration."""
    snapshot = write_snapshot(tmp_path / "snapshot")

    def make(stage: Stage = Stage.TRAIN, **changes: Any) -> StageSpec:
        parts: dict[str, dict[str, Any]] = {"spec_": {}, "config_": {}, "": {}}
        for name, value in changes.items():
            kind = next(prefix for prefix in parts if name.startswith(prefix))
            parts[kind][name.removeprefix(kind)] = value
        model = TUNABLE if parts[""].get("method") == "fineTune" else EMBEDS
        training = OpenAITraining.model_validate({"base_url": server.url, "model": model} | parts[""])
        config = {"base_model": f"openai:{training.model}", "openai": training, "max_sequence_length": 64}
        return StageSpec.model_validate(
            {
                "stage": stage,
                "owner": OwnerRef(kind="TrainingJob", namespace="news", name="tune", uid=UID),
                "retriever": "news",
                "storage": str(tmp_path / "store"),
                "config": TrainingConfig.model_validate(config | parts["config_"]),
                "dataset": snapshot,
                "model": ArtifactRef(name="emb-v2", uri=str(tmp_path / "store" / "versions" / "emb-v2")),
            }
            | parts["spec_"]
        )

    return make


def done(spec: StageSpec) -> StageResult:
    """The stage, run here; whatever comes of it."""
    from attune_trainer.running import run
    from attune_trainer.signals import Termination

    return run(spec, Termination(), lambda _: None).result


@pytest.fixture(name="done")
def done_fixture() -> Callable[[StageSpec], StageResult]:
    return done
