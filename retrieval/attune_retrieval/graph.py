"""One exported model, ready to compute: token batches in, an array out. Used by `encoding` and `reranking`.

Batches are filled up to a number of tokens rather than texts, sorted by length, so that a long text costs what it costs
and a thousand titles go at once.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attune_retrieval.runtimes import Precision, open_runtime

Floats = NDArray[np.float32]

TOKENS_PER_BATCH = 8192
TEXTS_PER_BATCH = 128
MODEL_FILE = "onnx/model.onnx"


@dataclass(frozen=True, slots=True)
class Tokens:
    """One text (or a pair of texts) as the tokenizer gives it; `types` tells the texts of a pair apart (0 and 1)."""

    ids: Sequence[int]
    types: Sequence[int] = ()
    document: bool = False
    """To be embedded by the graph for documents, where the model has one of its own."""

    def __len__(self) -> int:
        return len(self.ids)


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


def batches_by_length(
    lengths: Sequence[int], tokens: int = TOKENS_PER_BATCH, texts: int = TEXTS_PER_BATCH
) -> Iterator[list[int]]:
    """Indices in batches of similar length, longest first: memory peaks in the first batch, not in the last."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    batch: list[int] = []
    for index in order:
        longest = max(1, lengths[batch[0]]) if batch else 0
        if batch and (len(batch) >= texts or (len(batch) + 1) * longest > tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class Graph:
    """A graph of an artifact (`onnx/model.onnx`). Not verified here: that is `artifact.open_verified`."""

    def __init__(
        self,
        folder: Path,
        *,
        window: int,
        threads: int | None = None,
        file: str = MODEL_FILE,
        precision: Precision = "fp32",
    ) -> None:
        self._runtime = open_runtime(folder / file, precision, threads or available_cpus())
        self._window = window

    @property
    def precision(self) -> Precision:
        """What it computes in."""
        return self._runtime.precision

    def run(self, batch: Sequence[Tokens]) -> Floats:
        """The graph's first output for one padded batch, row by row in the order of `batch`; float32."""
        longest = max(1, *(len(tokens) for tokens in batch)) if batch else 1
        rounded = -(-longest // self._runtime.width_step) * self._runtime.width_step
        width = max(longest, min(rounded, self._window))  # a model may have no positions beyond its window
        feed: dict[str, NDArray[np.int64]] = {
            name: np.zeros((len(batch), width), dtype=np.int64)
            for name in ("input_ids", "attention_mask", "token_type_ids")
            if name in self._runtime.inputs
        }
        for row, tokens in enumerate(batch):
            feed["input_ids"][row, : len(tokens)] = tokens.ids
            feed["attention_mask"][row, : len(tokens)] = 1
            if tokens.types and "token_type_ids" in feed:
                feed["token_type_ids"][row, : len(tokens)] = tokens.types
        return self._runtime.run(feed)
