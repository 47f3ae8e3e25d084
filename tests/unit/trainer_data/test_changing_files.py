"""A file that is written to while it is read is no bad data: the stage ends with an error that is retried, and says what changed."""

import gzip
import http.server
import json
import os
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from attune.contract import ArchiveSource, ExitCode, FeedbackSource
from attune_retrieval import store
from attune_trainer.data.archive import read_archive, stream_archive
from attune_trainer.data.prepare import prepare
from attune_trainer.data.records import Tally
from attune_trainer.data.rows import open_rows
from attune_trainer.errors import BadData, StoreUnavailable


def local(address):
    return Path(address.removeprefix("file://"))


def read_while(address, change):
    """All rows of a file that `change` is done to after the first."""
    with open_rows(address, "jsonl", Tally()) as file:
        rows = file.rows()
        first = next(rows)
        change()
        return [first, *rows]


def test_an_archive_that_grows_while_it_is_read_is_named_with_what_changed(articles, jsonl):
    address = jsonl(articles(30))

    def grow():
        with local(address).open("a") as more:
            more.write(json.dumps(articles(1, start=500)[0]) + "\n")

    with pytest.raises(
        StoreUnavailable, match=r"archive.jsonl: the file changed while .* \(size \d+.* → size"
    ) as caught:
        read_while(address, grow)
    assert caught.value.reason == "SourceChanged"
    assert not ExitCode.is_final(caught.value.exit_code)


def test_a_file_that_is_replaced_with_one_of_the_same_size_is_noticed(articles, jsonl):
    address = jsonl(articles(30))

    def replace():
        other = local(address).with_suffix(".new")
        other.write_text(local(address).read_text().replace("2024", "2025"))
        other.replace(local(address))

    with pytest.raises(StoreUnavailable, match="changed while it was read"):
        read_while(address, replace)


def test_a_broken_file_is_not_called_bad_data_while_it_is_still_written(articles, jsonl):
    """A file that is broken is final; one that is not finished is not."""
    address = jsonl([*articles(3), *articles(2000, seed=8, start=100)])
    whole = gzip.compress(local(address).read_bytes())
    local(address).write_bytes(whole[:-20])
    with pytest.raises(BadData):
        read_archive(ArchiveSource(uri=address), Tally(), needs_title=True)
    with pytest.raises(StoreUnavailable) as caught:
        read_while(address, lambda: local(address).write_bytes(whole[:-10]))
    assert isinstance(caught.value.__cause__, BadData)


def test_the_whole_stage_ends_so_and_writes_no_snapshot(articles, jsonl, spec, no_encoder):
    """Another process appends to the feedback all the time."""
    row = {"query": "some words", "documentId": "doc-0001", "rating": 5}
    feedback = local(jsonl([row], "feedback.jsonl"))
    asked = spec(jsonl(articles(40)), feedback=FeedbackSource(uri=str(feedback)))
    command = f"while :; do echo '{json.dumps(row)}' >> {feedback}; done"
    with subprocess.Popen(["sh", "-c", command]) as writer:
        try:
            with pytest.raises(StoreUnavailable, match=r"feedback.jsonl: the file changed"):
                prepare(asked, encode_factory=no_encoder, report=lambda _: None)
        finally:
            writer.kill()
    assert not local(asked.storage).exists()
    assert prepare(asked, encode_factory=no_encoder, report=lambda _: None).by_source["feedback"] == 1


def test_the_index_stage_reads_by_the_same_rule(articles, jsonl):
    address = jsonl(articles(30))
    stream = stream_archive(ArchiveSource(uri=address), Tally(), {})
    next(stream)
    os.utime(local(address), ns=(1, 1))
    with pytest.raises(StoreUnavailable, match="changed while it was read"):
        list(stream)


class _Server(http.server.SimpleHTTPRequestHandler):
    """Files over HTTP, with the time of their last change."""

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def web(tmp_path):
    (tmp_path / "web").mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Server, directory=str(tmp_path / "web")))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield tmp_path / "web", f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_archive_and_feedback_may_lie_behind_http(web, articles, jsonl, spec, no_encoder):
    folder, address = web
    local(jsonl(articles(60))).rename(folder / "archive.jsonl")
    (folder / "feedback.csv").write_text("query,documentId,rating\nhow to prune,doc-0001,5\n")
    feedback = FeedbackSource(uri=f"{address}/feedback.csv", format="csv")
    summary = prepare(
        spec(f"{address}/archive.jsonl", feedback=feedback), encode_factory=no_encoder, report=lambda _: None
    )
    assert summary.by_source["feedback"] == 1
    with pytest.raises(BadData, match=r"missing.jsonl: not found; check the address"):
        read_archive(ArchiveSource(uri=f"{address}/missing.jsonl"), Tally(), needs_title=True)


def test_a_file_behind_http_that_changes_between_its_beginning_and_its_end_is_noticed(web, articles, jsonl):
    folder, address = web
    local(jsonl(articles(10))).rename(folder / "archive.jsonl")
    assert "Last-Modified" in store.fingerprint(f"{address}/archive.jsonl")
    with pytest.raises(StoreUnavailable, match="changed while it was read"):
        read_while(f"{address}/archive.jsonl", lambda: os.utime(folder / "archive.jsonl", (1, 1)))
