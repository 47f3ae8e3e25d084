"""The plan of batches: nothing contradicts itself inside a batch, nothing is lost, and it is the same everywhere."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from attune_trainer.train.batches import plan_batches
from attune_trainer.train.pairs import Pair, with_negatives

documents = st.integers(0, 12).map(lambda n: f"d{n}")
rows = st.lists(
    st.builds(
        lambda query, document, negatives: Pair(
            f"q{query}", f"text of {document}", document, tuple(f"text of {n}" for n in negatives), tuple(negatives)
        ),
        st.integers(0, 20),
        documents,
        st.lists(documents, max_size=3, unique=True),
    ).filter(lambda pair: pair.document not in pair.negative_documents),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60)
@given(rows, st.integers(2, 40))
def test_no_two_rows_of_a_batch_contradict_each_other(pairs: list[Pair], size: int) -> None:
    for batch in plan_batches(pairs, batch_size=size, epochs=2, seed=1).batches:
        groups = [[pairs[row] for row in group] for group in batch.groups]
        chosen = [pair for group in groups for pair in group]
        positives = [group[0].document for group in groups]
        assert len(chosen) <= size
        assert all(
            {pair.document for pair in group} == {document} for group, document in zip(groups, positives, strict=True)
        )
        assert len(set(positives)) == len(positives), "a document is there once, for all its rows"
        assert len({(pair.query, pair.document) for pair in chosen}) == len({pair.query for pair in chosen})
        assert not set(positives) & {name for pair in chosen for name in pair.negative_documents}


@settings(max_examples=40)
@given(rows, st.integers(2, 40))
def test_every_row_is_seen_once_an_epoch(pairs: list[Pair], size: int) -> None:
    plan = plan_batches(pairs, batch_size=size, epochs=3, seed=1)
    seen = Counter((batch.epoch, row) for batch in plan.batches for row in batch.rows)
    assert seen == Counter((epoch, row) for epoch in range(3) for row in range(len(pairs)))
    assert plan.epoch_ends[-1] == plan.steps
    assert plan.epochs_at(plan.steps) == 3


def distinct(count: int, length: int = 20) -> list[Pair]:
    return [Pair(f"query {n}", f"{n} " * (length * (1 + n % 7)), f"d{n}") for n in range(count)]


def test_rows_that_do_not_contradict_fill_their_batches() -> None:
    plan = plan_batches(distinct(100), batch_size=32, epochs=1, seed=0)
    assert sorted(len(batch.rows) for batch in plan.batches) == [4, 32, 32, 32]


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    pairs = distinct(64)
    assert plan_batches(pairs, batch_size=8, epochs=2, seed=3) == plan_batches(pairs, batch_size=8, epochs=2, seed=3)
    assert plan_batches(pairs, batch_size=8, epochs=2, seed=3) != plan_batches(pairs, batch_size=8, epochs=2, seed=4)


def test_epochs_are_shuffled_apart() -> None:
    plan = plan_batches(distinct(64), batch_size=8, epochs=2, seed=3)
    first, second = plan.batches[:8], plan.batches[8:]
    assert {batch.rows for batch in first} != {batch.rows for batch in second}


def test_rows_of_similar_length_share_a_batch() -> None:
    pairs = distinct(512)
    plan = plan_batches(pairs, batch_size=32, epochs=1, seed=0)
    padded = sum(len(batch.rows) * max(len(pairs[row].positive) for row in batch.rows) for batch in plan.batches)
    needed = sum(len(pair.positive) for pair in pairs)
    assert padded < 1.2 * needed


def test_one_article_alone_gives_batches_of_one_document() -> None:
    pairs = [Pair(f"query {n}", "the only article", "d0") for n in range(5)]
    assert [len(batch.rows) for batch in plan_batches(pairs, batch_size=4, epochs=1, seed=0).batches] == [1] * 5
    sizes = sorted(len(batch.rows) for batch in plan_batches(pairs, batch_size=32, epochs=1, seed=0).batches)
    assert sizes == [1, 4]


def test_a_row_without_mined_negatives_gets_another_rows_document() -> None:
    pairs = [Pair("a", "A", "da", ("B",), ("db",)), Pair("b", "B", "db"), Pair("c", "C", "dc")]
    filled = with_negatives(pairs, seed=0)
    assert filled[0] == pairs[0]
    for pair in filled:
        assert len(pair.negatives) == 1
        assert pair.negative_documents[0] != pair.document
    assert filled == with_negatives(pairs, seed=0)


def test_without_any_negatives_none_are_made_up() -> None:
    pairs = distinct(4)
    assert with_negatives(pairs, seed=0) == pairs


def test_a_pair_of_half_the_weight_is_seen_in_half_of_the_epochs():
    whole = [Pair(f"query {n}", f"text {n}", f"d{n}") for n in range(40)]
    half = [Pair(f"click {n}", f"other text {n}", f"c{n}", weight=0.5) for n in range(40)]
    plan = plan_batches([*whole, *half], batch_size=8, epochs=4, seed=3)
    seen = [row for batch in plan.batches for row in batch.rows]
    assert all(seen.count(row) == 4 for row in range(40))
    assert all(seen.count(row) == 2 for row in range(40, 80))
    first = [row for batch in plan.batches if batch.epoch == 0 for row in batch.rows if row >= 40]
    assert 8 < len(first) < 32, "they take turns, and not all at once"
