"""Queries that have the same answer share a batch: it is embedded once, and none is taken for wrong by another."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from attune_trainer.train.batches import plan_batches
from attune_trainer.train.joint_loss import JointLoss
from attune_trainer.train.losses import DIRECTIONS
from attune_trainer.train.pairs import Pair, negative_in

SOME = (("query_to_doc",), ("query_to_doc", "doc_to_query"), DIRECTIONS)


def vectors(seed: int, rows: int) -> torch.Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("directions", SOME)
@pytest.mark.parametrize("columns", [2, 3])
def test_where_no_answer_is_shared_it_is_the_stock_loss(directions: Any, columns: int) -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    embeddings = [vectors(column, 5).requires_grad_() for column in range(columns)]
    stock = MultipleNegativesRankingLoss(None, scale=20.0, directions=directions)  # type: ignore[arg-type]
    expected = stock.compute_loss_from_embeddings(embeddings, torch.zeros(0))
    slopes = torch.autograd.grad(expected, embeddings)
    found = JointLoss(scale=20.0, directions=directions).compute_loss_from_embeddings(embeddings, torch.arange(5))
    torch.testing.assert_close(found, expected)
    for slope, other in zip(torch.autograd.grad(found, embeddings), slopes, strict=True):
        torch.testing.assert_close(slope, other)


def by_hand(embeddings: list[torch.Tensor], place: list[int], directions: tuple[str, ...], scale: float) -> float:
    """Sum by sum, as the formula is written."""
    queries, answers, mined = (torch.nn.functional.normalize(e, dim=1).tolist() for e in embeddings)

    def s(one: list[float], other: list[float]) -> float:
        return math.exp(scale * sum(a * b for a, b in zip(one, other, strict=True)))

    losses = []
    for row, query in enumerate(queries):
        own = answers[place[row]]
        others = [d for d in range(len(answers)) if d != place[row]]
        strangers = [r for r in range(len(queries)) if place[r] != place[row]]
        z = s(query, own) + sum(s(query, answers[d]) for d in others) + sum(s(query, negative) for negative in mined)
        if "query_to_query" in directions:
            z += sum(s(query, queries[r]) for r in strangers)
        if "doc_to_query" in directions:
            z += s(own, query) + sum(s(own, queries[r]) for r in strangers)
        if "doc_to_doc" in directions:
            z += sum(s(own, answers[d]) + s(own, mined[d]) for d in others)
        losses.append(-math.log(s(query, own) / z))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("directions", SOME)
def test_who_asks_for_the_same_is_not_wrong_for_each_other(directions: Any) -> None:
    embeddings = [vectors(0, 6), vectors(1, 3), vectors(2, 3)]
    numbers = [41, 41, 7, 9, 9, 9]
    found = JointLoss(scale=5.0, directions=directions).compute_loss_from_embeddings(embeddings, torch.tensor(numbers))
    assert float(found) == pytest.approx(by_hand(embeddings, [0, 0, 1, 2, 2, 2], directions, 5.0), rel=1e-5)


def test_a_batch_has_each_answer_once(tiny_model: Path) -> None:
    from attune_trainer.base_model import load_model
    from attune_trainer.train.feed import PairCollator

    pairs = [
        Pair("red car", "the car is red", "car", ("house",), ("house",)),
        Pair("tree", "a tree", "tree", ("stone", "river"), ("stone", "river")),
        Pair("car", "the car is red", "car", ("boat", "tree"), ("boat", "tree")),
    ]
    collator = PairCollator(preprocess_fn=load_model(tiny_model).preprocess, pairs=pairs)
    batch = collator([{"position": position} for position in (0, 2, 1)])
    assert [len(batch[f"{column}_input_ids"]) for column in ("anchor", "positive", "negative")] == [3, 2, 2]
    assert batch["label"].tolist() == [0, 0, 1]


def test_mined_negatives_take_turns() -> None:
    title = Pair("title", "text", "d", ("a", "b"), ("A", "B"))
    lead = Pair("lead", "text", "d", ("c",), ("C",))
    assert [negative_in([title, lead], epoch)[0] for epoch in range(6)] == ["A", "C", "B", "C", "A", "C"]
    assert negative_in([title], 1) == ("B", "b")


def test_the_queries_of_a_document_are_in_one_batch_but_not_too_many() -> None:
    pairs = [Pair(f"query {n} {k}", f"text {n}", f"d{n}") for n in range(40) for k in range(3)]
    plan = plan_batches(pairs, batch_size=32, epochs=2, seed=0)
    assert all(len({pairs[row].document for row in group}) == 1 for batch in plan.batches for group in batch.groups)
    assert {len(group) for batch in plan.batches for group in batch.groups} == {3}
    many = [Pair(f"query {k}", "text", "d") for k in range(100)] + [
        Pair(f"o {k}", f"o{k}", f"o{k}") for k in range(400)
    ]
    plan = plan_batches(many, batch_size=32, epochs=1, seed=0)
    assert max(len(group) for batch in plan.batches for group in batch.groups) == 4
    small = plan_batches(pairs, batch_size=8, epochs=1, seed=0)
    assert {len(group) for batch in small.batches for group in batch.groups} == {1}, "a batch of 8 needs 8 documents"


def test_a_loss_that_knows_of_no_shared_answers_gets_none() -> None:
    pairs = [Pair(f"query {n} {k}", f"text {n}", f"d{n}") for n in range(40) for k in range(3)]
    for batch in plan_batches(pairs, batch_size=32, epochs=1, seed=0, apart=True).batches:
        assert len({pairs[row].document for row in batch.rows}) == len(batch.rows)
