"""Real artifacts of tiny models: exported, with golden answers and a manifest, published as a version's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attune.contract import ArtifactRef
from attune_retrieval.index import Document, Identity, Store
from tiny_bert import build_tiny_model, sentences


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


def tiny_artifact(folder: Path, name: str, *, seed: int = 0, dense_weight: float | None = None) -> Made:
    """An exported tiny BERT; another seed is another embedding space. `dense_weight`: its vectors' share in a hybrid search."""
    from attune_trainer import base_model
    from attune_trainer.export import artifact

    model = base_model.load_model(build_tiny_model(folder / f"base-{name}", seed=seed))
    provenance = artifact.Provenance(source="import", base_model=f"tiny-{seed}", dense_weight=dense_weight)
    written = artifact.write(model, folder / name, provenance)
    manifest = written.manifest
    assert manifest.embedding_space is not None
    assert manifest.dimensions is not None
    return Made(name, written.folder, written.digest, manifest.embedding_space, manifest.dimensions)


def collection_of(made: Made) -> str:
    return f"c_{made.name.replace('-', '_')}"


def write_sentences(store: Store, made: Made) -> None:
    """A complete collection of the 120 documents, in the version's own space."""
    from attune_retrieval.artifact import open_verified

    documents = [
        Document(f"d{n:03}", query, text, f"2026-01-{n % 28 + 1:02}T00:00:00+00:00")
        for n, (query, text) in enumerate(sentences())
    ]
    collection = store.create(collection_of(made), Identity(made.space, made.dimensions))
    encoder = open_verified(made.folder, made.digest).encoder
    collection.write(documents, encoder.encode([d.content for d in documents], "document"), new=True)
    collection.finish()
