"""What a replica keeps on its own disk: artifacts by digest, and the last configuration. With them it starts while others are away.

    versions/<digest>/…          the artifact as it was fetched
    versions/<digest>.seen.json  the collection that was found right for it
    serving.json                 the last configuration that was valid

Blocking; called from threads.
"""

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from attune.contract import Contract, ServingConfig
from attune_retrieval import store


class SeenCollection(Contract):
    """A collection was there, of this space and size, when the version was loaded last."""

    collection: str
    space: str
    dimensions: int
    documents: int


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder that may be emptied at any time while nothing runs."""

    root: Path

    def folder(self, digest: str) -> Path:
        """Where the artifact of this manifest digest is, or would be."""
        return self.root / "versions" / digest.removeprefix("sha256:")

    def has(self, digest: str) -> bool:
        return (self.folder(digest) / store.MANIFEST).is_file()

    def fetch(self, uri: str, digest: str) -> Path:
        """The artifact's folder, copied from the store unless it is here. Raises what `store.fetch_folder` raises."""
        folder = self.folder(digest)
        if not self.has(digest):
            folder.parent.mkdir(parents=True, exist_ok=True)
            store.fetch_folder(uri, folder)
        return folder

    def drop(self, digest: str) -> None:
        """Forget an artifact; absent is fine."""
        shutil.rmtree(self.folder(digest), ignore_errors=True)

    def sweep(self, keep: set[str]) -> None:
        """Delete the artifacts of all other digests."""
        names = {digest.removeprefix("sha256:") for digest in keep}
        for path in (self.root / "versions").glob("*"):
            if path.name.removesuffix(".seen.json") in names or path.name.startswith("."):
                continue
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def seen(self, digest: str) -> SeenCollection | None:
        """The collection that was found right for this artifact."""
        try:
            return SeenCollection.from_json(
                (self.root / "versions" / f"{self.folder(digest).name}.seen.json").read_bytes()
            )
        except (OSError, ValidationError):
            return None

    def saw(self, digest: str, found: SeenCollection) -> None:
        """Remember it."""
        path = self.root / "versions" / f"{self.folder(digest).name}.seen.json"
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            store.write_text(str(path), found.to_json())

    def last(self) -> ServingConfig | None:
        """The last valid configuration; None where there is none, or it cannot be read."""
        try:
            return ServingConfig.from_json((self.root / "serving.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def remember(self, config: ServingConfig) -> None:
        """Keep it for the next start; a full disk is no reason to stop serving."""
        with suppress(Exception):
            self.root.mkdir(parents=True, exist_ok=True)
            store.write_text(str(self.root / "serving.json"), config.to_json(indent=2))
