"""From what a language model writes to questions that can be trained on: parsing, and a reason for each that cannot."""

import json

import pytest

from attune_trainer.data.records import Document, Tally
from attune_trainer.data.synthetic.questions import judged, parsed

GOOD = ["how do I prune old roses", "when are roses to be cut", "which tool cuts thick stems"]
ARTICLE = Document(
    "a", "Roses", "Old roses are best pruned in March with a sharp and clean pair of shears. They thank you."
)


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps({"questions": GOOD}),
        json.dumps(GOOD),
        json.dumps({"items": [{"question": question} for question in GOOD]}),
        "```json\n" + json.dumps({"questions": GOOD}, indent=2) + "\n```",
        "Sure! Here they are:\n" + json.dumps({"questions": GOOD}) + "\nAnything else?",
        '<think>{"questions": ["what am I thinking of"]}</think>' + json.dumps({"questions": GOOD}),
    ],
    ids=["object", "list", "objects", "fenced", "in prose", "after a thought"],
)
def test_json_is_found_whatever_is_around_it(answer):
    assert parsed(answer) == GOOD


@pytest.mark.parametrize("marks", [("1. ", "2. ", "3. "), ("- ", "* ", "• "), ("(1) ", "2) ", "3: "), ("", "", "")])
def test_a_list_of_lines_that_end_like_questions_is_read_too(marks):
    lines = [
        f'{mark}"{question}?"' if not mark else f"{mark}{question}?" for mark, question in zip(marks, GOOD, strict=True)
    ]
    assert parsed("\n".join(["Here are three questions:", *lines])) == [f"{question}?" for question in GOOD]


@pytest.mark.parametrize(
    "answer", ["", "I cannot help with that.", "{not json", '{"questions": "none"}', "[1, 2, 3]", "<think>hm", "null"]
)
def test_rubbish_is_counted_and_the_article_left_out(answer):
    tally = Tally()
    assert judged({"a": answer}, [ARTICLE], 3, tally) == []
    assert tally.by_source() == {"synthetic": {"unparsable": 1}}


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("Why roses?", "tooShort"),
        ("why " * 200 + "?", "tooLong"),
        ("What does the article say about roses?", "aboutTheArticle"),
        ("What does the author of this text recommend?", "aboutTheArticle"),
        ("Roses are best pruned in March with a sharp", "copiesText"),
    ],
)
def test_questions_that_teach_nothing_are_dropped_by_reason(question, reason):
    tally = Tally()
    answer = json.dumps({"questions": [question, GOOD[0]]})
    assert [item.query for item in judged({"a": answer}, [ARTICLE], 3, tally)] == [GOOD[0]]
    assert tally.by_reason() == {reason: 1}


def test_the_same_question_twice_counts_once_and_more_than_asked_for_are_cut():
    tally = Tally()
    answer = json.dumps({"questions": [GOOD[0], GOOD[0].upper() + "?!", GOOD[1], GOOD[2]]})
    assert [item.query for item in judged({"a": answer}, [ARTICLE], 2, tally)] == GOOD[:2]
    assert tally.by_reason() == {"duplicateQuestion": 1, "tooManyQuestions": 1}


def test_a_question_that_several_articles_are_said_to_answer_is_none_of_any():
    tally = Tally()
    other = Document("b", "", "Something else about shears and how they are kept.")
    answers = {"a": json.dumps([GOOD[0], GOOD[1]]), "b": json.dumps([GOOD[0] + "?", GOOD[2]])}
    found = judged(answers, [ARTICLE, other], 3, tally)
    assert [(item.query, item.doc_id, item.source) for item in found] == [
        (GOOD[1], "a", "synthetic"),
        (GOOD[2], "b", "synthetic"),
    ]
    assert tally.by_reason() == {"sharedQuestion": 2}
