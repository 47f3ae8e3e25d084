"""What articles ask of themselves: training pairs from title and first words."""

from attune_trainer.data.leads import LONGEST, SHORTEST, leads
from attune_trainer.data.pairs import Queries, build
from attune_trainer.data.records import Document, Judgement, Tally
from attune_trainer.data.split import Split

BODY = (
    "adds support for paying offers that were made by another wallet over several blinded paths at the same time. "
    "Other wallets follow later, as their developers have announced on the mailing list this week."
)


def document(name: str, title: str = "Eclair #2479", content: str = BODY) -> Document:
    return Document(name, title, content)


def test_a_lead_is_the_title_and_the_first_words_of_the_first_sentence():
    (lead,) = leads([document("a")])
    assert lead.query.startswith("Eclair #2479 adds support for paying offers that were")
    assert (lead.doc_id, lead.source, lead.grade) == ("a", "lead", 1.0)
    assert SHORTEST <= len(lead.query.split()) - 2 <= LONGEST


def test_leads_differ_in_length_so_that_no_length_is_learnt_and_are_the_same_every_time():
    documents = [document(f"d{n}") for n in range(40)]
    lengths = {len(lead.query.split()) for lead in leads(documents)}
    assert len(lengths) == LONGEST - SHORTEST + 1
    assert list(leads(documents)) == list(leads(documents))


def test_a_title_that_the_text_begins_with_is_not_said_twice():
    (lead,) = leads([document("a", title="Adds support for paying offers")])
    assert lead.query.startswith("adds support for paying offers that")


def test_an_article_without_a_title_asks_by_its_first_words_and_a_short_one_asks_nothing():
    found = list(
        leads([document("a", title=""), document("b", content="Too short to be anything but its own question.")])
    )
    assert [lead.doc_id for lead in found] == ["a"]
    assert found[0].query.startswith("adds support")


def test_leads_are_trained_on_and_never_validated_or_held_out():
    documents = [document(name, title=f"Release {name} of the wallet", content=f"{name} {BODY}") for name in "abc"]
    split = Split((documents[0],), (documents[1],), (documents[2],), "hash")
    pairs = build(split, Queries(documents, leads=tuple(leads(documents))), Tally())
    assert [(pair.source, pair.doc_id) for pair in pairs.train] == [("archive", "a"), ("lead", "a")]
    assert {pair.source for pair in pairs.validation} == {"archive"}
    assert {judgement.source for judgement in pairs.held_out} == {"archive"}


def test_a_lead_that_is_a_held_out_query_is_not_trained_on():
    trained, held_out = document("a"), document("b", title="Something else entirely happened")
    (lead,) = leads([trained])
    asked = Judgement(lead.query, "b", 1.0, "labels")
    tally = Tally()
    pairs = build(Split((trained,), (), (held_out,), "hash"), Queries((), (asked,), leads=(lead,)), tally)
    assert pairs.train == []
    assert tally.by_reason() == {"leakedQuery": 1}
