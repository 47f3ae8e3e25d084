"""Texts to vectors, in either of two ways: the model in torch (training, mining) or the exported files (evaluation).

Both sort by length and fill a batch up to a number of tokens rather than texts, so that a long text costs what it costs
and a thousand titles go at once.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

Vectors = NDArray[np.float32]
Role = Literal["query", "document"]
Advance = Callable[[float], None]

TOKENS_PER_BATCH = 8192
TEXTS_PER_BATCH = 128
CHARACTERS_PER_TOKEN = 4


class Encoder(Protocol):
    """Anything that turns queries and documents into unit vectors of one space."""

    def encode(self, texts: Sequence[str], role: Role, advance: Advance | None = None) -> Vectors:
        """Shape (len(texts), dimensions), float32, in the order of `texts`; `advance` hears the share done, 0..1."""


def available_cpus() -> int:
    """Threads to compute with: OMP_NUM_THREADS, else the affinity, and no more than the container's quota (cgroup v2)."""
    if asked := os.environ.get("OMP_NUM_THREADS", ""):
        return max(1, int(asked)) if asked.isdigit() else 1
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return cpus if quota == "max" else max(1, min(cpus, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cpus


def batches_by_length(lengths: Sequence[int], tokens: int = TOKENS_PER_BATCH) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first: memory peaks in the first batch, not in the last."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batch: list[int] = []
    for index in order:
        longest = max(1, lengths[batch[0]]) if batch else 0
        if batch and (len(batch) >= TEXTS_PER_BATCH or (len(batch) + 1) * longest > tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class TorchEncoder:
    """The model in memory. Prompts are the model's own (`base_model.load_model` set them)."""

    def __init__(self, model: "SentenceTransformer", check: Callable[[], None] | None = None) -> None:
        self.model = model
        self.check = check

    def encode(self, texts: Sequence[str], role: Role, advance: Advance | None = None) -> Vectors:
        encode: Callable[..., Any] = self.model.encode_query if role == "query" else self.model.encode_document
        limit = int(self.model.max_seq_length or 512)
        lengths = [min(limit, 2 + len(text) // CHARACTERS_PER_TOKEN) for text in texts]
        found = np.zeros((len(texts), int(self.model.get_embedding_dimension() or 0)), dtype=np.float32)
        done = 0
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


class OnnxEncoder:
    """The exported files, read the way serving reads them: tokenizer.json and onnx/model.onnx, without torch."""

    def __init__(self, folder: Path, *, prompts: dict[str, str], max_length: int) -> None:
        import onnxruntime  # type: ignore[import-untyped]
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = available_cpus()
        options.log_severity_level = 3
        there = onnxruntime.get_available_providers()
        providers = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in there]
        self.session = onnxruntime.InferenceSession(str(folder / "onnx" / "model.onnx"), options, providers=providers)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(max_length=max_length)
        self.tokenizer.no_padding()
        self.prompts = prompts

    def encode(self, texts: Sequence[str], role: Role, advance: Advance | None = None) -> Vectors:
        prompt = self.prompts.get(role, "")
        encodings = self.tokenizer.encode_batch([prompt + text for text in texts])
        tokens = [encoding.ids for encoding in encodings]
        found: Vectors | None = None
        done = 0
        for batch in batches_by_length([len(ids) for ids in tokens]):
            vectors = self._run([tokens[index] for index in batch])
            if found is None:
                found = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
            found[batch] = vectors
            done += len(batch)
            if advance:
                advance(done / len(texts))
        return np.zeros((0, 0), dtype=np.float32) if found is None else found

    def _run(self, tokens: Sequence[Sequence[int]]) -> Vectors:
        width = max(1, *(len(ids) for ids in tokens))
        ids = np.zeros((len(tokens), width), dtype=np.int64)
        mask = np.zeros((len(tokens), width), dtype=np.int64)
        for row, sequence in enumerate(tokens):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        (vectors,) = self.session.run(["sentence_embedding"], {"input_ids": ids, "attention_mask": mask})
        return np.asarray(vectors, dtype=np.float32)
