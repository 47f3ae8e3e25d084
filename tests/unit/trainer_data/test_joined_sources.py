"""Archive, labels, feedback and synthetic questions together: who wins, what is counted, and that nothing leaks."""

import json
import random

import pytest

from attune.contract import FeedbackSource, SyntheticSource
from attune_trainer.data.dedup import NEAR, jaccard
from attune_trainer.data.normalize import key
from attune_trainer.data.pairs import Queries, build, count_unused
from attune_trainer.data.prepare import prepare
from attune_trainer.data.records import Document, Judgement, Tally
from attune_trainer.data.snapshot import load_snapshot
from attune_trainer.data.split import Split
from attune_trainer.errors import InsufficientData
from chat_server import chat_server, completion, three_questions

A, B, C = (Document(name, f"title of {name}", f"text of {name}") for name in "abc")


def said(query, document, grade=1.0, source="labels", weight=1.0):
    return Judgement(query, document, grade, source, weight)


def sides(train=(), validation=(), held_out=()):
    return Split(tuple(train), tuple(validation), tuple(held_out), "hash")


def test_the_same_query_and_document_from_several_sources_is_one_pair_of_the_first_source():
    """labels before feedback before archive before synthetic, whatever the case and punctuation of the query."""
    queries = Queries(
        [A, B],
        [
            said("Title of A?", "a"),
            said("title of a", "a", source="feedback"),
            said("who is b", "b", source="feedback"),
        ],
        synthetic=[said("Who is B?!", "b", source="synthetic"), said("title of b", "b", source="synthetic")],
    )
    tally = Tally()
    pairs = build(sides([A, B], held_out=[C]), queries, tally)
    assert [(p.query, p.source, p.doc_id) for p in pairs.train] == [
        ("Title of A?", "labels", "a"),
        ("who is b", "feedback", "b"),
        ("title of b", "archive", "b"),
    ]
    assert tally.by_source() == {
        "archive": {"repeatedPair": 1},
        "feedback": {"repeatedPair": 1},
        "synthetic": {"repeatedPair": 2},
    }


def test_what_people_found_wrong_is_no_pair_of_a_title_or_a_model():
    wrong = [said("title of a", "a", 0, "feedback"), said("who is b", "b", 0, "feedback")]
    queries = Queries([A, B], wrong, synthetic=[said("who is b", "b", source="synthetic")])
    tally = Tally()
    pairs = build(sides([A, B], held_out=[C]), queries, tally)
    assert [p.query for p in pairs.train] == ["title of b"]
    assert tally.by_source() == {"archive": {"contradictedPair": 1}, "synthetic": {"contradictedPair": 1}}


def test_labels_are_believed_before_feedback_and_their_answer_is_no_negative():
    queries = Queries([], [said("who is it", "a"), said("Who is it?", "a", 0, "feedback"), said("who is it", "b", 0)])
    assert queries.rejected() == {said("who is it", "b").query_id: ["b"]}
    assert queries.positives() == {
        said("who is it", "a").query_id: {"a"},
    }


def test_an_answer_known_under_another_spelling_of_the_query_is_known():
    queries = Queries([], [said("Who is it?", "a"), said("who is it", "b"), said("WHO IS IT", "c", 0)])
    assert list(queries.positives().values()) == [{"a", "b"}] * 3
    assert list(queries.rejected().values()) == [["c"]] * 3


def test_the_weight_of_a_judgement_is_in_the_score_of_its_pair():
    queries = Queries([], [said("one two", "a", 2, weight=0.5), said("three four", "b", 1)])
    assert [p.score for p in build(sides([A, B]), queries, Tally()).train] == [0.5, 0.5]


def test_without_titles_to_train_on_they_are_still_asked_of_the_held_out_side():
    queries = Queries([A, B, C], [said("who is a", "a")], titles_train=False)
    pairs = build(sides([A, B], held_out=[C]), queries, Tally())
    assert [p.query for p in pairs.train] == ["who is a"]
    assert [j.query for j in pairs.held_out] == ["title of c"]
    assert queries.queryable == {"a"}


