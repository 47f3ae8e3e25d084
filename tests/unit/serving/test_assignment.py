"""Who answers a query: published vectors, and what must hold for every salt and split."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, chisquare

from attune.contract import ServedModel, ServedSplit
from attune_serving.assign import BUCKETS, Assignment, assign, bucket, is_challenged, normalize, unit_of

VECTORS = json.loads((Path(__file__).parents[3] / "docs" / "assignment-vectors.json").read_text())


def split(fraction: float, salt: str = "s") -> ServedSplit:
    return ServedSplit(test="t", challenger="emb-v2", fraction=fraction, salt=salt)


def is_challenging(split: ServedSplit, query: str) -> bool:
    return is_challenged(split, unit_of(split.salt, query))


@pytest.mark.parametrize("vector", VECTORS["vectors"], ids=lambda v: repr(v["query"])[:30])
def test_the_published_vectors_hold(vector: dict[str, object]) -> None:
    assert normalize(str(vector["query"])) == vector["normalized"]
    assert bucket(str(vector["salt"]), str(vector["query"])) == vector["bucket"]


def test_the_page_shows_the_same_vectors() -> None:
    page = (Path(__file__).parents[3] / "docs" / "assignment.md").read_text()
    for vector in VECTORS["vectors"]:
        assert f"| {vector['bucket']} |" in page


@given(st.text(max_size=60), st.floats(0, 1), st.floats(0, 1))
def test_raising_the_split_moves_no_query_from_the_challenger_back(query: str, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if is_challenging(split(low), query):
        assert is_challenging(split(high), query)


@given(st.text(max_size=60))
def test_a_split_of_nothing_and_of_everything(query: str) -> None:
    assert not is_challenging(split(0.0), query)
    assert is_challenging(split(1.0), query)
    assert 0 <= bucket("s", query) < BUCKETS


@given(st.text(max_size=40))
def test_spellings_of_one_query_are_one_query(query: str) -> None:
    assert bucket("s", f"  {query}\t") == bucket("s", query)


def test_case_width_and_spaces_do_not_matter() -> None:
    assert normalize("  Ｗhat   IS\nStraße ") == normalize("what is strasse")


def test_buckets_are_uniform() -> None:
    counts = [0] * 100
    for n in range(100_000):
        counts[bucket("salt", f"how do I configure service {n}") // 100] += 1
    assert chisquare(counts).pvalue > 1e-4


def test_two_salts_are_independent() -> None:
    table = [[0, 0], [0, 0]]
    for n in range(40_000):
        query = f"question number {n}"
        table[is_challenging(split(0.3, "one"), query)][is_challenging(split(0.3, "two"), query)] += 1
    assert chi2_contingency(table).pvalue > 1e-4


def test_documents_take_part_in_no_test() -> None:
    model = ServedModel(active="emb-v1", split=split(1.0))
    assert assign(model, None) == Assignment("emb-v1")
    assert assign(model, "red house") == Assignment("emb-v2", split(1.0), "B", unit_of("s", "red house"))
    assert assign(model, "Red  house") == assign(model, "red house")
    assert assign(ServedModel(active="emb-v1", split=split(0.0)), "red house").arm == "A"
