"""Builders for the tests of the data half: archives with known properties, a cheap encoder, specs."""

import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stamina

from attune.contract import ArchiveSource, DataSpec, HardNegatives, OwnerRef, Stage, StageSpec, TrainingConfig

Row = dict[str, Any]
_SYLLABLES = ["ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "ri", "so", "tu", "va"]


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Retries happen, without pauses between them."""
    with stamina.set_testing(True, attempts=3):
        yield


def _words(rng: random.Random, count: int) -> list[str]:
    return ["".join(rng.choices(_SYLLABLES, k=3)) for _ in range(count)]


@pytest.fixture
def articles() -> Callable[..., list[Row]]:
    """`articles(n)`: n rows unlike each other, titles made of words of their content, one day apart."""

    def build(count: int, *, seed: int = 7, dated: bool = True, start: int = 0) -> list[Row]:
        rng = random.Random(seed)
        rows = []
        for number in range(start, start + count):
            body = _words(rng, 40)
            row = {"id": f"doc-{number:04d}", "title": " ".join(rng.sample(body, 5)), "content": " ".join(body) + "."}
            if dated:
                row["publishedAt"] = f"2024-{1 + number // 28 % 12:02d}-{1 + number % 28:02d}"
            rows.append(row)
        return rows

    return build


@pytest.fixture
def jsonl(tmp_path: Path) -> Callable[..., str]:
    """`jsonl(rows, name)`: the address of a file with one JSON object a line."""

    def write(rows: list[Row], name: str = "archive.jsonl") -> str:
        path = tmp_path / name
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        return f"file://{path}"

    return write


@pytest.fixture
def spec(tmp_path: Path) -> Callable[..., StageSpec]:
    """`spec(archive, per_query=…, **data)`: a prepare stage that writes to a folder of this test."""

    def build(
        archive: str | ArchiveSource, *, per_query: int = 0, config: dict[str, Any] | None = None, **data: Any
    ) -> StageSpec:
        source = ArchiveSource(uri=archive) if isinstance(archive, str) else archive
        return StageSpec(
            stage=Stage.PREPARE,
            owner=OwnerRef(kind="TrainingJob", namespace="news", name="first", uid="0123456789"),
            retriever="search",
            storage=f"file://{tmp_path}/store",
            config=TrainingConfig(
                base_model="any", hard_negatives=HardNegatives(per_query=per_query), **(config or {})
            ),
            data=DataSpec(archive=source, **{"min_examples": 1, **data}),
        )

    return build


def encode(texts: list[str]) -> np.ndarray:
    """Bags of hashed words, normalized: close texts share words, as with a real model."""
    vectors = np.zeros((len(texts), 256), np.float32)
    for row, text in enumerate(texts):
        for word in re.findall(r"\w+", text.lower()):
            vectors[row, int.from_bytes(hashlib.blake2b(word.encode(), digest_size=4).digest(), "little") % 256] += 1
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


@pytest.fixture
def encoder() -> Callable[[], Callable[[list[str]], np.ndarray]]:
    return lambda: encode


@pytest.fixture
def no_encoder() -> Callable[[], Callable[[list[str]], np.ndarray]]:
    """For runs that must not load a model."""

    def fail() -> Callable[[list[str]], np.ndarray]:
        pytest.fail("the encoder was asked for")

    return fail
