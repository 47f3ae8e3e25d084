"""Brings a published snapshot to the local disk, checked. Called by the train and evaluate stages."""

import json
from pathlib import Path

from attune.contract import ArtifactRef
from attune_retrieval import store
from attune_retrieval.manifest import sha256
from attune_trainer.errors import BadConfig, BadData


def local_snapshot(dataset: ArtifactRef | None, scratch: Path) -> Path:
    """The snapshot's folder: where it lies if that is local, or a copy. BadData if a file is not as listed."""
    if dataset is None:
        raise BadConfig("the stage needs `dataset`, the snapshot that prepare made; it is not in the spec.")
    place = store.resolve(dataset.uri)
    if place.local and not store.folder_complete(dataset.uri):
        raise BadData(f"{dataset.uri}: no snapshot there; run the prepare stage again.", reason="DataNotFound")
    folder = Path(place.path) if place.local else store.fetch_folder(dataset.uri, scratch / "snapshot")
    found = sha256(folder / store.MANIFEST)
    if dataset.digest is not None and found != dataset.digest:
        raise _changed(dataset.uri, f"its manifest has digest {found}, expected {dataset.digest}")
    files = json.loads((folder / store.MANIFEST).read_text(encoding="utf-8")).get("files", {})
    for name, facts in files.items():
        if not (folder / name).is_file() or sha256(folder / name) != f"sha256:{facts['sha256']}":
            raise _changed(dataset.uri, f"{name} does not have the digest of the manifest")
    return folder


def _changed(uri: str, why: str) -> BadData:
    return BadData(
        f"snapshot {uri}: {why}; it was damaged or changed, run the prepare stage again.", reason="DigestMismatch"
    )
