"""How long the prepare stage takes, and how much memory, for a large archive with feedback, without the embedding step.

Run by hand: `python -m benchmarks.preparation [COUNT]`. The articles are sentences of docstrings of installed packages, recombined
at random (as many words as a news item has), with near duplicates planted; feedback names documents by id and by a passage.
The stage runs as a process of its own, as in a Pod, without mining (`hardNegatives.perQuery: 0`): mining needs a model, and has
a benchmark of its own. It computes in one thread, so that on a machine that is shared (see loadAverage) `cpuSeconds` is what it
would take on a core of its own.
"""

import json
import os
import random
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from benchmarks.machine import machine
from demo.docstrings import articles

RESULTS = Path(__file__).parent / "results" / "preparation.json"
MOST_SECONDS, MOST_MIB = 600, 2048
WORDS_AT_LEAST = 150
NEAR_COPIES, RATINGS = 0.05, 0.2
"""Shares of the articles."""

STAGE = """
import json, resource, sys, time
from attune.contract import ArchiveSource, DataSpec, FeedbackSource, HardNegatives, OwnerRef, Stage, StageSpec, TrainingConfig
from attune_trainer.running import run
from attune_trainer.signals import Termination
folder = sys.argv[1]
spec = StageSpec(
    stage=Stage.PREPARE, owner=OwnerRef(kind="Benchmark", namespace="bench", name="prepare", uid="12345678"), retriever="bench",
    storage=folder + "/store", config=TrainingConfig(base_model="-", hard_negatives=HardNegatives(per_query=0)),
    data=DataSpec(archive=ArchiveSource(uri=folder + "/archive.jsonl"), feedback=FeedbackSource(uri=folder + "/feedback.jsonl")),
)
times = {}
began = time.monotonic()
ended = run(spec, Termination(), lambda p: times.setdefault(int(p.percent or 0), round(time.monotonic() - began, 1)), interval=0)
assert ended.result.succeeded, ended.result.message
summary = ended.result.dataset
print(json.dumps({
    "seconds": round(time.monotonic() - began, 1),
    "cpuSeconds": round(time.process_time(), 1),
    "memoryMiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    "secondsUntilPercent": {p: times[p] for p in (10, 30, 35, 95, 100) if p in times},
    "examples": summary.examples, "documents": summary.documents, "bySource": summary.by_source, "dropped": summary.dropped_by_reason,
}))
"""


def write(folder: Path, count: int) -> int:
    """archive.jsonl with `count` articles and feedback.jsonl; returns the bytes of the archive."""
    rng = random.Random(7)
    texts = [re.sub(r"\s+", " ", article.content) for article in articles()]
    sentences = [s for text in texts for s in re.split(r"(?<=[.!?])\s+", text) if 4 <= len(s.split()) <= 40]
    made: list[str] = []
    with (folder / "archive.jsonl").open("w", encoding="utf-8") as lines:
        for n in range(count):
            text = _article(rng, sentences, made)
            made.append(text)
            title = " ".join(rng.sample(text.split(), 6)) + f" {n}"
            day = f"20{10 + 14 * n // count:02d}-{1 + n % 12:02d}-{1 + n % 28:02d}"
            lines.write(json.dumps({"id": f"a{n}", "title": title, "content": text, "publishedAt": day}) + "\n")
    with (folder / "feedback.jsonl").open("w", encoding="utf-8") as lines:
        for n in range(int(count * RATINGS)):
            at, words = rng.randrange(count), rng.sample(sentences, 1)[0].split()[:8]
            row: dict[str, Any] = {"query": " ".join(words) + f" {n}", "rating": rng.choice([1, 2, 4, 5])}
            start = rng.randrange(50)
            passage = " ".join(made[at].split()[start : start + 40])
            lines.write(json.dumps({**row, **({"documentId": f"a{at}"} if n % 4 else {"answer": passage})}) + "\n")
    return (folder / "archive.jsonl").stat().st_size


def _article(rng: random.Random, sentences: list[str], made: list[str]) -> str:
    """Sentences drawn at random; now and then an earlier article with one word changed."""
    if made and rng.random() < NEAR_COPIES:
        words = rng.choice(made).split()
        words[rng.randrange(len(words))] = "edited"
        return " ".join(words)
    chosen: list[str] = []
    while sum(len(sentence.split()) for sentence in chosen) < WORDS_AT_LEAST:
        chosen.append(rng.choice(sentences))
    return " ".join(chosen)


def main(count: Annotated[int, typer.Argument()] = 100_000) -> None:
    """Write benchmarks/results/preparation.json."""
    started = machine()
    with TemporaryDirectory() as name:
        folder = Path(name)
        size = write(folder, count)
        environment = {**os.environ, "TMPDIR": name}
        done = subprocess.run(
            [sys.executable, "-c", STAGE, name], capture_output=True, text=True, check=False, env=environment
        )
    if done.returncode:
        sys.exit(done.stderr)
    measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    result = {
        "what": "the prepare stage without the embedding step: reading, duplicates, feedback, split, pairs, snapshot",
        "machine": started,
        "articles": count,
        "archiveMiB": round(size / 2**20, 1),
        "ratings": int(count * RATINGS),
        **measured,
        "within": {
            "seconds": MOST_SECONDS,
            "memoryMiB": MOST_MIB,
            "held": measured["seconds"] <= MOST_SECONDS and measured["memoryMiB"] <= MOST_MIB,
            "heldOnACoreOfItsOwn": measured["cpuSeconds"] <= MOST_SECONDS and measured["memoryMiB"] <= MOST_MIB,
        },
    }
    if count >= 100_000:
        RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
