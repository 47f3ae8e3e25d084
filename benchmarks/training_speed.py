"""Speed and memory of training: Attune's trainer against the plain sentence-transformers script, on the same pairs.

`python -m benchmarks.training_speed [--pairs 1024] [--batch-size 32] [--length 256] [--repeats 3]`

Pairs are docstrings of installed packages (first line → rest), the model all-MiniLM-L6-v2 as a package; one epoch, the same batch size,
learning rate and cut. Both run in float32 and, where the machine computes bf16 fast, in bf16; Attune chooses that itself, a script has to
be told. Each run is a process of its own and they take turns, so that a machine that slows down slows all. Pairs a second are those of
the training loop, without loading the model; peak memory is that of the whole process. Written to benchmarks/results/training_speed.json.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.plain_recipe import Plain, trainer
from demo.__main__ import packaged_model
from demo.docstrings import articles

RESULT = Path(__file__).parent / "results" / "training_speed.json"
RATE = 2e-5


def pairs(count: int) -> list[tuple[str, str]]:
    return [(article.title, article.content) for article in articles(count)]


def plain(options: argparse.Namespace, precision: str) -> dict[str, float]:
    """The script of the sentence-transformers documentation."""
    recipe = Plain(
        str(packaged_model()),
        options.length,
        batch_size=options.batch_size,
        learning_rate=RATE,
        precision=precision,
    )
    rows = pairs(options.pairs)
    with tempfile.TemporaryDirectory() as scratch:
        running = trainer(recipe, rows, scratch, num_train_epochs=1)
        started = time.monotonic()
        running.train()
        return measured(len(rows), time.monotonic() - started)


def attune(options: argparse.Namespace, precision: str) -> dict[str, float]:
    """The train stage without export and validation."""
    from attune.contract import Stage, TrainingConfig
    from attune_trainer.reporting import Reporter
    from attune_trainer.signals import Termination
    from attune_trainer.train.checkpoints import Checkpoints
    from attune_trainer.train.embedding import train_embedding
    from attune_trainer.train.watch import Surroundings

    rows = pairs(options.pairs)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        lines = [json.dumps({"query": q, "pos": d, "docId": f"d{n}"}) + "\n" for n, (q, d) in enumerate(rows)]
        (scratch / "train.jsonl").write_text("".join(lines), encoding="utf-8")
        (scratch / "validation.jsonl").touch()
        config = TrainingConfig(
            base_model="-",
            epochs=1,
            batch_size=options.batch_size,
            learning_rate=RATE,
            max_sequence_length=options.length,
            precision=precision,
        )
        around = Surroundings(
            Reporter(Stage.TRAIN, lambda _: None), Termination(), Checkpoints(str(scratch / "checkpoints"), "speed")
        )
        trained = train_embedding(config, scratch, packaged_model(), scratch, around)
        return measured(len(rows), trained.metrics.training_duration_seconds or 0.0)


def measured(count: int, seconds: float) -> dict[str, float]:
    """Peak memory is the process's own, libraries and weights included."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"pairsPerSecond": round(count / seconds, 2), "seconds": round(seconds, 1), "peakMiB": round(peak)}


WAYS = {"plain": plain, "attune": attune}
Runs = dict[str, list[dict[str, float]]]


def in_own_process(way: str, precision: str, arguments: list[str]) -> dict[str, float]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "benchmarks.training_speed", "--only", way, precision, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{way} failed:\n{done.stderr[-3000:]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    sys.stdout.write(f"{way} {precision}: {told}\n")
    sys.stdout.flush()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        way, precision = options.only
        sys.stdout.write(json.dumps(WAYS[way](options, precision)) + "\n")
        return
    from attune_trainer.hardware import has_bf16

    precisions = ["fp32", "bf16"] if has_bf16() else ["fp32"]
    runs: dict[str, Runs] = {precision: {way: [] for way in WAYS} for precision in precisions}
    for _ in range(options.repeats):
        for precision, ways in runs.items():
            for way, results in ways.items():
                results.append(in_own_process(way, precision, sys.argv[1:]))
    RESULT.write_text(json.dumps(summary(options, runs), indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{RESULT}\n")


def summary(options: argparse.Namespace, runs: dict[str, Runs]) -> dict[str, Any]:
    by_precision = {precision: compared(ways) for precision, ways in runs.items()}
    default = by_precision[list(runs)[-1]]["pairsPerSecond"]["attune"]
    return {
        "machine": machine(),
        "pairs": options.pairs,
        "batchSize": options.batch_size,
        "maxSequenceLength": options.length,
        "defaultsTimesThePlainScript": round(default / by_precision["fp32"]["pairsPerSecond"]["plain"], 2),
        "byPrecision": by_precision,
        "runs": runs,
    }


def compared(runs: Runs) -> dict[str, Any]:
    """Medians of speed, and the highest peak."""
    speed = {way: statistics.median(run["pairsPerSecond"] for run in results) for way, results in runs.items()}
    peak = {way: max(run["peakMiB"] for run in results) for way, results in runs.items()}
    return {
        "pairsPerSecond": speed,
        "timesThePlainScript": round(speed["attune"] / speed["plain"], 2),
        "peakMiB": peak,
    }


if __name__ == "__main__":
    main()
