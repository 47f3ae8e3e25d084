"""Ratings and clicks: which document is meant, what the votes come to, and a reason for every row that is no judgement."""

import json
from collections import Counter

import pytest

from attune.contract.stage import FeedbackFields, FeedbackSource
from attune_trainer.data.answers import articles_of
from attune_trainer.data.feedback import CLICK_WEIGHT, read_feedback
from attune_trainer.data.records import Document, Tally
from attune_trainer.errors import BadData


def text(seed, count=40):
    return " ".join(f"{seed}{n}" for n in range(count))


DOCUMENTS = [Document(name, "", text(name)) for name in ("alpha", "beta", "gamma")]
KEPT = {"alpha": "alpha", "beta": "beta", "gamma": "gamma", "copy-of-alpha": "alpha"}


@pytest.fixture
def read(jsonl):
    def run(rows, documents=DOCUMENTS, **settings):
        tally = Tally()
        source = FeedbackSource(uri=jsonl(rows, "feedback.jsonl"), **settings)
        found = read_feedback(source, documents, KEPT, tally)
        assert found.rows == len(found.items) + sum(tally.by_source().get("feedback", {}).values())
        return found.items, tally

    return run


def rated(rating, document="alpha", query="a question", **more):
    return {"query": query, "documentId": document, "rating": rating, **more}


def graded(items):
    return {(item.query, item.doc_id): item.grade for item in items}


def test_ratings_at_or_above_the_line_are_answers_and_those_below_are_none(read):
    items, tally = read([rated(4), rated(3.9, "beta"), rated("5", "gamma")])
    assert graded(items) == {("a question", "alpha"): 1, ("a question", "beta"): 0, ("a question", "gamma"): 1}
    assert tally.by_reason() == {}
    assert {item.source for item in items} == {"feedback"}


def test_between_the_two_lines_a_rating_is_neutral_and_counted(read):
    items, tally = read([rated(3), rated(2, "beta"), rated(4, "gamma")], negative_rating=2)
    assert graded(items) == {("a question", "beta"): 0, ("a question", "gamma"): 1}
    assert tally.by_reason() == {"neutralRating": 1}


def test_ratings_out_of_range_and_ratings_that_are_none_are_counted_apart(read):
    rows = [rated(4), rated(7, "beta"), rated(-1, "beta"), rated("good"), rated(None), rated(float("nan")), rated([5])]
    items, tally = read(rows, min_rating=1, max_rating=5)
    assert len(items) == 1
    assert tally.by_reason() == {"badRating": 4, "ratingOutOfRange": 2}
    assert tally.examples["ratingOutOfRange"] == ["feedback line 2: 7", "feedback line 3: -1"]


def test_the_mean_decides_where_ratings_contradict_each_other_and_the_outvoted_are_counted(read):
    items, tally = read([rated(5), rated(5), rated(5), rated(1)])
    assert [(item.grade, item.weight) for item in items] == [(1, 0.75)]
    assert tally.by_reason() == {"contradictingFeedback": 1, "repeatedRating": 2}
    items, tally = read([rated(4), rated(1), rated(1)])
    assert [item.grade for item in items] == [0]
    assert tally.by_reason() == {"contradictingFeedback": 1, "repeatedRating": 1}


def test_a_neutral_rating_does_not_weigh_against_a_good_one(read):
    items, tally = read([rated(4), rated(3), rated(3)], negative_rating=2)
    assert [(item.grade, item.weight) for item in items] == [(1, 1.0)]
    assert tally.by_reason() == {"neutralRating": 2}


def test_a_tie_says_nothing_unless_times_tell_what_came_last(read):
    tied = [rated(True), rated(False)]
    items, tally = read(tied)
    assert (items, tally.by_reason()) == ((), {"contradictingFeedback": 2})
    days = [{**row, "at": f"2026-03-0{9 - n}T10:00:00Z"} for n, row in enumerate(tied)]
    items, tally = read(days)
    assert ([item.grade for item in items], tally.by_reason()) == ([1], {"contradictingFeedback": 1})
    assert read([days[0], tied[1]])[0] == ()


def test_yes_and_no_are_decided_by_the_majority_whatever_the_lines(read):
    items, _ = read([rated(True), rated("true"), rated("FALSE")])
    assert [(item.grade, item.weight) for item in items] == [(1, round(2 / 3, 4))]
    assert [item.grade for item in read([rated(False)])[0]] == [0]


