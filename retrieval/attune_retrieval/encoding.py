"""Texts to unit vectors by the exported files: evaluation, indexing and serving alike, without torch."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from attune_retrieval.graph import Floats, Graph, Tokens, batches_by_length
from attune_retrieval.runtimes import Precision
from attune_retrieval.tokenizing import open_tokenizer

Vectors = Floats
Role = Literal["query", "document"]
Advance = Callable[[float], None]


class Encoder(Protocol):
    """Anything that turns queries and documents into unit vectors of one space."""

    def encode(self, texts: Sequence[str], role: Role, advance: Advance | None = None) -> Vectors:
        """Shape (len(texts), dimensions), float32, in the order of `texts`; `advance` hears the share done, 0..1."""


class OnnxEncoder:
    """tokenizer.json and onnx/model.onnx of an artifact. Prompts are put before each text by its role.

    Where documents have a graph of their own (`document_graph`) it is opened with the first of them: a replica that only answers
    queries holds one model, not two.
    """

    def __init__(
        self,
        folder: Path,
        *,
        prompts: dict[str, str],
        max_length: int,
        threads: int | None = None,
        document_graph: str | None = None,
        precision: Precision = "fp32",
    ) -> None:
        opened = partial(Graph, folder, window=max_length, threads=threads, precision=precision)
        self.graph = opened()
        self._open_documents = partial(opened, file=document_graph) if document_graph else None
        self._documents: Graph | None = None
        self._opening = threading.Lock()
        self.tokenizer = open_tokenizer(folder, max_length)
        self.prompts = prompts
        self.max_length = max_length

    def tokenize(self, texts: Sequence[str], role: Role) -> list[Tokens]:
        """Token ids of each text with its prompt, cut at the model's window."""
        prompt, document = self.prompts.get(role, ""), role == "document" and self._open_documents is not None
        found = self.tokenizer.encode_batch([prompt + text for text in texts])
        return [Tokens(encoding.ids, document=document) for encoding in found]

    def run(self, batch: Sequence[Tokens]) -> Vectors:
        """Unit vectors of one batch, shape (len(batch), dimensions); queries and documents may be mixed."""
        documents = [n for n, tokens in enumerate(batch) if tokens.document]
        if not documents:
            return self.graph.run(batch)
        of_documents = self._document_graph().run([batch[n] for n in documents])
        if len(documents) == len(batch):
            return of_documents
        queries = [n for n, tokens in enumerate(batch) if not tokens.document]
        found = np.empty((len(batch), of_documents.shape[1]), dtype=np.float32)
        found[documents], found[queries] = of_documents, self.graph.run([batch[n] for n in queries])
        return found

    def rest(self) -> None:
        """Give back what only documents need; it is opened again with the next of them."""
        self._documents = None

    def _document_graph(self) -> Graph:
        with self._opening:
            if self._documents is None:
                assert self._open_documents is not None
                self._documents = self._open_documents()
            return self._documents

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
