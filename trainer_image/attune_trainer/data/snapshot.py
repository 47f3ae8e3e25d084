"""A snapshot of training data in the store: written by prepare, read by train and evaluate.

    train.jsonl validation.jsonl     pairs {"query","pos","neg","score","source","queryId","docId","negIds"}
    corpus.jsonl queries.jsonl qrels.tsv     held-out queries over the whole corpus, in BEIR's form
    manifest.json     inputs, settings, counts, and the sha256 of every file

The folder is named by the digest of its manifest. The same inputs give the same bytes, so the same name: a retry finds
its work done.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attune_retrieval import store
from attune_trainer.data.records import Document, Judgement, Pair
from attune_trainer.errors import BadData, StoreUnavailable

FORMAT = "attune.dev/dataset/v1alpha1"
TRAIN, VALIDATION, CORPUS, QUERIES, QRELS = (
    "train.jsonl",
    "validation.jsonl",
    "corpus.jsonl",
    "queries.jsonl",
    "qrels.tsv",
)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a snapshot. `facts` is the manifest without the list of files."""

    train: Iterable[Pair]
    validation: Iterable[Pair]
    corpus: Iterable[Document]
    held_out: Iterable[Judgement]
    facts: Json


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot in the store. Every file is checked against the manifest when it is read."""

    uri: str
    digest: str
    manifest: Json

    def train(self) -> list[Pair]:
        return [Pair.from_json(row) for row in self._rows(TRAIN)]

    def validation(self) -> list[Pair]:
        return [Pair.from_json(row) for row in self._rows(VALIDATION)]

    def corpus(self) -> dict[str, str]:
        """Document id → text, without the title."""
        return {row["_id"]: row["text"] for row in self._rows(CORPUS)}

    def queries(self) -> dict[str, str]:
        """Held-out queries, id → text."""
        return {row["_id"]: row["text"] for row in self._rows(QUERIES)}

    def qrels(self) -> dict[str, dict[str, int]]:
        """Query id → document id → grade (0: judged not relevant)."""
        found: dict[str, dict[str, int]] = {}
        for line in self._file(QRELS).decode().splitlines()[1:]:
            query, document, grade = line.split("\t")
            found.setdefault(query, {})[document] = int(grade)
        return found

    def _rows(self, name: str) -> Iterator[Json]:
        # Not splitlines(): U+2028 and the like are line breaks to Python, and legal inside JSON.
        return (json.loads(line) for line in self._file(name).split(b"\n") if line)

    def _file(self, name: str) -> bytes:
        data = store.read_bytes(f"{self.uri}/{name}")
        stated = self.manifest["files"][name]["sha256"]
        if hashlib.sha256(data).hexdigest() != stated:
            raise BadData(
                f"{self.uri}/{name}: its sha256 is not the manifest's {stated[:16]}…; prepare again",
                reason="DigestMismatch",
            )
        return data


def write_snapshot(contents: Contents, datasets: str) -> Snapshot:
    """Write, publish under `datasets` and return the snapshot; one that is there already, whole, is left as it is."""
    try:
        with tempfile.TemporaryDirectory(prefix="attune-snapshot-") as name:
            folder = Path(name)
            manifest = _write(contents, folder)
            digest = hashlib.sha256(manifest).hexdigest()
            snapshot = Snapshot(f"{datasets.rstrip('/')}/{digest[:16]}", f"sha256:{digest}", json.loads(manifest))
            if not _is_there(snapshot, manifest):
                store.publish_folder(folder, snapshot.uri)
            return snapshot
    except OSError as error:
        raise StoreUnavailable(
            f"no room to write the snapshot in {tempfile.gettempdir()}: {error}; make room, or set TMPDIR"
        ) from error


def load_snapshot(uri: str, digest: str | None = None) -> Snapshot:
    """Open a snapshot; BadData where it is not there, or not the one that `digest` (sha256 of its manifest) names."""
    manifest = store.read_bytes(f"{uri.rstrip('/')}/{store.MANIFEST}")
    found = "sha256:" + hashlib.sha256(manifest).hexdigest()
    if digest is not None and found != digest:
        raise BadData(
            f"{uri}: the snapshot's digest is {found}, expected {digest}; prepare again", reason="DigestMismatch"
        )
    facts = json.loads(manifest)
    if facts.get("format") != FORMAT:
        raise BadData(
            f"{uri}: format {facts.get('format')!r}, this trainer reads {FORMAT}; prepare again", reason="WrongFormat"
        )
    return Snapshot(uri.rstrip("/"), found, facts)


def _is_there(snapshot: Snapshot, manifest: bytes) -> bool:
    """Whole: the same manifest, and every file as it says. One that was damaged since is written anew."""
    if not store.folder_complete(snapshot.uri):
        return False
    try:
        same = store.read_bytes(f"{snapshot.uri}/{store.MANIFEST}") == manifest
        for name in snapshot.manifest["files"]:
            snapshot._file(name)
    except BadData:
        return False
    return same


def _write(contents: Contents, folder: Path) -> bytes:
    held_out = list(contents.held_out)
    queries = {judgement.query_id: judgement.query for judgement in held_out}
    files = {
        TRAIN: _lines(pair.to_json() for pair in contents.train),
        VALIDATION: _lines(pair.to_json() for pair in contents.validation),
        CORPUS: _lines({"_id": d.id, "title": "", "text": d.content} for d in contents.corpus),
        QUERIES: _lines({"_id": identifier, "text": text} for identifier, text in queries.items()),
        QRELS: _qrels(held_out),
    }
    written = {name: _write_file(folder / name, lines) for name, lines in files.items()}
    manifest = {"format": FORMAT, **contents.facts, "files": written}
    data = (json.dumps(manifest, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
    (folder / store.MANIFEST).write_bytes(data)
    return data


def _write_file(path: Path, lines: Iterable[bytes]) -> Json:
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for line in lines:
            file.write(line)
            digest.update(line)
            size += len(line)
    return {"sha256": digest.hexdigest(), "bytes": size}


def _lines(rows: Iterable[Json]) -> Iterator[bytes]:
    return (json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for row in rows)


def _qrels(held_out: Iterable[Judgement]) -> Iterator[bytes]:
    yield b"query-id\tcorpus-id\tscore\n"
    for judgement in held_out:
        grade = max(1, round(judgement.grade)) if judgement.grade > 0 else 0
        yield f"{judgement.query_id}\t{judgement.doc_id}\t{grade}\n".encode()
