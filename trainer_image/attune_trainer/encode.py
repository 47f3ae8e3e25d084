"""Texts to vectors by the model in torch, for training and mining. The exported files go by `attune_retrieval.encoding`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from attune_retrieval.encoding import Advance, Role, Vectors
from attune_retrieval.graph import batches_by_length
from attune_trainer.hardware import Precision, mixed, suited

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CHARACTERS_PER_TOKEN = 4
MOST_CHARACTERS_PER_TOKEN = 16
"""A text is counted no further than this times the tokens that are read of it."""
COUNTED_AT_ONCE = 1000
"""Texts. Tokens of a whole corpus would not fit into memory."""


class TorchEncoder:
    """The model in memory. Prompts are the model's own (`base_model.load_model` set them).

    `precision`: float32 where vectors are measured or kept; what `hardware.precision_of` says where they are only mined with.
    `as_in_training`: attention is computed as in a training of that precision, so that scores can be held against its looks; else
    as it is fastest.
    `reads`: tokens of each text, where they are other than the model's own.
    """

    def __init__(
        self,
        model: "SentenceTransformer",
        check: Callable[[], None] | None = None,
        precision: Precision = "fp32",
        *,
        as_in_training: bool = True,
        reads: int | None = None,
    ) -> None:
        self.model = model
        self.check = check
        self.precision = precision
        self.as_in_training = as_in_training
        self.reads = reads

    def encode(self, texts: Sequence[str], role: Role, advance: Advance | None = None) -> Vectors:
        with self._reading():
            return self._encode(texts, role, advance)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        if self.reads is None:
            yield
            return
        own, self.model.max_seq_length = self.model.max_seq_length, self.reads
        try:
            yield
        finally:
            self.model.max_seq_length = own

    def _encode(self, texts: Sequence[str], role: Role, advance: Advance | None) -> Vectors:
        encode: Callable[..., Any] = self.model.encode_query if role == "query" else self.model.encode_document
        limit = int(self.model.max_seq_length or 512)
        lengths = self._lengths(texts, limit)
        found = np.zeros((len(texts), int(self.model.get_embedding_dimension() or 0)), dtype=np.float32)
        done = 0
        with suited(self.model, self.precision, trains=self.as_in_training), mixed(self.precision, self.model):
            for batch in batches_by_length(lengths):
                if self.check:
                    self.check()
                vectors = encode(
                    [texts[index] for index in batch],
                    batch_size=len(batch),
                    show_progress_bar=False,
                    normalize_embeddings=True,
                    convert_to_numpy=True,
                )
                found[batch] = vectors.astype(np.float32)
                done += len(batch)
                if advance:
                    advance(done / len(texts))
        return found

    def _lengths(self, texts: Sequence[str], limit: int) -> list[int]:
        """Tokens that are read of each text. Guessed from characters a quarter of what is computed would be padding."""
        tokenizer: Any = getattr(self.model, "tokenizer", None)
        if not getattr(tokenizer, "is_fast", False):
            return [min(limit, 2 + len(text) // CHARACTERS_PER_TOKEN) for text in texts]
        lengths: list[int] = []
        for start in range(0, len(texts), COUNTED_AT_ONCE):
            some = [text[: limit * MOST_CHARACTERS_PER_TOKEN] for text in texts[start : start + COUNTED_AT_ONCE]]
            lengths += map(len, tokenizer(some, truncation=True, max_length=limit)["input_ids"])
        return lengths
