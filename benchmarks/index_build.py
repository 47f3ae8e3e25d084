"""How fast the index stage is beside the raw runtime, and how its memory grows with the corpus.

Run by hand: `python benchmarks/index_build.py MODEL`, MODEL an exported artifact. The stage runs as a process of its own, as in a Pod, over
documents of about 200 words; the raw runtime is `OnnxEncoder.encode` over the same texts, in a process of its own, too.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.machine import machine

RESULTS = Path(__file__).parent / "results" / "index_build.json"
SENTENCE = "the index of a retrieval model keeps one vector for each document and finds the nearest ones to a query"
WORDS = SENTENCE.split(" ")


def archive(folder: Path, count: int) -> Path:
    """`count` documents of 100 to 200 words, each a little different."""
    path = folder / f"archive-{count}.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for n in range(count):
            text = " ".join(
                f"{WORDS[(n + k) % len(WORDS)]}" if k % 9 else f"term{(n * 31 + k) % 9973}"
                for k in range(100 + n % 100)
            )
            lines.write(json.dumps({"id": f"d{n}", "title": f"document {n}", "content": text}) + "\n")
    return path


def child(code: str, *arguments: str) -> tuple[float, int]:
    """Seconds of work that a Python process reports, and the most memory it had, in MiB."""
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    seconds, memory = done.stdout.strip().splitlines()[-1].split()
    return float(seconds), int(memory) // 1024


END = "import resource; print(time.monotonic() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
RAW = f"""
import sys, time, json
from pathlib import Path
from attune_retrieval.artifact import open_verified
encoder = open_verified(Path(sys.argv[1]), None, precision="auto").encoder
texts = [json.loads(line)["content"] for line in open(sys.argv[2])]
began = time.monotonic()
encoder.encode(texts, "document")
{END}
"""
STAGE = f"""
import sys, time
from attune.contract import ArchiveSource, ArtifactRef, DataSpec, IndexSpec, IndexWork, OwnerRef, Stage, StageSpec, TrainingConfig
from attune_trainer.running import run
from attune_trainer.signals import Termination
model, archive, folder = sys.argv[1:]
spec = StageSpec(
    stage=Stage.INDEX, owner=OwnerRef(kind="Benchmark", namespace="bench", name="index", uid="12345678"), retriever="bench",
    storage=folder + "/store", config=TrainingConfig(base_model="-"), model=ArtifactRef(name="model", uri=model),
    data=DataSpec(archive=ArchiveSource(uri=archive), min_examples=0),
    index=IndexWork(index=IndexSpec(store="lancedb", uri="file://" + folder + "/index"), collection="bench"),
)
began = time.monotonic()
ended = run(spec, Termination(), lambda _: None)
assert ended.result.succeeded, ended.result.message
{END}
"""


def main(model: Path, count: int = 4000) -> None:
    """Write benchmarks/results/index_build.json."""
    started: dict[str, Any] = machine()
    with TemporaryDirectory() as name:
        folder = Path(name)
        small, large = archive(folder, count), archive(folder, 4 * count)
        raw, _ = child(RAW, str(model), str(small))
        stage, memory = child(STAGE, str(model), str(small), str(folder / "one"))
        of_four, memory_of_four = child(STAGE, str(model), str(large), str(folder / "four"))
    result = {
        "what": "documents a second of the index stage into LanceDB, reading, checking and indexing included, beside raw encoding",
        "machine": started,
        "documents": count,
        "rawPerSecond": round(count / raw, 2),
        "stagePerSecond": round(count / stage, 2),
        "stageOfRaw": round(raw / stage, 3),
        "stagePerSecondOfFourTimes": round(4 * count / of_four, 2),
        "memoryMiB": {str(count): memory, str(4 * count): memory_of_four},
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