def test_a_click_is_worth_half_and_no_click_is_no_negative(read):
    items, tally = read(
        [rated(True), rated(False), rated(False, "beta")], fields=FeedbackFields(rating="rating"), implicit=True
    )
    assert [(item.doc_id, item.grade, item.weight) for item in items] == [("alpha", 1, CLICK_WEIGHT)]
    assert tally.by_reason() == {"notClicked": 2}


def test_a_click_column_may_have_a_name_of_its_own_and_come_as_csv(tmp_path):
    (tmp_path / "clicks.csv").write_text("query,documentId,clicked\nsome words,beta,true\nsome words,alpha,false\n")
    source = FeedbackSource(
        uri=str(tmp_path / "clicks.csv"), format="csv", fields=FeedbackFields(rating="clicked"), implicit=True
    )
    assert graded(read_feedback(source, DOCUMENTS, KEPT, Tally()).items) == {("some words", "beta"): 1}


def test_documents_that_the_archive_does_not_have_are_counted(read):
    items, tally = read([rated(5, "nowhere"), rated(5, "copy-of-alpha"), {"query": "q r", "rating": 5}])
    assert [item.doc_id for item in items] == ["alpha"]
    assert tally.by_reason() == {"unknownDocument": 2}
    assert tally.examples["unknownDocument"][0] == "feedback line 1: 'nowhere'"


def answer(said, rating=5):
    return {"query": "by its text", "answer": said, "rating": rating}


def test_an_answer_leads_to_its_article_exact_near_as_a_passage_or_with_words_around_it(read):
    words = DOCUMENTS[1].content.split()
    near = " ".join([*words[:20], "edited", *words[20:]])
    passage = " ".join(words[5:25])
    around = "Here is what I found: " + DOCUMENTS[1].content + " Hope it helps."
    for said in (DOCUMENTS[1].content.upper() + "!", near, passage, around):
        items, tally = read([answer(said)])
        assert [item.doc_id for item in items] == ["beta"], said
        assert tally.by_reason() == {}


def test_an_answer_that_no_article_has_is_an_unknown_document(read):
    words = DOCUMENTS[1].content.split()
    mixed = " ".join([*words[:12], *(f"other{n}" for n in range(12))])
    for said in (mixed, "something else entirely that nobody wrote down here", "beta3 beta4 beta5", ""):
        items, tally = read([answer(said)])
        assert (items, tally.by_reason()) == ((), {"unknownDocument": 1}), said


def test_a_passage_that_two_articles_share_is_ambiguous_and_counted(read):
    shared = text("common", 20)
    documents = [Document("one", "", f"{text('one')} {shared}"), Document("two", "", f"{shared} {text('two')}")]
    items, tally = read([answer(shared)], documents)
    assert (items, tally.by_reason()) == ((), {"ambiguousAnswer": 1})
    assert articles_of([documents[1].content], documents).document == {documents[1].content: "two"}


def test_an_unknown_id_may_still_be_known_by_its_answer(read):
    items, _ = read([{**answer(DOCUMENTS[2].content), "documentId": "old-id"}])
    assert [item.doc_id for item in items] == ["gamma"]


def test_a_missing_column_is_named_with_those_that_are_there(read):
    with pytest.raises(BadData, match=r"no column 'rating' \(rating\); the columns there: query, stars"):
        read([{"query": "some words", "stars": 5}])
    with pytest.raises(BadData, match=r"no column 'answer' \(answer\)"):
        read([{"query": "some words", "rating": 5}])


@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet"])
def test_every_format_gives_the_same_judgements(tmp_path, format_):
    import polars as pl

    rows = [rated(5), rated(1, "beta"), rated(9, "gamma")]
    path = tmp_path / f"feedback.{format_}"
    frame = pl.DataFrame(rows)
    {"jsonl": frame.write_ndjson, "csv": frame.write_csv, "parquet": frame.write_parquet}[format_](path)
    tally = Tally()
    items = read_feedback(FeedbackSource(uri=str(path), format=format_, max_rating=5), DOCUMENTS, KEPT, tally).items
    assert Counter(item.grade for item in items) == {1: 1, 0: 1}
    assert tally.by_source() == {"feedback": {"ratingOutOfRange": 1}}
    assert json.loads(json.dumps(tally.by_source()))
