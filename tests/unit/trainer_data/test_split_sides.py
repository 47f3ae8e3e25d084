"""Three disjoint sides, by time where there are dates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune_trainer.data.records import Document
from attune_trainer.data.split import VALIDATION_AT_MOST, split


def docs(count, *, dated=True):
    return [Document(f"d{n}", f"title {n}", f"text {n}", f"2024-{1 + n // 28:02d}-{1 + n % 28:02d}" if dated else None)
            for n in range(count)]  # fmt: skip


def ids(documents):
    return {document.id for document in documents}


def test_the_newest_documents_are_held_out():
    documents = docs(100)
    parts = split(documents[::-1], ids(documents), ratio=0.9, seed=1)
    assert ids(parts.held_out) == {f"d{n}" for n in range(90, 100)}
    assert (parts.by, parts.since) == ("time", documents[90].published_at)


def test_the_ratio_is_kept_among_documents_with_a_query_and_nothing_newer_than_the_cut_is_trained_on():
    documents = docs(100)
    parts = split(documents, {f"d{n}" for n in range(50)}, ratio=0.9, seed=1)
    assert ids(parts.held_out) == {f"d{n}" for n in range(45, 100)}


def test_without_dates_a_hash_decides_and_an_article_keeps_its_side_when_others_come():
    few, many = docs(1000, dated=False), docs(1100, dated=False)
    before, after = (split(d, ids(d), ratio=0.9, seed=1) for d in (few, many))
    assert before.by == "hash"
    assert len(before.held_out) == 100
    moved = ids(before.held_out) & ids(after.train)
    assert len(moved) < 15
    assert ids(split(few, ids(few), ratio=0.9, seed=2).held_out) != ids(before.held_out)


def test_undated_documents_among_dated_ones_count_as_old():
    documents = docs(100) + [Document(f"u{n}", "t", "c") for n in range(20)]
    parts = split(documents, ids(documents), ratio=0.9, seed=1)
    assert not {d.id for d in parts.held_out if d.id.startswith("u")}


def test_documents_of_an_evaluation_set_are_the_held_out_side():
    documents = docs(100)
    parts = split(documents, ids(documents), ratio=0.5, seed=1, reserved={"d3", "d70"})
    assert ids(parts.held_out) == {"d3", "d70"}
    assert parts.by == "evaluation"


def test_validation_is_a_bounded_share_of_documents_with_a_query():
    documents = docs(1000, dated=False)
    parts = split(documents, ids(documents[:500]), ratio=0.9, seed=1)
    assert ids(parts.validation) <= ids(documents[:500])
    assert 30 <= len(parts.validation) <= 40
    many = [Document(str(n), "t", "c") for n in range(20_000)]
    assert len(split(many, ids(many), ratio=0.9, seed=1).validation) == VALIDATION_AT_MOST


@pytest.mark.parametrize(("count", "sides"), [(0, (0, 0, 0)), (1, (0, 0, 1)), (2, (1, 0, 1)), (10, (8, 1, 1))])
def test_small_archives_have_a_held_out_side_first(count, sides):
    parts = split(docs(count), ids(docs(count)), ratio=0.9, seed=1)
    assert (len(parts.train), len(parts.validation), len(parts.held_out)) == sides


@given(
    st.lists(st.sampled_from([None, "2024-01-01", "2024-06-01"]), max_size=40),
    st.floats(0.01, 0.99),
    st.sets(st.integers(0, 39)),
)
def test_the_sides_are_disjoint_and_together_everything(dates, ratio, asked):
    documents = [Document(str(n), "t", "c", date) for n, date in enumerate(dates)]
    parts = split(documents, {str(n) for n in asked}, ratio=ratio, seed=3)
    sides = [document.id for side in (parts.train, parts.validation, parts.held_out) for document in side]
    assert sorted(sides) == sorted(ids(documents))
