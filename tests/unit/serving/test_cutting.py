"""Vectors that are cut: to the lengths that a version was trained for, as unit vectors, and to no others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from attune_retrieval.manifest import Manifest
from attune_serving.cutting import cut, lengths_of, shortened
from attune_serving.refusals import Refused


def loaded(dimensions: int | None, *lengths: int) -> Any:
    described = Manifest(
        source="training",
        base_model="b",
        dimensions=dimensions,
        max_sequence_length=32,
        matryoshka_dimensions=lengths or None,
    )
    return SimpleNamespace(name="emb-v2", model=SimpleNamespace(opened=SimpleNamespace(manifest=described)))


def test_the_first_numbers_are_kept_and_have_length_one_again() -> None:
    vectors = np.random.default_rng(1).normal(size=(5, 32)).astype(np.float32)
    found = cut(vectors, 8)
    assert found.shape == (5, 8)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, vectors[:, :8] / np.linalg.norm(vectors[:, :8], axis=1, keepdims=True), atol=1e-6)
    assert cut(vectors, None) is vectors
    assert cut(vectors, 32) is vectors


def test_what_it_was_trained_for_and_the_whole_length_may_be_asked_for() -> None:
    version = loaded(32, 8, 16)
    assert lengths_of(version) == (8, 16, 32)
    assert [shortened(version, asked) for asked in (None, 8, 16, 32)] == [None, 8, 16, 32]
    with pytest.raises(Refused, match="dimensions: 12; vectors of emb-v2 have 8, 16, 32 numbers") as refused:
        shortened(version, 12)
    assert refused.value.status == 400
    with pytest.raises(Refused, match="or train with hyperparameters"):
        shortened(loaded(32), 8)
