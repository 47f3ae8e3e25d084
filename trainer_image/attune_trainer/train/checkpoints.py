"""Checkpoints in the artifact store, so that another pod on another node can go on. Used by `watch` and `embedding`.

A checkpoint is a folder published whole, with the digest of every file: one cut short or damaged is passed over.
"""

import json
import logging
import shutil
from dataclasses import dataclass
from pathlib import Path

from attune.contract.layout import join
from attune_retrieval import store
from attune_retrieval.manifest import FileDigest, file_digests, sha256
from attune_trainer.errors import BadData

log = logging.getLogger(__name__)
KEEP = 2
PREFIX = "step-"
WAY_OF_TRAINING = 3
"""Goes up with every change that lets a run go on otherwise than it began (which rows share a batch, what a look is taken on): a
run that an earlier release began starts again."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one run. `identity` is the digest of what is trained: another identity is another training."""

    uri: str
    identity: str

    @staticmethod
    def of(uri: str, digest: str) -> "Checkpoints":
        """Of the training that has this digest, done as this release does it."""
        return Checkpoints(uri, f"{digest}/{WAY_OF_TRAINING}")

    def publish(self, folder: Path, step: int) -> None:
        """Make `folder` the newest checkpoint, then drop all but the newest KEEP; later ones, which were passed over, too."""
        manifest = {
            "identity": self.identity,
            "step": step,
            "files": [file.model_dump(by_alias=True) for file in file_digests(folder)],
        }
        (folder / store.MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        store.publish_folder(folder, self._place(step))
        steps = self.steps()
        kept = [other for other in steps if other <= step][:KEEP]
        for other in steps:
            if other not in kept:
                store.delete(self._place(other))

    def steps(self) -> list[int]:
        """Steps of the published checkpoints, newest first."""
        names = [name.removeprefix(PREFIX) for name in store.list_names(self.uri) if name.startswith(PREFIX)]
        return sorted((int(name) for name in names if name.isdigit()), reverse=True)

    def newest(self, scratch: Path) -> tuple[int, Path] | None:
        """The newest checkpoint that is whole and of this training, copied below `scratch`; None: begin at 0."""
        for step in self.steps():
            try:
                return self.at(step, scratch)
            except BadData as error:
                log.warning("checkpoint of step %d is passed over: %s", step, error)
                shutil.rmtree(scratch / f"checkpoint-{step}", ignore_errors=True)
        return None

    def at(self, step: int, scratch: Path) -> tuple[int, Path]:
        """The checkpoint of this step, copied below `scratch`. BadData where it is damaged or of another training."""
        target = scratch / f"checkpoint-{step}"
        store.fetch_folder(self._place(step), target)
        self._check(target)
        return step, target

    def clear(self) -> None:
        """Remove all: the run has its result."""
        store.delete(self.uri)

    def _place(self, step: int) -> str:
        return join(self.uri, f"{PREFIX}{step}")

    def _check(self, folder: Path) -> None:
        try:
            manifest = json.loads((folder / store.MANIFEST).read_text(encoding="utf-8"))
            files = [FileDigest.model_validate(entry) for entry in manifest["files"]]
            identity = manifest["identity"]
        except (ValueError, KeyError, OSError) as error:
            raise BadData(f"its manifest is damaged: {error!r}") from error
        if identity != self.identity:
            raise BadData("it belongs to a run with other data or another configuration")
        for file in files:
            path = folder / file.path
            if not path.is_file() or path.stat().st_size != file.bytes or sha256(path) != file.sha256:
                raise BadData(f"{file.path} is missing, cut short or damaged")
