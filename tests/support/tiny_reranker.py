"""A real artifact of a tiny cross-encoder with random weights, by the trainer's own exporter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from attune.contract import ModelType, ServedVersion
from tiny_bert import COLOURS, SPECIAL, THINGS, VERBS


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


def tiny_reranker(folder: Path, name: str, *, seed: int = 0) -> MadeReranker:
    """2 layers, 32 dimensions, 64 positions; another seed ranks otherwise."""
    from attune_trainer import cross_encoder
    from attune_trainer.export import artifact
    from attune_trainer.export.reranker import write_reranker

    model = cross_encoder.load(_base(folder / f"base-{name}", seed), max_length=None)
    written = write_reranker(model, folder / name, artifact.Provenance(source="import", base_model=f"tiny-{seed}"))
    return MadeReranker(name, written.folder, written.digest)


def _base(folder: Path, seed: int) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    torch.manual_seed(seed)
    folder.mkdir(parents=True)
    vocabulary = [*SPECIAL, "the", "and", "is", *COLOURS, *THINGS, *VERBS, *"abcdefghijklmnopqrstuvwxyz"]
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.4,
        num_labels=1,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return folder
