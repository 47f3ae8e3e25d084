"""The prepare stage as a whole: counts, messages, leakage, reproducibility."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer

from attune.contract import EvaluationSource, FeedbackSource, ModelType
from attune_retrieval import store
from attune_trainer.data.dedup import NEAR, jaccard
from attune_trainer.data.prepare import prepare
from attune_trainer.data.snapshot import load_snapshot
from attune_trainer.errors import BadConfig, BadData, InsufficientData


def quiet(_percent):
    """Nobody listens."""


def opened(summary):
    return load_snapshot(summary.uri, summary.digest)


def nothing_written(spec_value) -> bool:
    root = Path(spec_value.storage.removeprefix("file://"))
    return not any(root.rglob("*")) if root.exists() else True


def test_an_archive_becomes_a_snapshot_with_its_numbers(articles, jsonl, spec, encoder):
    rows = articles(200)
    rows[3]["title"] = "Introduction"
    rows[5] = {**rows[4], "id": "copy"}
    summary = prepare(spec(jsonl(rows), per_query=2), encode_factory=encoder, report=quiet)
    snapshot = opened(summary)
    assert summary.documents == len(snapshot.corpus()) == 199
    assert summary.examples == len(snapshot.train()) == 164
    assert summary.validation_examples == len(snapshot.validation()) == 14
    assert summary.held_out_queries == len(snapshot.queries()) == 20
    assert summary.by_source == {"archive": 164}
    assert summary.dropped_by_reason == {"exactDuplicate": 1, "weakTitle": 1}
    assert summary.uri.endswith("/store/news/search/datasets/" + summary.digest.removeprefix("sha256:")[:16])
    assert all(len(pair.neg) == 2 for pair in snapshot.train())
    assert snapshot.manifest["counts"]["examples"] == 164
    assert snapshot.manifest["inputs"]["archive"]["rows"] == 200


@pytest.mark.parametrize(
    ("kind", "sources"), [(ModelType.EMBEDDING, {"archive", "lead"}), (ModelType.RERANKER, {"archive"})]
)
def test_leads_are_made_for_embedding_models_alone(articles, jsonl, spec, no_encoder, kind, sources):
    asked = spec(jsonl(articles(40)), leads=True).model_copy(update={"type": kind})
    made = prepare(asked, encode_factory=no_encoder, report=quiet).by_source
    assert set(made) == sources
    assert all(number > 30 for number in made.values())


def test_the_corpus_is_the_content_without_the_titles_that_are_the_queries(articles, jsonl, spec, no_encoder):
    rows = articles(50)
    snapshot = opened(prepare(spec(jsonl(rows)), encode_factory=no_encoder, report=quiet))
    assert snapshot.corpus() == {row["id"]: row["content"] for row in rows}


def test_no_document_and_no_near_copy_of_it_is_on_two_sides(articles, jsonl, spec, encoder):
    """Copies, edited by a word, of old articles are planted among the newest, and the reverse."""
    rows = articles(300)
    planted = []
    for number in range(60):
        words = rows[number]["content"].split()
        words[17] = "edited"
        planted.append({**rows[239 + number], "id": f"plant-{number}", "content": " ".join(words)})
    snapshot = opened(prepare(spec(jsonl(rows + planted), per_query=3), encode_factory=encoder, report=quiet))
    corpus, qrels = snapshot.corpus(), snapshot.qrels()
    held_out = {doc for grades in qrels.values() for doc in grades}
    trained = {pair.doc_id for pair in snapshot.train()}
    validated = {pair.doc_id for pair in snapshot.validation()}
    negatives = {name for pair in (*snapshot.train(), *snapshot.validation()) for name in pair.neg_ids}
    assert len(held_out) >= 25
    assert not trained & held_out
    assert not validated & (held_out | trained)
    assert not negatives & (held_out | validated)
    seen = [corpus[name] for name in trained | negatives]
    assert max(jaccard(corpus[name], text) for name in held_out for text in seen) < NEAR
    assert snapshot.manifest["counts"]["droppedByReason"]["nearDuplicate"] == 60


SEEDED = """
import sys
sys.path.insert(0, sys.argv[3])
from conftest import encode
from attune.contract import StageSpec
from attune_trainer.data.prepare import prepare
spec = StageSpec.from_json(open(sys.argv[1]).read()).model_copy(update={"storage": sys.argv[2]})
print(prepare(spec, encode_factory=lambda: encode, report=lambda _: None).digest)
"""


def test_the_same_inputs_give_the_same_bytes_in_every_process(articles, jsonl, spec, tmp_path):
    rows = articles(120) + articles(20, seed=7, start=500)
    labels = jsonl([{"query": f"question {n // 2}", "id": rows[n]["id"]} for n in range(40)], "labels.jsonl")
    (tmp_path / "spec.json").write_text(spec(jsonl(rows), per_query=3, labels=labels).to_json())
    digests = set()
    for seed in ("1", "2"):
        command = [
            sys.executable,
            "-c",
            SEEDED,
            str(tmp_path / "spec.json"),
            str(tmp_path / seed),
            str(Path(__file__).parent),
        ]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONHASHSEED": seed}
        )
        assert done.returncode == 0, done.stderr
        digests.add(done.stdout.strip())
    assert len(digests) == 1
    one, two = (sorted(p for p in (tmp_path / seed).rglob("*") if p.is_file()) for seed in ("1", "2"))
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    assert len(one) == 6


def test_the_seed_and_the_address_of_the_archive(articles, jsonl, spec, no_encoder):
    """Another seed is another snapshot; the same data under another name is not."""
    rows = articles(60, dated=False)
    one, moved = (prepare(spec(jsonl(rows, name)), encode_factory=no_encoder, report=quiet) for name in ("a", "b"))
    other = prepare(spec(jsonl(rows), config={"seed": 7}), encode_factory=no_encoder, report=quiet)
    assert one.digest == moved.digest != other.digest


def test_too_few_pairs_say_how_many_of_what_and_what_was_dropped(articles, jsonl, spec, no_encoder):
    rows = articles(100)
    rows[0]["title"] = "Introduction"
    rows.append({**rows[1], "id": "copy"})
    asked = spec(jsonl(rows), min_examples=1000)
    with pytest.raises(InsufficientData) as caught:
        prepare(asked, encode_factory=no_encoder, report=quiet)
    assert str(caught.value) == (
        "82 pairs < 1000 (dataSource.minExamples): archive 82; held out: 10, validation: 7; "
        "dropped: exactDuplicate 1, weakTitle 1 (weak titles: generic 1). Lower minExamples or add data"
    )
    assert caught.value.reason == "InsufficientData"
    assert nothing_written(asked)


def test_ids_used_twice_are_named_with_the_column_to_look_at(articles, jsonl, spec, no_encoder):
    rows = [{**row, "id": f"a{number % 2}"} for number, row in enumerate(articles(50))]
    with pytest.raises(InsufficientData) as caught:
        prepare(spec(jsonl(rows), min_examples=10), encode_factory=no_encoder, report=quiet)
    assert "1 pair < 10 (dataSource.minExamples): archive 1" in str(caught.value)
    assert str(caught.value).endswith(
        "dropped: conflictingId 48. Give every article an id of its own, in the column archive.fields.id "
        "(see line 3: a0); or lower minExamples or add data"
    )


def test_equal_titles_make_no_pairs_and_the_message_says_so(articles, jsonl, spec, no_encoder):
    rows = [{**row, "title": "All the same title"} for row in articles(50)]
    with pytest.raises(InsufficientData, match=r"weakTitle 50 \(weak titles: shared 50\)"):
        prepare(spec(jsonl(rows)), encode_factory=no_encoder, report=quiet)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10])
def test_tiny_archives_work_or_say_that_they_are_too_small(articles, jsonl, spec, encoder, count):
    asked = spec(jsonl(articles(count)), per_query=4)
    if count == 1:
        with pytest.raises(InsufficientData, match=r"0 pairs < 1 .*held out: 1"):
            prepare(asked, encode_factory=encoder, report=quiet)
        return
    summary = prepare(asked, encode_factory=encoder, report=quiet)
    assert summary.held_out_queries == 1
    assert summary.examples + summary.validation_examples == count - 1


@pytest.mark.parametrize("count", [1, 30])
def test_min_examples_zero_wants_the_held_out_set_only_and_loads_no_model(articles, jsonl, spec, no_encoder, count):
    asked = spec(jsonl(articles(count)), min_examples=0, per_query=4)
    assert prepare(asked, encode_factory=no_encoder, report=quiet).held_out_queries == max(1, count // 10)


def test_labels_become_pairs_or_held_out_queries_by_the_side_of_their_document(articles, jsonl, spec, no_encoder):
    rows = articles(200)
    rows.append({**rows[0], "id": "copy-of-0"})
    labels = [{"query": f"how does it number {n}", "id": row["id"]} for n, row in enumerate(rows[:200])]
    labels += [
        {"query": "about the copy", "id": "copy-of-0"},
        {"query": "x y", "id": "gone"},
        {"query": " ", "id": "a"},
    ]
    asked = spec(jsonl(rows), labels=jsonl(labels, "labels.jsonl"))
    summary = prepare(asked, encode_factory=no_encoder, report=quiet)
    snapshot = opened(summary)
    assert summary.by_source == {"archive": 166, "labels": 167}
    assert {p.doc_id for p in snapshot.train() if p.query == "about the copy"} == {"doc-0000"}
    assert summary.dropped_by_reason == {"emptyQuery": 1, "exactDuplicate": 1, "unknownDocument": 1}
    labelled = [q for q in snapshot.queries().values() if q.startswith("how does it")]
    assert (len(labelled), summary.held_out_queries) == (20, 40)


def test_documents_of_the_evaluation_set_are_kept_off_the_training_side(articles, jsonl, spec, encoder):
    rows = articles(100)
    tested = [{"query": "topic", "id": rows[n]["id"], "grade": n % 3} for n in range(9)]
    evaluation = EvaluationSource(uri=jsonl(tested, "evaluation.jsonl"))
    snapshot = opened(
        prepare(spec(jsonl(rows), evaluation=evaluation, per_query=2), encode_factory=encoder, report=quiet)
    )
    relevant = {rows[n]["id"] for n in range(9) if n % 3}
    assert list(snapshot.qrels().values()) == [{rows[n]["id"]: n % 3 for n in range(9)}]
    used = {p.doc_id for p in (*snapshot.train(), *snapshot.validation())} | {
        n for p in (*snapshot.train(), *snapshot.validation()) for n in p.neg_ids
    }
    assert not used & relevant
    assert len({p.doc_id for p in (*snapshot.train(), *snapshot.validation())}) == 94
    assert snapshot.manifest["split"]["by"] == "evaluation"


def test_labels_that_name_no_document_are_refused_with_the_way_out(articles, jsonl, spec, no_encoder):
    labels = jsonl([{"query": "a question", "id": "nowhere"}], "labels.jsonl")
    with pytest.raises(BadData, match=r"none of 1 lines.*unknownDocument 1; the ids must be those of the archive"):
        prepare(spec(jsonl(articles(9)), labels=labels), encode_factory=no_encoder, report=quiet)
    wrong = jsonl([{"question": "a question", "id": "doc-0001"}], "labels.jsonl")
    with pytest.raises(BadData, match="no field 'query'; the fields there: question, id"):
        prepare(spec(jsonl(articles(9)), labels=wrong), encode_factory=no_encoder, report=quiet)


def test_feedback_makes_pairs_and_labelled_negatives(articles, jsonl, spec, encoder):
    rows = articles(50)
    given = [
        {"query": "how to prune", "documentId": rows[1]["id"], "rating": 5},
        {"query": "how to prune", "documentId": rows[1]["id"], "rating": 3},
        *({"query": "how to prune", "documentId": rows[n]["id"], "rating": 1} for n in (4, 5, 6)),
        {"query": "by its text", "answer": rows[3]["content"].upper(), "rating": 4},
        {"query": "no number", "documentId": rows[1]["id"], "rating": "good"},
    ]
    source = FeedbackSource(uri=jsonl(given, "feedback.jsonl"))
    summary = prepare(spec(jsonl(rows), feedback=source, per_query=1), encode_factory=encoder, report=quiet)
    pairs = {p.query: p for p in (*opened(summary).train(), *opened(summary).validation()) if p.source == "feedback"}
    assert summary.dropped_by_reason == {"badRating": 1, "contradictingFeedback": 1, "negativeOverLimit": 2}
    assert {query: pair.doc_id for query, pair in pairs.items()} == {
        "how to prune": rows[1]["id"],
        "by its text": rows[3]["id"],
    }
    assert set(pairs["how to prune"].neg_ids) < {rows[n]["id"] for n in (4, 5, 6)}


def test_suspect_title_pairs_are_dropped_counted_and_may_make_the_data_insufficient(articles, jsonl, spec, encoder):
    rows = articles(400)
    for number, row in enumerate(rows[:30]):
        row["title"] = f"Ticket zzz{number} yyy{number}"
    asked = spec(jsonl(rows), per_query=1)
    summary = prepare(asked, encode_factory=encoder, report=quiet)
    assert 5 <= summary.dropped_by_reason["suspectPair"] <= 30
    with pytest.raises(InsufficientData, match="suspectPair"):
        prepare(spec(jsonl(rows), per_query=1, min_examples=summary.examples + 1), encode_factory=encoder, report=quiet)


def test_an_archive_is_required(jsonl, articles, spec, no_encoder):
    asked = spec(jsonl(articles(3)))
    without = asked.model_copy(update={"data": asked.data.model_copy(update={"archive": None})})
    with pytest.raises(BadConfig, match=r"data\.archive is not set") as caught:
        prepare(without, encode_factory=no_encoder, report=quiet)
    assert caught.value.reason == "SourceNotDefined"


def test_progress_only_rises_and_ends_at_hundred(articles, jsonl, spec, encoder):
    seen = []
    prepare(spec(jsonl(articles(80)), per_query=2), encode_factory=encoder, report=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert seen[0] <= 10


def test_everything_may_lie_on_an_object_store(articles, spec, no_encoder, monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "ENDPOINT_URL": f"http://{host}:{port}",
        "ACCESS_KEY_ID": "t",
        "SECRET_ACCESS_KEY": "t",
    }.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    filesystem = store.resolve("s3://prepared").fs
    filesystem.clear_instance_cache()
    store.resolve("s3://prepared").fs.mkdir("prepared")
    store.write_text("s3://prepared/in.jsonl", "".join(json.dumps(row) + "\n" for row in articles(40)))
    asked = spec("s3://prepared/in.jsonl").model_copy(update={"storage": "s3://prepared/root"})
    summary = prepare(asked, encode_factory=no_encoder, report=quiet)
    assert summary.uri.startswith("s3://prepared/root/news/search/datasets/")
    assert len(opened(summary).train()) == summary.examples
    assert prepare(asked, encode_factory=no_encoder, report=quiet) == summary
    server.stop()
    filesystem.clear_instance_cache()
