"""How fast hard negatives are mined beside sentence_transformers.util.mine_hard_negatives, and in how much memory.

Run by hand: `python benchmarks/mining.py MODEL`. Both mine the docstring pairs of installed packages with the same settings (the same
model, 128 tokens, the best 100 candidates, relative margin 0.95, four negatives), each in processes of its own, in turns. Attune's
figure is with BM25 candidates, duplicate checks and all. Then 1,000,000 random passages: the search alone, its memory beside the vectors.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from benchmarks.machine import machine

RESULTS = Path(__file__).parent / "results" / "mining.json"
END = "print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, made)"
START = """
import resource, sys, time
from demo.docstrings import articles
rows = articles(int(sys.argv[2]))
"""
PEER = f"""{START}
from datasets import Dataset
from sentence_transformers import SentenceTransformer
from sentence_transformers.util import mine_hard_negatives
model = SentenceTransformer(sys.argv[1])
model.max_seq_length = 128
pairs = Dataset.from_dict({{"query": [row.title for row in rows], "answer": [row.content for row in rows]}})
began = time.monotonic()
mined = mine_hard_negatives(pairs, model, range_max=100, relative_margin=0.05, num_negatives=4, sampling_strategy="top",
                            batch_size=32, output_format="triplet", verbose=False)
made = len(mined)
{END}
"""
ATTUNE = f"""{START}
from pathlib import Path
from attune.contract import TrainingConfig
from attune_trainer import base_model
from attune_trainer.data.dedup import distinct
from attune_trainer.data.negatives import Mining, Pool, mine
from attune_trainer.data.records import Document, Pair, Tally, query_id
from attune_trainer.stages import mining_encoder
documents = [Document(row.id, row.title, row.content) for row in rows]
unlike = distinct(documents, Tally())
kept = {{document.id for document in unlike.documents}}
pairs = [Pair(row.title, row.content, "archive", query_id(row.title), row.id) for row in rows if row.id in kept]
encode = mining_encoder(TrainingConfig(base_model=sys.argv[1], max_sequence_length=128), Path(sys.argv[1]))
pool = Pool(unlike.documents, unlike, {{}}, {{}})
began = time.monotonic()
mined = mine(pairs, pool, encode, Mining(4, 0.95), lambda _: None)
made = sum(len(pair.neg) for pair in mined.pairs)
{END}
"""
MILLION = """
import resource, sys, time
import numpy as np
from attune_trainer.data.nearest import Wanted, nearest
passages, queries = int(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
vectors = rng.standard_normal((passages, 384), dtype=np.float32)
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
asked = vectors[rng.integers(passages, size=queries)] + 0.5 * rng.standard_normal((queries, 384), dtype=np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.monotonic()
found = nearest(asked, vectors, 100, Wanted(np.arange(queries), np.full(queries, 0.5, np.float32)))
made = len(found.positions)
print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, made)
"""


def child(code: str, *arguments: object) -> dict[str, Any]:
    """What a Python process reports: seconds of work, the most memory it had (MiB), how many it made."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    seconds, memory, made = done.stdout.strip().splitlines()[-1].split()
    return {"seconds": round(float(seconds), 1), "memoryMiB": int(memory) // 1024, "made": int(made)}


def main(
    model: Path,
    pairs: int = 3000,
    repetitions: int = 3,
    passages: int = 1_000_000,
    queries: int = 2000,
    out: Annotated[Path, typer.Option()] = RESULTS,
) -> None:
    """Write benchmarks/results/mining.json."""
    started = machine()
    peer, ours = [], []
    for _ in range(repetitions):
        peer.append(child(PEER, model, pairs))
        ours.append(child(ATTUNE, model, pairs))
        print(json.dumps({"peer": peer[-1], "attune": ours[-1]}), flush=True)
    result = {
        "what": "seconds to mine hard negatives, encoding included, of Attune and of sentence_transformers.util.mine_hard_negatives",
        "machine": started,
        "pairs": pairs,
        "settings": {"tokens": 128, "candidates": 100, "relativeMargin": 0.95, "negatives": 4, "peerBatchSize": 32},
        "sentenceTransformers": peer,
        "attune": ours,
        "timesAsFast": round(median(run["seconds"] for run in peer) / median(run["seconds"] for run in ours), 2),
        "search": {
            "passages": passages,
            "queries": queries,
            "dimensions": 384,
            "candidates": 100,
            "memoryBesideTheVectors": child(MILLION, passages, queries),
            "vectorsMiB": passages * 384 * 4 // 2**20,
        },
    }
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
