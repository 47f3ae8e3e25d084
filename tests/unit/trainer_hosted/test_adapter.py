"""The linear map over an API's vectors: what it learns, what it leaves alone, and when it is not wanted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from attune_retrieval.hosted import Adapter
from attune_trainer.errors import Diverged
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.hosted import adapter
from attune_trainer.hosted.adapter import Rows, Validation, fit

SIZE, MEANING = 24, 8


def unit(vectors: Any) -> Any:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Data:
    """Texts whose meaning is in the first third of their vectors, and whose noise, in the rest, is louder."""

    def __init__(self, count: int, seed: int, noise: float = 1.2) -> None:
        rng = np.random.default_rng(seed)
        meaning = rng.normal(size=(count, MEANING))

        def heard(weight: float) -> Any:
            return unit(
                np.hstack(
                    [
                        meaning + 0.3 * rng.normal(size=meaning.shape),
                        weight * rng.normal(size=(count, SIZE - MEANING)),
                    ]
                )
            )

        self.queries, self.documents = heard(noise), heard(noise)
        self.names = tuple(f"d{n:03}" for n in range(count))

    def rows(self, right: list[frozenset[int]] | None = None) -> Rows:
        count = len(self.names)
        wrong = np.array([[(n + 1) % count] for n in range(count)])
        return Rows(
            self.queries, self.documents, np.arange(count), wrong, right or [frozenset([n]) for n in range(count)]
        )

    def validation(self) -> Validation:
        queries = {f"q{n}": f"q{n}" for n in range(len(self.names))}
        grades = {f"q{n}": {name: 1} for n, name in enumerate(self.names)}
        return Validation(HeldOut(self.names, self.names, queries, grades), self.queries, self.documents)


def nothing(share: float) -> None:
    """Nobody listens."""


def test_it_learns_to_look_past_the_noise_and_keeps_what_it_learnt_on_texts_it_never_saw() -> None:
    fitted = fit(Data(300, 1).rows(), Data(100, 2).validation(), "both", 42, nothing)
    unseen = Data(150, 3).validation()
    before, after = unseen.ndcg(Adapter(np.eye(SIZE, dtype=np.float32))), unseen.ndcg(fitted.adapter)
    assert after > before + 0.05, (before, after)
    assert fitted.ndcg is not None
    assert fitted.ndcg_before is not None
    assert fitted.ndcg > fitted.ndcg_before
    assert fitted.epoch > 0


def test_an_adapter_of_the_query_side_leaves_documents_as_they_are() -> None:
    fitted = fit(Data(300, 1).rows(), Data(100, 2).validation(), "query", 42, nothing)
    documents = Data(10, 4).documents
    assert np.array_equal(fitted.adapter.map(documents, "document"), documents)
    assert not np.allclose(fitted.adapter.map(documents, "query"), documents, atol=1e-3)
    assert (fitted.ndcg or 0) > (fitted.ndcg_before or 0)


def test_where_nothing_is_better_than_the_vectors_as_they_are_they_stay() -> None:
    clean = Data(100, 2, noise=0.0)
    rng = np.random.default_rng(5)
    lies = Data(200, 1).rows()
    shuffled = Rows(lies.queries, lies.documents, rng.permutation(200), lies.negatives, [frozenset()] * 200)
    fitted = fit(shuffled, clean.validation(), "both", 42, nothing)
    assert fitted.epoch == 0
    assert np.array_equal(fitted.adapter.weight, np.eye(SIZE, dtype=np.float32))
    assert fitted.ndcg == fitted.ndcg_before


def test_equal_data_and_seed_give_equal_maps() -> None:
    one, two = (fit(Data(120, 1).rows(), Data(50, 2).validation(), "both", 7, nothing) for _ in range(2))
    assert np.array_equal(one.adapter.weight, two.adapter.weight)


def test_what_is_known_to_be_right_is_no_negative() -> None:
    """Each document is there twice, and both are right: taken for wrong, one keeps the loss of the other up by log 2."""
    data = Data(60, 1)
    data.documents[30:], data.queries[30:] = data.documents[:30], data.queries[:30]
    both = [frozenset([n % 30, n % 30 + 30]) for n in range(60)]
    rows = Rows(data.queries, data.documents, np.arange(60), np.full((60, 1), -1), both)
    told = fit(rows, None, "both", 42, nothing).loss
    blind = fit(data.rows(), None, "both", 42, nothing).loss
    assert told < blind - 0.3, (blind, told)


def test_without_validation_pairs_it_trains_for_a_fixed_time() -> None:
    fitted = fit(Data(100, 1).rows(), None, "both", 42, nothing)
    assert (fitted.ndcg, fitted.epochs) == (None, 5 * adapter.WITHOUT_VALIDATION[1])
    assert not np.array_equal(fitted.adapter.weight, np.eye(SIZE, dtype=np.float32))


def test_vectors_that_are_no_numbers_end_the_training() -> None:
    data = Data(100, 1)
    data.documents[3, 0] = np.nan
    with pytest.raises(Diverged, match="no number"):
        fit(data.rows(), None, "both", 42, nothing)


def test_a_mapped_vector_has_unit_length() -> None:
    rng = np.random.default_rng(0)
    made = Adapter(rng.normal(size=(SIZE, SIZE)).astype(np.float32)).map(Data(20, 1).documents, "document")
    assert made.dtype == np.float32
    assert np.allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)
