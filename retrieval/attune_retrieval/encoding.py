"""Texts to unit vectors by the exported files: evaluation, indexing and serving alike, without torch."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from attune_retrieval.graph import TOKENIZER_FILE, Floats, Graph, Tokens, batches_by_length

Vectors = Floats
Role = Literal["query", "document"]
Advance = Callable[[float], None]


class Encoder(Protocol):
    """Anything that turns queries and documents into unit vectors of one space."""

    def encode(self, texts: Sequence[str], role: Role, advance: Advance | None = None) -> Vectors:
        """Shape (len(texts), dimensions), float32, in the order of `texts`; `advance` hears the share done, 0..1."""


class OnnxEncoder:
    """tokenizer.json and onnx/model.onnx of an artifact. Prompts are put before each text by its role."""

    def __init__(self, folder: Path, *, prompts: dict[str, str], max_length: int, threads: int | None = None) -> None:
        from tokenizers import Tokenizer

        self.graph = Graph(folder, threads)
        self.tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        self.tokenizer.enable_truncation(max_length=max_length)
        self.tokenizer.no_padding()
        self.prompts = prompts
        self.max_length = max_length

    def tokenize(self, texts: Sequence[str], role: Role) -> list[Tokens]:
        """Token ids of each text with its prompt, cut at the model's window."""
        prompt = self.prompts.get(role, "")
        return [Tokens(encoding.ids) for encoding in self.tokenizer.encode_batch([prompt + text for text in texts])]

    def run(self, batch: Sequence[Tokens]) -> Vectors:
        """Unit vectors of one batch, shape (len(batch), dimensions)."""
        return self.graph.run(batch)

    def encode(self, texts: Sequence[str], role: Role, advance: Advance | None = None) -> Vectors:
        """As `Encoder.encode`; batches by length."""
        tokens = self.tokenize(texts, role)
        found: Vectors | None = None
        done = 0
        for batch in batches_by_length([len(one) for one in tokens]):
            vectors = self.run([tokens[index] for index in batch])
            if found is None:
                found = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
            found[batch] = vectors
            done += len(batch)
            if advance:
                advance(done / len(texts))
        return np.zeros((0, 0), dtype=np.float32) if found is None else found
