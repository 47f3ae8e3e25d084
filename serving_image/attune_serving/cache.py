"""What a replica keeps on its own disk: artifacts by digest, and the last configuration. With them it starts while others are away.

    versions/<digest>/…          the artifact as it was fetched
    versions/<digest>.seen.json  the collection that was found right for it
    serving.json                 the last configuration that was valid

Blocking; called from threads.
"""

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from attune.contract import Contract, ServingConfig
from attune_retrieval import store
from attune_retrieval.errors import StoreUnavailable

SEEN = ".seen.json"
PAUSE_SECONDS = 0.002
"""After each MiB that is copied. Without it, requests beside a copy of 180 MB waited for up to a tenth of a second."""


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
            store.fetch_folder(uri, folder, lambda: time.sleep(PAUSE_SECONDS))
        return folder

    def drop(self, digest: str) -> None:
        """Forget an artifact; absent is fine."""
        shutil.rmtree(self.folder(digest), ignore_errors=True)

    def sweep(self, used: Callable[[], set[str]]) -> None:
        """Delete the artifacts of all digests that are not in use; asked anew for each, as loading goes on meanwhile."""
        versions = self.root / "versions"
        for killed in versions.glob(".*.dying"):
            shutil.rmtree(killed, ignore_errors=True)
        for path in versions.glob("[!.]*"):
            if f"sha256:{path.name.removesuffix(SEEN)}" in used():
                continue
            with suppress(OSError):
                if path.is_dir():
                    dying = path.with_name(f".{path.name}.dying")
                    path.replace(dying)  # at once, so that nobody finds half of it
                    shutil.rmtree(dying, ignore_errors=True)
                else:
                    path.unlink()

    def seen(self, digest: str) -> SeenCollection | None:
        """The collection that was found right for this artifact."""
        try:
            return SeenCollection.from_json(self._seen(digest).read_bytes())
        except (OSError, ValidationError):
            return None

    def saw(self, digest: str, found: SeenCollection) -> None:
        """Remember it."""
        path = self._seen(digest)
        with suppress(OSError, StoreUnavailable):
            path.parent.mkdir(parents=True, exist_ok=True)
            store.write_text(str(path), found.to_json())

    def _seen(self, digest: str) -> Path:
        return self.root / "versions" / f"{self.folder(digest).name}{SEEN}"

    def last(self) -> ServingConfig | None:
        """The last valid configuration; None where there is none, or it cannot be read."""
        try:
            return ServingConfig.from_json((self.root / "serving.json").read_bytes())
        except (OSError, ValidationError):
            return None

    def remember(self, config: ServingConfig) -> None:
        """Keep it for the next start; a full disk is no reason to stop serving."""
        with suppress(OSError, StoreUnavailable):
            self.root.mkdir(parents=True, exist_ok=True)
            store.write_text(str(self.root / "serving.json"), config.to_json(indent=2))
