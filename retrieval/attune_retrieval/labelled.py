"""Labelled queries of a snapshot of training data, for whoever measures retrieval without the trainer: serving's probe.

The files are those of `attune_trainer.data.snapshot`: queries.jsonl `{"_id", "text"}`, qrels.tsv (query, document and grade after a
line of names), and manifest.json with the sha256 of each. Nothing is believed that does not have its digest.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import xxhash

from attune_retrieval import store
from attune_retrieval.errors import BadData

FORMAT = "attune.dev/dataset/v1alpha1"
QUERIES, QRELS = "queries.jsonl", "qrels.tsv"


@dataclass(frozen=True, slots=True)
class Labelled:
    """A held-out query, and the documents that answer it (grade above 0)."""

    id: str
    text: str
    relevant: frozenset[str]


def read_labelled(uri: str, digest: str, most: int) -> tuple[Labelled, ...]:
    """At most `most` queries that have an answer, the same ones in every process: those with the smallest hashes of their ids.

    `digest` is the sha256 of the manifest. BadData for what is damaged, is another snapshot or none; StoreUnavailable.
    """
    files = _files(uri.rstrip("/"), digest)
    try:
        relevant = _relevant(files[QRELS])
        texts = {str(row["_id"]): str(row["text"]) for row in _rows(files[QUERIES])}
    except (ValueError, KeyError, TypeError) as error:
        raise BadData(
            f"{uri}: {QUERIES} or {QRELS} is not in the form of {FORMAT}: {error!r}", reason="WrongFormat"
        ) from error
    chosen = sorted((one for one in texts if one in relevant), key=lambda one: (_hash(one), one))[:most]
    return tuple(Labelled(one, texts[one], frozenset(relevant[one])) for one in chosen)


def _files(uri: str, digest: str) -> dict[str, bytes]:
    """Both files, as the manifest of this digest has them."""
    manifest = store.read_bytes(f"{uri}/{store.MANIFEST}")
    if (found := f"sha256:{hashlib.sha256(manifest).hexdigest()}") != digest:
        raise BadData(f"{uri}: the snapshot's digest is {found}, expected {digest}", reason="DigestMismatch")
    try:
        facts: dict[str, Any] = json.loads(manifest)
        stated = {name: str(facts["files"][name]["sha256"]) for name in (QUERIES, QRELS)}
    except (ValueError, KeyError, TypeError) as error:
        raise BadData(f"{uri}: its manifest names no {QUERIES} and {QRELS}: {error!r}", reason="WrongFormat") from error
    if facts.get("format") != FORMAT:
        raise BadData(f"{uri}: format {facts.get('format')!r}, read is {FORMAT}", reason="WrongFormat")
    files = {name: store.read_bytes(f"{uri}/{name}") for name in stated}
    for name, data in files.items():
        if hashlib.sha256(data).hexdigest() != stated[name]:
            raise BadData(
                f"{uri}/{name}: its sha256 is not the manifest's {stated[name][:16]}…", reason="DigestMismatch"
            )
    return files


def _rows(data: bytes) -> Iterator[dict[str, Any]]:
    # Not splitlines(): U+2028 and the like are line breaks to Python, and legal inside JSON.
    return (json.loads(line) for line in data.split(b"\n") if line)


def _relevant(data: bytes) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in data.decode().split("\n")[1:]:
        if not line:
            continue
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            found.setdefault(query, set()).add(document)
    return found


def _hash(identifier: str) -> int:
    return xxhash.xxh3_64_intdigest(identifier.encode())
