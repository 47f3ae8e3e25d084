"""The part of an artifact that embeds documents, where its model is for queries only (method queryOnly). Used by `artifact.write`.

It is the base model's, untouched: an artifact's own graph is copied byte for byte, so the vectors in its index stay right.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from attune_retrieval import manifest
from attune_retrieval.graph import MODEL_FILE
from attune_trainer.export import onnx_graph

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

GRAPH = "onnx/document/model.onnx"


@dataclass(frozen=True, slots=True)
class DocumentSide:
    """The model for documents, and the folder it was loaded from."""

    model: "SentenceTransformer"
    base: Path

    def write_graph(self, folder: Path) -> None:
        """`GRAPH` below `folder`, with the weights beside it where they are too large for one file."""
        described = self._described()
        if described is None:
            onnx_graph.export(self.model.cpu().float().eval(), folder / GRAPH)
            return
        source, target = self.base / (described.document_graph or MODEL_FILE), folder / GRAPH
        target.parent.mkdir(parents=True, exist_ok=True)
        for file in source.parent.glob(source.name + "*"):
            shutil.copyfile(file, target.parent / file.name)

    def embedding_space(self, pooling: str) -> str:
        """That of the base model: equal documents have equal vectors, so both may share an index."""
        described = self._described()
        if described is not None and described.embedding_space is not None:
            return described.embedding_space
        prompts = {role: str(text or "") for role, text in self.model.prompts.items() if role in {"query", "document"}}
        with tempfile.TemporaryDirectory(prefix="attune-space-") as scratch:  # as an import of the base model writes it
            self.model.cpu().float().save_pretrained(scratch, create_model_card=False)
            weights = [f.sha256 for f in manifest.file_digests(Path(scratch)) if f.path.endswith(".safetensors")]
        return manifest.embedding_space(weights, pooling, prompts)

    def _described(self) -> manifest.Manifest | None:
        """What the base says of itself, where it is one of our artifacts; BadData where it was changed."""
        return manifest.verified(self.base, None) if (self.base / manifest.NAME).is_file() else None
