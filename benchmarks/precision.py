"""What bfloat16 takes from an embedding model and what it brings: speed, vectors and rankings beside float32.

Run by hand on a CPU with bf16 instructions: `python -m benchmarks.precision DATA ARTIFACT`. DATA holds archive.jsonl and labels.dev.jsonl;
ARTIFACT is an exported model. Memory is that of a process of its own that embeds batches of random sizes, as a replica does.
"""

import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import typer

from attune_retrieval.artifact import WantedPrecision, open_verified
from attune_retrieval.encoding import OnnxEncoder
from attune_retrieval.graph import Tokens
from attune_trainer.evaluate.heldout import HeldOut, read
from attune_trainer.evaluate.measure import measure_encoder
from benchmarks.machine import machine

RESULTS = Path(__file__).parent / "results" / "precision.json"
PRECISIONS: tuple[WantedPrecision, ...] = ("fp32", "auto")
BATCHES, TEXTS, LENGTHS = 2400, 32, 64


def opened(artifact: Path, precision: WantedPrecision) -> OnnxEncoder:
    encoder = open_verified(artifact, None, precision=precision).encoder
    assert isinstance(encoder, OnnxEncoder)
    return encoder


def memory(artifact: Path, precision: WantedPrecision) -> int:
    """MiB at most while batches of 1 to 32 texts of 3 to 64 tokens are computed."""
    encoder, rng = opened(artifact, precision), np.random.default_rng(0)
    for _ in range(BATCHES):
        rows, longest = int(rng.integers(1, TEXTS + 1)), int(rng.integers(3, LENGTHS + 1))
        encoder.run([Tokens([2000] * longest)] * rows)
    # VmHWM is of this program; ru_maxrss would begin with what the process was that started it.
    (most,) = (
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(most) // 1024


def measured(artifact: Path, precision: WantedPrecision, held_out: HeldOut) -> tuple[dict[str, Any], Any, Any]:
    """What is reported, the vectors of the documents, and nDCG@10 of each query."""
    encoder = opened(artifact, precision)
    began = time.monotonic()
    vectors = encoder.encode(held_out.texts, "document")
    seconds = time.monotonic() - began
    found = measure_encoder(encoder, held_out).per_query["ndcg_at10"]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        most = alone.submit(memory, artifact, precision).result()
    told = {
        "computedIn": encoder.graph.precision,
        "documentsPerSecond": round(len(vectors) / seconds, 1),
        "ndcgAt10": round(float(found.mean()), 4),
        "memoryMiB": most,
    }
    return told, vectors, found


def main(data: Path, artifact: Path) -> None:
    """Write benchmarks/results/precision.json."""
    started, held_out = machine(), read(data / "archive.jsonl", data / "labels.dev.jsonl", None)
    (exact, expected, before), (fast, found, after) = (measured(artifact, one, held_out) for one in PRECISIONS)
    cosines = (expected * found).sum(axis=1) / np.linalg.norm(expected, axis=1) / np.linalg.norm(found, axis=1)
    result = {
        "what": "an embedding model in float32 and as it is served here: labelled queries over all articles without titles",
        "machine": started,
        "queries": len(held_out.queries),
        "documents": len(held_out.documents),
        "fp32": exact,
        "auto": fast,
        "lowestCosine": round(float(cosines.min()), 6),
        "queriesThatDiffer": int((abs(before - after) > 1e-9).sum()),
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
