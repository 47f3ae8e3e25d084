"""From documents on known sides to pairs and held-out queries."""

from attune_trainer.data.pairs import LABELS_SUFFICE, Queries, build
from attune_trainer.data.records import Document, Judgement, Tally
from attune_trainer.data.split import Split


def doc(identifier, title=None):
    return Document(identifier, title or f"title of {identifier}", f"text of {identifier}")


def label(query, identifier, grade=1.0, source="labels"):
    return Judgement(query, identifier, grade, source)


def parts(train=(), validation=(), held_out=()):
    return Split(tuple(train), tuple(validation), tuple(held_out), "hash")


A, B, C, D = (doc(name) for name in "abcd")


def test_titles_and_labels_of_the_training_side_become_pairs_with_their_source():
    pairs = build(parts([A, B], held_out=[C]), Queries([A, B, C], [label("who is b", "b")]), Tally())
    assert [(p.query, p.pos, p.source, p.doc_id) for p in pairs.train] == [
        ("who is b", "text of b", "labels", "b"),
        ("title of a", "text of a", "archive", "a"),
        ("title of b", "text of b", "archive", "b"),
    ]
    assert [(j.query, j.doc_id) for j in pairs.held_out] == [("title of c", "c")]


def test_a_label_equal_to_the_title_counts_once_and_as_label():
    tally = Tally()
    pairs = build(parts([A], held_out=[C]), Queries([A, C], [label("title of a", "a")]), tally)
    assert [(p.query, p.source) for p in pairs.train] == [("title of a", "labels")]
    assert tally.by_reason() == {"repeatedPair": 1}


def test_a_query_asked_of_a_held_out_document_is_not_trained_on_with_another_one():
    tally = Tally()
    judged = [label("Same question", "a"), label("same question?", "c"), label("other question", "b")]
    pairs = build(parts([A, B], held_out=[C]), Queries([], judged), tally)
    assert [p.query for p in pairs.train] == ["other question"]
    assert tally.by_reason() == {"leakedQuery": 1}


def test_a_query_asked_of_a_validation_document_is_not_trained_on_with_another_one():
    judged = [label("same question", "a"), label("same question", "b")]
    pairs = build(parts([A], [B], [C]), Queries([C], judged), Tally())
    assert (pairs.train, [p.doc_id for p in pairs.validation]) == ([], ["b"])


def test_with_few_labelled_held_out_queries_the_titles_are_asked_too_and_with_enough_they_are_not():
    few = [label("question", "c")]
    enough = [label(f"question {n}", "c") for n in range(LABELS_SUFFICE)]
    assert [j.query for j in build(parts([A], held_out=[C, D]), Queries([C, D], few), Tally()).held_out] == [
        "question",
        "title of c",
        "title of d",
    ]
    held_out = build(parts([A], held_out=[C, D]), Queries([C, D], enough), Tally()).held_out
    assert {j.source for j in held_out} == {"labels"}


def test_an_evaluation_set_is_the_held_out_set_with_its_grades():
    evaluation = [label("topic x", "c", 2, "evaluation"), label("topic x", "d", 0, "evaluation")]
    pairs = build(parts([A], held_out=[C]), Queries([A, C], [], evaluation), Tally())
    assert pairs.held_out == evaluation
    assert [p.doc_id for p in pairs.train] == ["a"]


def test_grades_become_scores_relative_to_the_best_of_the_source_and_zero_is_no_pair():
    judged = [label("q one", "a", 2), label("q two", "a", 1), label("q three", "a", 0)]
    pairs = build(parts([A], held_out=[C]), Queries([C], judged), Tally())
    assert [(p.query, p.score) for p in pairs.train] == [("q one", 1.0), ("q two", 0.5)]
    assert Queries([], judged).rejected() == {judged[2].query_id: ["a"]}


def test_all_known_answers_of_a_query_are_known_whatever_side_they_are_on():
    queries = Queries(
        [A], [label("title of a", "b"), label("x y", "c", 0)], [label("title of a", "d", 1, "evaluation")]
    )
    known = queries.positives()
    assert list(known.values()) == [{"a", "b", "d"}]
    assert queries.queryable == {"a", "b"}
