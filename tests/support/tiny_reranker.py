"""A real artifact of a tiny cross-encoder with random weights, by the trainer's own exporter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attune.contract import ModelType, ServedVersion
from tiny_bert import build_tiny_cross_encoder


@dataclass(frozen=True)
class MadeReranker:
    """An artifact in a folder."""

    name: str
    folder: Path
    digest: str

    @property
    def served(self) -> ServedVersion:
        """As the configuration lists it."""
        return ServedVersion(name=self.name, type=ModelType.RERANKER, uri=str(self.folder), digest=self.digest)


def tiny_reranker(folder: Path, name: str, *, seed: int = 0, weight: float | None = None) -> MadeReranker:
    """2 layers, 32 dimensions, 64 positions; another seed ranks otherwise. `weight`: beside the search that it orders."""
    from attune_trainer import cross_encoder
    from attune_trainer.export import artifact
    from attune_trainer.export.reranker import write_reranker

    model = cross_encoder.load(build_tiny_cross_encoder(folder / f"base-{name}", seed=seed), max_length=None)
    told = artifact.Provenance(source="import", base_model=f"tiny-{seed}", rerank_weight=weight)
    written = write_reranker(model, folder / name, told)
    return MadeReranker(name, written.folder, written.digest)
