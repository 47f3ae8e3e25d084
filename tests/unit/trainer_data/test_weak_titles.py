"""Which titles make a training query."""

import pytest

from attune_trainer.data.records import Document, Tally
from attune_trainer.data.titles import shared_titles, strong, weakness

CONTENT = "The cache is cleared on restart. More follows here."


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("", "empty"),
        ("—", "empty"),
        ("Introduction", "generic"),
        ("Weekly update 42", "generic"),
        ("Kubernetes", "generic"),
        ("The cache is cleared on restart", "firstSentence"),
        ("THE CACHE IS CLEARED", "firstSentence"),
        ("The cache", None),
        ("Clear it!", None),
        ("Clearing the cache", None),
    ],
)
def test_a_title_is_weak_for_a_stated_reason(title, kind):
    assert weakness(Document("1", title, CONTENT), frozenset()) == kind


def test_a_title_of_several_articles_is_weak_in_all_of_them_whatever_its_case():
    documents = [Document("1", "Release notes of May", CONTENT), Document("2", "release notes of MAY!", CONTENT)]
    other = Document("3", "Clearing the cache", CONTENT)
    assert {weakness(d, shared_titles([*documents, other])) for d in documents} == {"shared"}
    tally = Tally()
    kept, kinds = strong([*documents, other], tally)
    assert kept == [other]
    assert kinds == {"shared": 2}
    assert tally.by_reason() == {"weakTitle": 2}


def test_a_short_title_is_weak_only_where_it_is_the_whole_first_sentence():
    assert weakness(Document("1", "Cache cleared", "Cache cleared. More follows."), frozenset()) == "firstSentence"
    assert weakness(Document("1", "Cache cleared", "Cache cleared on restart."), frozenset()) is None
