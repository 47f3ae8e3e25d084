"""A tiny exported model for everything here."""

from __future__ import annotations

import os

import pytest

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

from artifacts import Made, tiny_artifact


@pytest.fixture(scope="session")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return tiny_artifact(tmp_path_factory.mktemp("artifact"), "emb-v1")
