"""How much of a snapshot is new since the one that was last trained on. Called by prepare.py."""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence

from attune.contract import ArtifactRef
from attune_retrieval import store
from attune_trainer.data.records import Pair
from attune_trainer.data.snapshot import TRAIN, VALIDATION, load_snapshot
from attune_trainer.errors import BadData

log = logging.getLogger(__name__)


def new_pairs(pairs: Sequence[Pair], last: ArtifactRef | None) -> int | None:
    """Pairs whose query and text the snapshot `last` has neither for training nor for validation; all without a `last`.

    None where that snapshot is gone or damaged: then nobody knows. StoreUnavailable where the store does not answer.
    """
    if last is None:
        return len(pairs)
    try:
        known = set(_pairs_of(last))
    except BadData as error:
        log.warning("what is new cannot be told: %s", error)
        return None
    return sum(_identity(pair.query, pair.pos) not in known for pair in pairs)


def _pairs_of(last: ArtifactRef) -> Iterator[bytes]:
    """Line by line: a snapshot with its negatives may be larger than the memory."""
    snapshot = load_snapshot(last.uri, last.digest)
    for name in (TRAIN, VALIDATION):
        digest = hashlib.sha256()
        with store.open_lines(f"{snapshot.uri}/{name}") as lines:
            for line in lines:
                digest.update(line)
                row = json.loads(line)
                yield _identity(row["query"], row["pos"])
        if digest.hexdigest() != snapshot.manifest["files"][name]["sha256"]:
            raise BadData(f"{snapshot.uri}/{name}: its sha256 is not the manifest's", reason="DigestMismatch")


def _identity(query: str, text: str) -> bytes:
    return hashlib.sha256(f"{query}\0{text}".encode()).digest()[:16]
