"""A snapshot: the same inputs give the same bytes, and what is read is what the manifest says."""

import hashlib
import json
from pathlib import Path

import pytest

from attune_trainer.data.records import Document, Judgement, Pair
from attune_trainer.data.snapshot import Contents, load_snapshot, write_snapshot
from attune_trainer.errors import BadData, StoreUnavailable

PAIR = Pair("a query", "line\u2028break", "archive", "q-1", "d1", ("no",), ("d2",), 0.5)


def contents(**facts):
    held_out = [
        Judgement("what is it", "d3", 2, "evaluation"),
        Judgement("what is it", "d1", 0, "evaluation"),
        Judgement("half", "d3", 0.4, "evaluation"),
    ]
    corpus = [Document("d1", "title", "line\u2028break"), Document("d2", "", "no"), Document("d3", "", "held out")]
    return Contents([PAIR], [], corpus, held_out, facts)


def path(snapshot) -> Path:
    return Path(snapshot.uri)


def test_what_was_written_is_read_back(tmp_path):
    written = write_snapshot(contents(seed=1), str(tmp_path))
    snapshot = load_snapshot(written.uri, written.digest)
    assert snapshot == written
    assert snapshot.train() == [PAIR]
    assert snapshot.validation() == []
    assert snapshot.corpus() == {"d1": "line\u2028break", "d2": "no", "d3": "held out"}
    identifiers = {text: identifier for identifier, text in snapshot.queries().items()}
    assert snapshot.qrels() == {identifiers["what is it"]: {"d3": 2, "d1": 0}, identifiers["half"]: {"d3": 1}}


def test_pairs_and_beir_files_have_their_fixed_form(tmp_path):
    folder = path(write_snapshot(contents(), str(tmp_path)))
    assert list(json.loads((folder / "train.jsonl").read_text())) == [
        "query", "pos", "neg", "score", "source", "queryId", "docId", "negIds",
    ]  # fmt: skip
    assert json.loads((folder / "corpus.jsonl").open().readline()) == {
        "_id": "d1",
        "title": "",
        "text": "line\u2028break",
    }
    assert set(json.loads((folder / "queries.jsonl").open().readline())) == {"_id", "text"}
    assert (folder / "qrels.tsv").open().readline() == "query-id\tcorpus-id\tscore\n"


def test_the_manifest_holds_the_sha256_of_every_file_and_names_the_folder(tmp_path):
    snapshot = write_snapshot(contents(seed=1), str(tmp_path))
    files = {p.name for p in path(snapshot).iterdir()} - {"manifest.json"}
    assert set(snapshot.manifest["files"]) == files
    for name, stated in snapshot.manifest["files"].items():
        data = (path(snapshot) / name).read_bytes()
        assert stated == {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    digest = hashlib.sha256((path(snapshot) / "manifest.json").read_bytes()).hexdigest()
    assert (snapshot.digest, path(snapshot).name) == (f"sha256:{digest}", digest[:16])
    assert path(write_snapshot(contents(seed=2), str(tmp_path))).name != digest[:16]


def test_a_snapshot_that_is_there_is_left_as_it_is_and_a_damaged_one_is_written_anew(tmp_path):
    first = write_snapshot(contents(), str(tmp_path))
    before = (path(first) / "train.jsonl").stat().st_ino
    assert write_snapshot(contents(), str(tmp_path)) == first
    assert (path(first) / "train.jsonl").stat().st_ino == before
    (path(first) / "train.jsonl").write_text("damaged")
    write_snapshot(contents(), str(tmp_path))
    assert load_snapshot(first.uri, first.digest).train() == [PAIR]


def test_another_digest_or_a_changed_file_is_refused(tmp_path):
    snapshot = write_snapshot(contents(), str(tmp_path))
    with pytest.raises(BadData, match="expected sha256:00") as caught:
        load_snapshot(snapshot.uri, "sha256:00")
    assert caught.value.reason == "DigestMismatch"
    with (path(snapshot) / "corpus.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(BadData, match=r"corpus\.jsonl: its sha256 is not the manifest's"):
        load_snapshot(snapshot.uri).corpus()
    (path(snapshot) / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(BadData, match="this trainer reads"):
        load_snapshot(snapshot.uri)


def test_no_room_for_the_working_copy_is_said_with_the_variable_to_set(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(StoreUnavailable, match="TMPDIR"):
        write_snapshot(contents(), str(tmp_path))