def test_questions_of_a_model_are_asked_of_the_held_out_side_only_where_people_and_titles_ask_little():
    synthetic = [said(f"question {n}", "c", source="synthetic") for n in range(60)]
    few = build(sides([A], held_out=[C]), Queries([C], synthetic=synthetic), Tally())
    assert [j.source for j in few.held_out] == ["archive", *["synthetic"] * 60]
    labels = [said(f"label {n}", "c") for n in range(60)]
    enough = build(sides([A], held_out=[C]), Queries([C], labels, synthetic=synthetic), Tally())
    assert {j.source for j in enough.held_out} == {"labels"}


def test_labelled_negatives_that_are_of_no_use_are_counted_by_reason():
    judged = [
        said("who is a", "a", source="feedback"),
        said("who is a", "b", 0, "feedback"),
        said("who is a", "c", 0, "feedback"),
        said("who is nobody", "b", 0, "feedback"),
    ]
    queries, tally = Queries([], judged), Tally()
    pairs = build(sides([A, B], held_out=[C]), queries, Tally())
    assert count_unused(queries, pairs, [A, B], tally) == 0
    assert tally.by_source() == {
        "feedback": {"negativeOffTrainSide": 1, "negativeOverLimit": 1, "negativeWithoutPair": 1}
    }


@pytest.fixture
def everything(articles, jsonl, spec):
    """A corpus with planted near copies on what will be the other side, and all four sources about all of it, the copies too."""

    def build(server):
        rows = articles(200)
        planted = []
        for number in range(40):
            words = rows[number]["content"].split()
            words[17] = "edited"
            planted.append({**rows[159 + number], "id": f"plant-{number}", "content": " ".join(words)})
        rng = random.Random(3)
        labels, rated = [], []
        for number, row in enumerate([*rows, *planted]):
            words = rng.sample(row["content"].split(), 4)
            labels.append({"query": f"label {' '.join(words)}", "id": row["id"]})
            rated.append({"query": f"asked {' '.join(words)}", "documentId": row["id"], "rating": 5})
            wrong = rng.sample(rows, 5)  # of whatever side
            rated += [{"query": rated[-1]["query"], "documentId": other["id"], "rating": 1} for other in wrong]
            if number % 10 == 0:
                rated.append(
                    {"query": f"passage {number}", "answer": " ".join(row["content"].split()[3:30]), "rating": 5}
                )
        return spec(
            jsonl(rows + planted),
            per_query=6,
            labels=jsonl(labels, "labels.jsonl"),
            feedback=FeedbackSource(uri=jsonl(rated, "feedback.jsonl")),
            synthetic=SyntheticSource(base_url=server.url, model="small"),
        )

    return build


def test_nothing_leaks_from_the_held_out_side_whatever_the_source(everything, encoder):
    """No document and no near copy of one on two sides; no negative and no query of the held-out side in training."""
    with chat_server() as server:
        summary = prepare(everything(server), encode_factory=encoder, report=lambda _: None)
    snapshot = load_snapshot(summary.uri)
    corpus, qrels = snapshot.corpus(), snapshot.qrels()
    train, validation = snapshot.train(), snapshot.validation()
    held_out = {document for grades in qrels.values() for document in grades}
    trained, validated = ({pair.doc_id for pair in side} for side in (train, validation))
    negatives = {name for pair in (*train, *validation) for name in pair.neg_ids}
    assert set(summary.by_source) == {"archive", "feedback", "labels", "synthetic"}
    assert summary.dropped_by_reason["nearDuplicate"] == 40
    assert summary.dropped_by_reason["negativeOffTrainSide"] > 0, "people rejected held-out documents, too"
    assert len(held_out) >= 15
    assert len(negatives) > 100
    assert not held_out & (trained | validated | negatives)
    assert not validated & (trained | negatives)
    texts = [corpus[name] for name in trained | validated | negatives]
    assert max(jaccard(corpus[name], text) for name in held_out for text in texts) < NEAR
    asked = {key(query) for query in snapshot.queries().values()}
    assert not asked & {key(pair.query) for pair in (*train, *validation)}
    labelled = snapshot.manifest["mining"]["labelledNegatives"]
    assert labelled > 0
    assert all(len(pair.neg) == len(pair.neg_ids) for pair in train)
    held_titles = {asked.title for asked in server.asked} & set(snapshot.queries().values())
    assert not held_titles, "held-out articles are not paid for where others ask about them"


