"""Exact and near duplicates are found before anything is split."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attune_trainer.data.dedup import NEAR, distinct, jaccard
from attune_trainer.data.records import Document, Tally


def documents(rows):
    return [Document(row["id"], row["title"], row["content"]) for row in rows]


def edited(text: str, *places: int) -> str:
    words = text.split()
    for place in places:
        words[place] = "changed"
    return " ".join(words)


def test_exact_copies_in_other_case_and_punctuation_lead_to_the_first(articles):
    one, two = documents(articles(2))
    copy = Document("copy", "another title", one.content.upper().replace(".", " !"))
    tally = Tally()
    found = distinct([one, two, copy], tally)
    assert found.documents == [one, two]
    assert found.kept_id["copy"] == one.id
    assert tally.by_reason() == {"exactDuplicate": 1}
    assert tally.examples == {"exactDuplicate": [f"copy = {one.id}"]}


def test_near_copies_are_found_and_lead_to_the_first(articles):
    originals = documents(articles(300))
    copies = [Document(f"copy-{d.id}", "t", edited(d.content, 20)) for d in originals[:100]]
    assert min(jaccard(d.content, c.content) for d, c in zip(originals, copies, strict=False)) >= NEAR
    tally = Tally()
    found = distinct([*originals, *copies], tally)
    assert found.documents == originals
    assert all(found.kept_id[f"copy-{d.id}"] == d.id for d in originals[:100])
    assert tally.by_reason() == {"nearDuplicate": 100}


def test_articles_that_share_less_stay_both(articles):
    (one,) = documents(articles(1))
    related = Document("related", "t", edited(one.content, 5, 15, 25, 35))
    assert 0.3 < jaccard(one.content, related.content) < NEAR
    found = distinct([one, related], Tally())
    assert found.documents == [one, related]
    estimate = found.similarity(0, np.array([0, 1]))
    assert estimate[0] == 1.0
    assert estimate[1] == pytest.approx(jaccard(one.content, related.content), abs=0.15)


def test_texts_shorter_than_a_shingle_are_compared_too():
    short = [Document("1", "", "two words"), Document("2", "", "Two words."), Document("3", "", "other words")]
    assert [d.id for d in distinct(short, Tally()).documents] == ["1", "3"]


@settings(max_examples=50)
@given(st.lists(st.text("ab ", min_size=1, max_size=12), max_size=12))
def test_every_id_leads_to_a_kept_document_and_no_two_kept_ones_are_near(texts):
    given_documents = [Document(str(n), "", text) for n, text in enumerate(texts)]
    found = distinct(given_documents, Tally())
    kept = [d.id for d in found.documents]
    assert set(found.kept_id) == {d.id for d in given_documents}
    assert set(found.kept_id.values()) == set(kept)
    assert all(found.kept_id[name] == name for name in kept)
    assert len(found.signatures) == len(kept)


def test_an_archive_made_from_a_template_is_not_compared_all_with_all(articles, monkeypatch):
    """400 texts, each alike to every other but below the line: exact comparisons stay a few for each."""
    (template,) = documents(articles(1))
    alike = [Document(f"t{n}", "", edited(template.content, 10, 30) + f" number{n} is{n}") for n in range(400)]
    alike = [Document(d.id, "", d.content.replace("changed", f"c{d.id}")) for d in alike]
    assert 0.6 < jaccard(alike[0].content, alike[1].content) < NEAR
    compared = []
    monkeypatch.setattr("attune_trainer.data.dedup.jaccard", lambda *texts: compared.append(texts) or jaccard(*texts))
    assert len(distinct(alike, Tally()).documents) == 400
    assert len(compared) <= 20 * 400
