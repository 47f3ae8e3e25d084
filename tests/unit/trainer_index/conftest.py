"""A tiny exported model, an archive, and index stages over them in a store of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

from artifacts import Made, tiny_artifact
from attune.contract import (
    ArchiveSource,
    DataSpec,
    IndexSpec,
    IndexWork,
    OwnerRef,
    Stage,
    StageSpec,
    TrainingConfig,
)
from postgres_server import PostgresServer

MakeSpec = Callable[..., StageSpec]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return tiny_artifact(tmp_path_factory.mktemp("artifact"), "emb-v1")


@pytest.fixture(scope="session")
def another(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return tiny_artifact(tmp_path_factory.mktemp("another"), "emb-v2", seed=1)


@pytest.fixture
def make_spec(tmp_path: Path, artifact: Made) -> MakeSpec:
    def make(model: Made = artifact, *, shards: int = 1, index: IndexSpec | None = None, **more: Any) -> StageSpec:
        where = index or IndexSpec(store="lancedb", uri=f"file://{tmp_path}/index")
        known: dict[str, Any] = {
            "stage": Stage.INDEX,
            "owner": OwnerRef(kind="ModelVersion", namespace="news", name=model.name, uid="12345678-abcd"),
            "retriever": "news",
            "storage": str(tmp_path / "store"),
            "config": TrainingConfig(base_model="tiny"),
            "model": model.reference,
            "data": DataSpec(archive=ArchiveSource(uri=str(tmp_path / "archive.jsonl")), min_examples=0),
            "index": IndexWork(index=where, collection="news_1", shards=shards),
        }
        return StageSpec.model_validate(known | more)

    return make