def test_every_source_and_every_reason_is_in_the_manifest_and_adds_up(everything, encoder):
    with chat_server(lambda a: (200, completion("no")) if a.number % 7 == 0 else three_questions(a)) as server:
        summary = prepare(everything(server), encode_factory=encoder, report=lambda _: None)
    manifest = load_snapshot(summary.uri).manifest
    counts = manifest["counts"]
    assert counts["bySource"] == summary.by_source
    assert set(manifest["inputs"]) == {"archive", "labels", "feedback", "synthetic"}
    totals: dict[str, int] = {}
    for reasons in counts["droppedBySource"].values():
        for reason, count in reasons.items():
            totals[reason] = totals.get(reason, 0) + count
    assert totals == counts["droppedByReason"] == summary.dropped_by_reason
    assert counts["droppedBySource"]["synthetic"]["unparsable"] == len(server.asked) // 7
    assert manifest["synthetic"]["model"] == "small"
    assert server.url not in json.dumps(manifest)


def test_the_same_sources_give_the_same_bytes_though_the_model_would_answer_otherwise(everything, encoder):
    with chat_server() as server:
        asked = everything(server)
        first = prepare(asked, encode_factory=encoder, report=lambda _: None)
        server.answer = lambda _: (200, completion('{"questions": ["what else is there to say?"]}'))
        assert prepare(asked, encode_factory=encoder, report=lambda _: None) == first


def test_questions_alone_are_enough_to_train_on_and_to_measure_by(articles, jsonl, spec, no_encoder):
    rows = [{"id": row["id"], "content": row["content"]} for row in articles(60)]
    with chat_server() as server:
        source = SyntheticSource(base_url=server.url, model="small", max_articles=40)
        summary = prepare(spec(jsonl(rows), synthetic=source), encode_factory=no_encoder, report=lambda _: None)
    assert len(server.asked) == 40
    assert set(summary.by_source) == {"synthetic"}
    assert 90 < summary.examples < 120
    assert summary.held_out_queries > 0


def test_a_model_that_answers_nothing_of_use_leaves_too_little_and_the_message_says_why(
    articles, jsonl, spec, no_encoder
):
    rows = [{"id": row["id"], "content": row["content"]} for row in articles(60)]
    with chat_server(lambda _: (200, completion("I would rather not."))) as server:
        asked = spec(jsonl(rows), synthetic=SyntheticSource(base_url=server.url, model="small"))
        with pytest.raises(InsufficientData, match="unparsable 60"):
            prepare(asked, encode_factory=no_encoder, report=lambda _: None)


def test_articles_that_nobody_else_asks_for_are_asked_about_first(articles, jsonl, spec, no_encoder):
    rows = articles(60)
    for row in rows[::3]:
        row["title"] = "News"
    with chat_server() as server:
        source = SyntheticSource(base_url=server.url, model="small", max_articles=15)
        prepare(spec(jsonl(rows), synthetic=source), encode_factory=no_encoder, report=lambda _: None)
    assert set(server.by_title) == {"News"}


def test_a_question_whose_article_no_ranking_finds_is_suspect_as_a_title_is(articles, jsonl, spec, encoder):
    rows = articles(400)
    with chat_server(lambda a: (200, completion(f'["zzz{a.number} yyy{a.number} xxx{a.number}?"]'))) as server:
        source = SyntheticSource(base_url=server.url, model="small", max_articles=20)
        summary = prepare(
            spec(jsonl(rows), per_query=1, synthetic=source), encode_factory=encoder, report=lambda _: None
        )
    dropped = load_snapshot(summary.uri).manifest["counts"]["droppedBySource"]["synthetic"]
    assert dropped["suspectPair"] >= 5
