"""Labelled queries of a snapshot that the trainer wrote: the same ones for every reader, and nothing that is damaged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from attune_retrieval.errors import BadData
from attune_retrieval.labelled import read_labelled
from probe_snapshot import probe_snapshot
from tiny_bert import write_snapshot

LABELS = [
    (f"query {n}\u2028of two lines", f"d{n + k}", grade)
    for n in range(20)
    for k, grade in ((0, 1.0), (1, 0.0), (2, 3.0))
]


def test_what_the_trainer_wrote_is_read_with_every_document_that_answers(tmp_path: Path) -> None:
    probe = probe_snapshot(tmp_path, LABELS)
    found = {one.text: one.relevant for one in read_labelled(probe.uri, probe.digest, 1000)}
    assert found == {f"query {n}\u2028of two lines": {f"d{n}", f"d{n + 2}"} for n in range(20)}


def test_some_of_many_are_always_the_same_ones(tmp_path: Path) -> None:
    probe, again = probe_snapshot(tmp_path, LABELS), probe_snapshot(tmp_path / "again", LABELS[::-1])
    few = read_labelled(probe.uri, probe.digest, 7)
    assert len(few) == 7
    assert few == read_labelled(probe.uri + "/", probe.digest, 7)
    assert {one.id for one in few} == {one.id for one in read_labelled(again.uri, again.digest, 7)}
    assert few == read_labelled(probe.uri, probe.digest, 20)[:7]


def test_queries_without_an_answer_are_left_out(tmp_path: Path) -> None:
    probe = probe_snapshot(tmp_path, [("answered", "d1", 1.0), ("not answered", "d2", 0.0)])
    assert [one.text for one in read_labelled(probe.uri, probe.digest, 10)] == ["answered"]
    nothing = probe_snapshot(tmp_path / "nothing", [])
    assert read_labelled(nothing.uri, nothing.digest, 10) == ()


def flip(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(bytes(data))

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip("queries.jsonl"), "DigestMismatch"),
        (flip("qrels.tsv"), "DigestMismatch"),
        (flip("manifest.json"), "DigestMismatch"),
        (lambda folder: (folder / "qrels.tsv").unlink(), "DataNotFound"),
        (lambda folder: (folder / "manifest.json").unlink(), "DataNotFound"),
    ],
)
def test_what_is_damaged_is_not_believed(tmp_path: Path, damage: Callable[[Path], None], reason: str) -> None:
    made = write_snapshot(tmp_path)
    assert len(read_labelled(made.uri, made.digest, 5)) == 5
    damage(tmp_path)
    with pytest.raises(BadData) as bad:
        read_labelled(made.uri, made.digest, 5)
    assert bad.value.reason == reason


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qrels.tsv", "names\nonly two\tcolumns\n"),
        ("qrels.tsv", "names\nq\td\tmany\n"),
        ("queries.jsonl", "{broken"),
        ("queries.jsonl", '{"id": 1}'),
        ("manifest.json", "[]"),
        ("manifest.json", '{"format": "attune.dev/dataset/v1alpha1", "files": {}}'),
        ("manifest.json", None),
    ],
)
def test_what_is_of_another_form_is_said_to_be(tmp_path: Path, name: str, text: str | None) -> None:
    """With the right digests: another release wrote it."""
    write_snapshot(tmp_path)
    facts = json.loads((tmp_path / "manifest.json").read_text())
    if text is not None:
        (tmp_path / name).write_text(text)
    if name == "manifest.json":
        text = text or json.dumps(facts | {"format": "attune.dev/dataset/v9"})
    else:
        facts["files"][name]["sha256"] = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
        text = json.dumps(facts)
    (tmp_path / "manifest.json").write_text(text)
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    with pytest.raises(BadData) as bad:
        read_labelled(str(tmp_path), digest, 5)
    assert bad.value.reason == "WrongFormat"
