"""Versions that pass every check and are wrong all the same: their golden answers are right, what users ask for is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from artifacts import Made
from tiny_bert import build_tiny_cross_encoder, build_tiny_model
from tiny_reranker import MadeReranker

Change = Callable[[Any, Any], None]
"""What is done to the table of word vectors, with the tokenizer at hand."""


def nan_for(word: str) -> Change:
    """No numbers for every text with this word; no golden text has it."""

    def change(words: Any, tokenizer: Any) -> None:
        words.weight.data[tokenizer.convert_tokens_to_ids(word)] = float("nan")

    return change


def collapsed(words: Any, tokenizer: Any) -> None:
    """All words are alike: what is left of a text is its length."""
    words.weight.data[:] = words.weight.data[0]


def collapsed_base(folder: Path) -> Path:
    """The folder of a model to which all words are alike."""
    model = _sentence_transformer(build_tiny_model(folder / "whole", seed=9))
    collapsed(model[0].auto_model.get_input_embeddings(), model.tokenizer)
    return _saved(model, folder)


def random_base(folder: Path) -> Path:
    """The folder of a model whose vectors are all different, and have nothing to do with the words: it finds no more than chance does."""
    model = _sentence_transformer(build_tiny_model(folder / "whole", seed=11, pooling="cls"))
    for name, weight in model[0].auto_model.named_parameters():
        if "encoder" in name and weight.dim() == 2:
            weight.data *= 3
    return _saved(model, folder)


def _sentence_transformer(folder: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), device="cpu")


def _saved(model: Any, folder: Path) -> Path:
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def odd_artifact(folder: Path, name: str, change: Change, *, seed: int = 0) -> Made:
    """An embedding version with another table of words, exported and verified as any other."""
    from attune_trainer import base_model
    from attune_trainer.export import artifact

    model = base_model.load_model(build_tiny_model(folder / f"base-{name}", seed=seed))
    change(model[0].auto_model.get_input_embeddings(), model.tokenizer)
    written = artifact.write(model, folder / name, artifact.Provenance(source="import", base_model=f"odd-{seed}"))
    manifest = written.manifest
    assert manifest.embedding_space is not None
    assert manifest.dimensions is not None
    return Made(name, written.folder, written.digest, manifest.embedding_space, manifest.dimensions)


def odd_reranker(folder: Path, name: str, change: Change, *, seed: int = 0) -> MadeReranker:
    """The same for a reranker."""
    from attune_trainer import cross_encoder
    from attune_trainer.export import artifact
    from attune_trainer.export.reranker import write_reranker

    model = cross_encoder.load(build_tiny_cross_encoder(folder / f"base-{name}", seed=seed), max_length=None)
    change(model.model.get_input_embeddings(), model.tokenizer)
    written = write_reranker(model, folder / name, artifact.Provenance(source="import", base_model=f"odd-{seed}"))
    return MadeReranker(name, written.folder, written.digest)
