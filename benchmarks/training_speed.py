"""Speed and memory of training: Attune's trainer against the plain sentence-transformers script, on the same pairs.

`python benchmarks/training_speed.py [--pairs 1024] [--batch-size 32] [--length 256] [--repeats 3]`

Pairs are docstrings of installed packages (first line → rest), the model all-MiniLM-L6-v2 as a package; both in float32 unless
--precision says otherwise, one epoch, the same batch size, learning rate and cut. Each run is a process of its own; the two take turns, so
that a machine that slows down slows both. Pairs a second are those of the training loop, without loading the model; peak memory is
that of the whole process. Written to benchmarks/results/training_speed.json.
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
from demo.__main__ import packaged_model
from demo.docstrings import articles

RESULT = Path(__file__).parent / "results" / "training_speed.json"
RATE = 2e-5


def pairs(count: int) -> list[tuple[str, str]]:
    return [(article.title, article.content) for article in articles(count)]


def plain(options: argparse.Namespace) -> dict[str, float]:
    """The script of the sentence-transformers documentation."""
    from datasets import Dataset  # type: ignore[import-untyped]
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    model = SentenceTransformer(str(packaged_model()), device=None)
    model.max_seq_length = options.length
    rows = pairs(options.pairs)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                output_dir=scratch,
                num_train_epochs=1,
                per_device_train_batch_size=options.batch_size,
                learning_rate=RATE,
                bf16=options.precision == "bf16",
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict({"anchor": [q for q, _ in rows], "positive": [d for _, d in rows]}),
            loss=MultipleNegativesRankingLoss(model),
        )
        started = time.monotonic()
        trainer.train()
        return measured(len(rows), time.monotonic() - started)


def attune(options: argparse.Namespace) -> dict[str, float]:
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
            precision=options.precision,
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


def in_own_process(way: str, arguments: list[str]) -> dict[str, float]:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, __file__, "--only", way, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{way} failed:\n{done.stderr[-3000:]}")
    told: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    sys.stdout.write(f"{way}: {told}\n")
    sys.stdout.flush()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1024)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=WAYS)
    options = parser.parse_args()
    if options.only:
        sys.stdout.write(json.dumps(WAYS[options.only](options)) + "\n")
        return
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.repeats):
        for way, results in runs.items():
            results.append(in_own_process(way, sys.argv[1:]))
    RESULT.write_text(json.dumps(summary(options, runs), indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{RESULT}\n")


def summary(options: argparse.Namespace, runs: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    speed = {way: statistics.median(run["pairsPerSecond"] for run in results) for way, results in runs.items()}
    peak = {way: max(run["peakMiB"] for run in results) for way, results in runs.items()}
    return {
        "machine": machine(),
        "pairs": options.pairs,
        "batchSize": options.batch_size,
        "maxSequenceLength": options.length,
        "precision": options.precision,
        "pairsPerSecond": speed,
        "timesThePlainScript": round(speed["attune"] / speed["plain"], 2),
        "peakMiB": peak,
        "runs": runs,
    }


if __name__ == "__main__":
    main()
