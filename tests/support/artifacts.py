"""Real artifacts of tiny models: exported, with golden answers and a manifest, published as a version's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attune.contract import ArtifactRef
from tiny_bert import build_tiny_model


@dataclass(frozen=True)
class Made:
    """An artifact in a folder."""

    name: str
    folder: Path
    digest: str
    space: str
    dimensions: int

    @property
    def reference(self) -> ArtifactRef:
        return ArtifactRef(name=self.name, uri=str(self.folder), digest=self.digest)


def tiny_artifact(folder: Path, name: str, *, seed: int = 0) -> Made:
    """An exported tiny BERT; another seed is another embedding space."""
    from attune_trainer import base_model
    from attune_trainer.export import artifact

    model = base_model.load_model(build_tiny_model(folder / f"base-{name}", seed=seed))
    provenance = artifact.Provenance(source="import", base_model=f"tiny-{seed}")
    written = artifact.write(model, folder / name, provenance)
    manifest = written.manifest
    assert manifest.embedding_space is not None
    assert manifest.dimensions is not None
    return Made(name, written.folder, written.digest, manifest.embedding_space, manifest.dimensions)
