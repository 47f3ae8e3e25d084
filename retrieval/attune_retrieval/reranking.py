"""(query, document) pairs to relevance scores in 0..1 by an exported cross-encoder, without torch."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from attune_retrieval.encoding import Advance
from attune_retrieval.graph import Floats, Graph, Tokens, batches_by_length
from attune_retrieval.tokenizing import open_tokenizer


class OnnxReranker:
    """tokenizer.json and onnx/model.onnx of a reranker's artifact; the sigmoid is in the graph."""

    def __init__(self, folder: Path, *, max_length: int, threads: int | None = None) -> None:
        self.graph = Graph(folder, window=max_length, threads=threads)
        self.tokenizer = open_tokenizer(folder, max_length)
        self.max_length = max_length

    def tokenize(self, pairs: Sequence[tuple[str, str]]) -> list[Tokens]:
        """Tokens of each pair, the longer text cut first where both do not fit the window."""
        return [Tokens(found.ids, found.type_ids) for found in self.tokenizer.encode_batch(list(pairs))]

    def run(self, batch: Sequence[Tokens]) -> Floats:
        """Scores of one batch, shape (len(batch),)."""
        return self.graph.run(batch).reshape(len(batch))

    def score(self, pairs: Sequence[tuple[str, str]], advance: Advance | None = None) -> Floats:
        """Shape (len(pairs),), float32, in the order of `pairs`; higher is more relevant."""
        tokens = self.tokenize(pairs)
        found = np.zeros(len(pairs), dtype=np.float32)
        done = 0
        for batch in batches_by_length([len(one) for one in tokens]):
            found[batch] = self.run([tokens[index] for index in batch])
            done += len(batch)
            if advance:
                advance(done / len(pairs))
        return found
