"""Nearest neighbours by blocks are the ones of a full matrix of scores, ties included, in bounded memory."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune_trainer.data import nearest as blocks
from attune_trainer.data.nearest import Wanted, nearest

NOBODY = Wanted(np.empty(0, np.int64), np.empty(0, np.float32))


def brute(queries: np.ndarray, documents: np.ndarray, k: int) -> np.ndarray:
    scores = queries @ documents.T
    positions = np.broadcast_to(np.arange(len(documents)), scores.shape)
    return np.lexsort((positions, -scores), axis=1)[:, :k]


@given(st.integers(1, 40), st.integers(1, 90), st.integers(1, 12), st.integers(0, 10_000))
@settings(max_examples=60)
def test_blocks_find_what_the_full_matrix_finds_whatever_ties(queries, documents, k, seed):
    rng = np.random.default_rng(seed)
    # whole numbers: many equal scores, and no rounding
    asked = rng.integers(-2, 3, (queries, 3)).astype(np.float32)
    vectors = rng.integers(-2, 3, (documents, 3)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "QUERIES_AT_ONCE", 7)
        patch.setattr(blocks, "DOCUMENTS_AT_ONCE", 11)
        found = nearest(asked, vectors, k, NOBODY)
    assert np.array_equal(found.positions, brute(asked, vectors, k))


def test_a_rank_is_the_number_of_documents_that_score_above_the_positive():
    rng = np.random.default_rng(3)
    asked = rng.normal(size=(30, 8)).astype(np.float32)
    vectors = rng.normal(size=(500, 8)).astype(np.float32)
    rows = np.array([4, 4, 29, 0], np.int64)
    positives = np.array([7, 450, 499, 3])
    scores = np.einsum("pd,pd->p", asked[rows], vectors[positives]).astype(np.float32)
    found = nearest(asked, vectors, 5, Wanted(rows, scores))
    expected = [int(((vectors @ asked[row]) > score + 1e-5).sum()) for row, score in zip(rows, scores, strict=True)]
    assert found.ranks.tolist() == expected


def test_there_may_be_fewer_documents_than_asked_for_or_none():
    asked = np.eye(3, dtype=np.float32)
    assert nearest(asked, np.eye(3, dtype=np.float32)[:2], 10, NOBODY).positions.tolist() == [[0, 1], [1, 0], [0, 1]]
    assert nearest(asked, np.empty((0, 3), np.float32), 10, NOBODY).positions.shape == (3, 0)


def test_memory_does_not_grow_with_the_number_of_documents():
    rng = np.random.default_rng(5)
    asked = rng.normal(size=(200, 16)).astype(np.float32)

    def peak(documents: int) -> int:
        vectors = rng.normal(size=(documents, 16)).astype(np.float32)
        tracemalloc.start()
        nearest(asked, vectors, 20, NOBODY)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    small, large = peak(40_000), peak(320_000)
    assert large < 1.2 * small, f"{small} → {large} bytes for eight times the documents"
