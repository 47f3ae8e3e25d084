"""What is new since the snapshot that was last trained on, and what becomes of snapshots that nothing refers to."""

import shutil
from pathlib import Path

import pytest

from attune.contract import ArtifactRef, FeedbackSource
from attune_trainer.data.prepare import prepare
from attune_trainer.running import run
from attune_trainer.signals import Termination


@pytest.fixture
def prepared(spec, no_encoder):
    def run(archive, last=None, **data):
        reference = last and ArtifactRef(name="emb-v2", uri=last.uri, digest=last.digest)
        asked = spec(archive, **data).model_copy(update={"last_trained": reference})
        return prepare(asked, encode_factory=no_encoder, report=lambda _: None)

    return run


def test_without_an_earlier_snapshot_everything_is_new(articles, jsonl, prepared):
    summary = prepared(jsonl(articles(60)))
    assert summary.new_pairs == summary.examples == 50


def test_the_same_data_again_has_nothing_new_and_is_the_same_snapshot(articles, jsonl, prepared):
    archive = jsonl(articles(60))
    first = prepared(archive)
    again = prepared(archive, first)
    assert (again.new_pairs, again.digest) == (0, first.digest)


def test_new_articles_changed_texts_and_new_feedback_are_new(articles, jsonl, prepared):
    """Undated: an article keeps its side when others are added."""
    rows = articles(200, dated=False)
    first = prepared(jsonl(rows))
    changed = [{**row, "content": row["content"] + " And more."} if n < 20 else row for n, row in enumerate(rows)]
    rated = [
        {"query": f"question number {n}", "documentId": row["id"], "rating": 5} for n, row in enumerate(rows[50:60])
    ]
    feedback = FeedbackSource(uri=jsonl(rated, "feedback.jsonl"))
    more = prepared(
        jsonl([*changed, *articles(30, seed=9, start=900, dated=False)], "more.jsonl"), first, feedback=feedback
    )
    grown = more.examples - first.examples
    assert 0 < grown < more.new_pairs <= 60
    assert more.new_pairs == pytest.approx(grown + 20 * first.examples / 200, abs=6)


def test_only_the_held_out_set_is_asked_for_and_nothing_is_new(articles, jsonl, prepared):
    assert prepared(jsonl(articles(30)), min_examples=0).new_pairs is None


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_where_the_earlier_snapshot_is_gone_or_damaged_nobody_knows(articles, jsonl, prepared, harm, caplog):
    first = prepared(jsonl(articles(60)))
    folder = Path(first.uri.removeprefix("file://"))
    if harm == "gone":
        folder.rename(folder.with_name("elsewhere"))
    else:
        (folder / "train.jsonl").write_text((folder / "train.jsonl").read_text().replace("a", "b"))
    summary = prepared(jsonl(articles(80), "more.jsonl"), first)
    assert summary.new_pairs is None
    assert summary.examples > 0
    assert "what is new cannot be told" in caplog.text
    shutil.rmtree(folder.parent)


def superseding(asked, old):
    return asked.model_copy(update={"superseded": ArtifactRef(name="dataset", uri=old.uri, digest=old.digest)})


def test_a_snapshot_that_nothing_refers_to_is_deleted_once_the_next_one_is_published(articles, jsonl, spec, no_encoder):
    def made(asked):
        return prepare(asked, encode_factory=no_encoder, report=lambda _: None)

    first = made(spec(jsonl(articles(60))))
    folder = Path(first.uri.removeprefix("file://"))
    again = made(superseding(spec(jsonl(articles(60))), first))
    assert again.digest == first.digest
    assert folder.is_dir(), "the same data is the same snapshot, which is not in its own way"
    more = made(superseding(spec(jsonl(articles(80), "more.jsonl")), first))
    assert more.digest != first.digest
    assert not folder.exists()
    assert Path(more.uri.removeprefix("file://")).is_dir()


def test_nothing_outside_of_the_snapshots_of_its_retriever_is_deleted(articles, jsonl, spec, no_encoder, tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    asked = spec(jsonl(articles(60)))
    old = ArtifactRef(name="dataset", uri=f"file://{other}", digest="sha256:0")
    prepare(asked.model_copy(update={"superseded": old}), encode_factory=no_encoder, report=lambda _: None)
    assert other.is_dir()


def test_the_next_scheduled_time_looks_at_the_sources_anew_and_a_retry_of_the_same_one_does_not(articles, jsonl, spec):
    asked = spec(jsonl(articles(60))).model_copy(update={"run": 202603220200})
    first = run(asked, Termination(), lambda _: None)
    jsonl(articles(90))  # the same file has grown
    retried = run(asked, Termination(), lambda _: None)
    later = run(asked.model_copy(update={"run": 202603290200}), Termination(), lambda _: None)
    assert first.result.succeeded
    assert retried.result == first.result
    assert later.result.dataset.documents == 90
