"""Texts to vectors by the model in torch, for training and mining. The exported files go by `attune_retrieval.encoding`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from attune_retrieval.encoding import Advance, Role, Vectors
from attune_retrieval.graph import batches_by_length
from attune_trainer.hardware import Precision, mixed, suited

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CHARACTERS_PER_TOKEN = 4


class TorchEncoder:
    """The model in memory. Prompts are the model's own (`base_model.load_model` set them).

    `precision`: float32 where vectors are measured or kept; what `hardware.precision_of` says where they are only mined with.
    `as_in_training`: attention is computed as in a training of that precision, so that scores can be held against its looks; else
    as it is fastest.
    """

    def __init__(
        self,
        model: "SentenceTransformer",
        check: Callable[[], None] | None = None,
        precision: Precision = "fp32",
        *,
        as_in_training: bool = True,
    ) -> None:
        self.model = model
        self.check = check
        self.precision = precision
        self.as_in_training = as_in_training

    def encode(self, texts: Sequence[str], role: Role, advance: Advance | None = None) -> Vectors:
        encode: Callable[..., Any] = self.model.encode_query if role == "query" else self.model.encode_document
        limit = int(self.model.max_seq_length or 512)
        lengths = [min(limit, 2 + len(text) // CHARACTERS_PER_TOKEN) for text in texts]
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
