"""Two tiny artifacts of two embedding spaces, a collection each, and real serving processes over them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

from artifacts import Made, tiny_artifact, write_sentences
from attune.contract import IndexSpec
from attune_retrieval.artifact import open_verified
from attune_retrieval.index import open_store
from guarded_serving import Guarded
from inference_server import Inference
from serving_process import ServingProcess


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, Made]:
    folder = tmp_path_factory.mktemp("artifacts")
    return tiny_artifact(folder, "emb-v1"), tiny_artifact(folder, "emb-v2", seed=1)


@pytest.fixture
def one(artifacts: tuple[Made, Made]) -> Made:
    return artifacts[0]


@pytest.fixture
def two(artifacts: tuple[Made, Made]) -> Made:
    return artifacts[1]


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory, artifacts: tuple[Made, Made]) -> IndexSpec:
    """Both collections, `c_emb_v1` and `c_emb_v2`, of the same 120 documents."""
    spec = IndexSpec(store="lancedb", uri=f"file://{tmp_path_factory.mktemp('index')}")
    store = open_store(spec)
    for made in artifacts:
        write_sentences(store, made)
    store.close()
    return spec


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., ServingProcess]]:
    started: list[ServingProcess] = []

    def make(name: str = "pod", **settings: str) -> ServingProcess:
        started.append(ServingProcess(tmp_path / name, **settings))
        return started[-1]

    yield make
    for one_ in started:
        one_.kill()


@pytest.fixture
def guarded(
    process: Callable[..., ServingProcess], one: Made, two: Made, index: IndexSpec, tmp_path: Path
) -> Iterator[Guarded]:
    """Not started: `emb-v2` is active, `emb-v1` the previous version. What hangs is waited for a short time only."""
    copied = tmp_path / "index"
    shutil.copytree(index.uri.removeprefix("file://"), copied)
    inference = Inference(open_verified(two.folder, two.digest).encoder).start()
    yield Guarded(process(ATTUNE_GUARD_SECONDS="0.4"), inference, copied, old=one, new=two)
    inference.stop()
