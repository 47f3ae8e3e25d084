"""How good the tuned model is: Attune's training against the plain sentence-transformers recipe, on the same pairs.

Run by hand: `python benchmarks/quality.py DATA BASE_MODEL`. The folder DATA holds archive.jsonl, labels.train.jsonl and
labels.dev.jsonl (Bitcoin Optech newsletters). Both are trained on what was published before 2023, for the same epochs, and
searched with the labelled queries of 2023 over all articles without their titles. Everything is kept in `--work`, so a run
that was stopped goes on. The result is one JSON file with the machine it was measured on.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from attune.contract import (
    ArchiveSource,
    ArtifactRef,
    DataSpec,
    HardNegatives,
    OwnerRef,
    Stage,
    StageResult,
    StageSpec,
    TrainingConfig,
)
from attune_retrieval.encoding import Encoder
from attune_trainer.evaluate.bootstrap import verdict
from attune_trainer.evaluate.by_hand import open_encoder
from attune_trainer.evaluate.compare import measure_bm25
from attune_trainer.evaluate.heldout import HeldOut, read
from attune_trainer.evaluate.measure import Measured, intervals, measure_encoder
from attune_trainer.running import run
from attune_trainer.signals import Termination
from benchmarks.machine import machine

CUT = "2023-01-01"
PLAIN_BATCH, PLAIN_RATE = 32, 2e-5
RESAMPLES = 2000
RESULTS = Path(__file__).parent / "results" / "quality.json"


@dataclass(frozen=True, slots=True)
class Bench:
    """What is compared, and where the files are kept."""

    data: Path
    work: Path
    config: TrainingConfig

    @property
    def key(self) -> str:
        return hashlib.sha256(self.config.to_json().encode()).hexdigest()[:12]

    def spec(self, stage: Stage, dataset: ArtifactRef | None = None) -> StageSpec:
        archive = ArchiveSource(uri=str(self.work / "archive.jsonl"))
        labels = str(self.data / "labels.train.jsonl")
        return StageSpec(
            stage=stage,
            owner=OwnerRef(kind="Benchmark", namespace="bench", name="quality", uid=self.key),
            retriever="quality",
            storage=str(self.work / "store"),
            config=self.config,
            data=DataSpec(archive=archive, labels=labels) if stage is Stage.PREPARE else DataSpec(),
            dataset=dataset,
            model=ArtifactRef(name="tuned", uri=str(self.work / "models" / self.key)),
        )


def stage(spec: StageSpec) -> StageResult:
    result = run(
        spec, Termination(), lambda p: print(f"\r{p.stage} {p.percent}% {p.loss or ''}   ", end="", flush=True)
    ).result
    print(f"\n{result.message}")
    if not result.succeeded:
        raise SystemExit(1)
    return result


def prepare(bench: Bench, pairs: int) -> ArtifactRef:
    """Attune's own snapshot of everything before the cut, and of it a fixed sample of `pairs` training pairs."""
    bench.work.mkdir(parents=True, exist_ok=True)
    with (bench.data / "archive.jsonl").open(encoding="utf-8") as lines:
        (bench.work / "archive.jsonl").write_text(
            "".join(line for line in lines if json.loads(line)["publishedAt"] < CUT)
        )
    summary = stage(bench.spec(Stage.PREPARE)).dataset
    assert summary is not None
    whole, sample = Path(summary.uri), bench.work / "snapshots" / f"{summary.digest[7:19]}-{pairs}"
    sample.mkdir(parents=True, exist_ok=True)
    rows = (whole / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    chosen = sorted(np.random.default_rng(0).permutation(len(rows))[:pairs])
    (sample / "train.jsonl").write_text("".join(rows[i] for i in chosen), encoding="utf-8")
    (sample / "validation.jsonl").write_bytes((whole / "validation.jsonl").read_bytes())
    digests = {name: {"sha256": _sha256(sample / name)} for name in ("train.jsonl", "validation.jsonl")}
    (sample / "manifest.json").write_text(json.dumps({"files": digests}, indent=1))
    return ArtifactRef(name="dataset", uri=str(sample), digest=f"sha256:{_sha256(sample / 'manifest.json')}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def train_plain(snapshot: Path, config: TrainingConfig, folder: Path) -> float:
    """The recipe of sentence-transformers' documentation, nothing added. Seconds it took; 0 if it was there already."""
    from datasets import Dataset  # type: ignore[import-untyped]
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
    from sentence_transformers.sentence_transformer.trainer import SentenceTransformerTrainer
    from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

    if (folder / "modules.json").is_file():
        return 0.0
    rows = [json.loads(line) for line in (snapshot / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    model = SentenceTransformer(config.base_model)
    model.max_seq_length = config.max_sequence_length
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(folder) + ".tmp",
        num_train_epochs=config.epochs,
        per_device_train_batch_size=PLAIN_BATCH,
        learning_rate=PLAIN_RATE,
        warmup_ratio=0.1,
        save_strategy="no",
        report_to="none",
        logging_steps=10,
        seed=42,
    )
    dataset = Dataset.from_dict({"anchor": [row["query"] for row in rows], "positive": [row["pos"] for row in rows]})
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=dataset, loss=MultipleNegativesRankingLoss(model)
    )
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    model.save_pretrained(str(folder))
    return seconds


def measured(encoder: Callable[[], Encoder], held_out: HeldOut, cache: Path) -> Measured:
    """Measure, or read what was measured before."""
    if cache.is_file():
        return Measured({name: np.array(values) for name, values in json.loads(cache.read_text()).items()})
    found = measure_encoder(encoder(), held_out)
    cache.write_text(json.dumps({name: values.tolist() for name, values in found.per_query.items()}))
    return found


def compared(candidate: Measured, other: Measured, held_out: HeldOut) -> dict[str, Any]:
    found = intervals(candidate, other, held_out, resamples=RESAMPLES, seed=0)
    return {"verdict": verdict(found["ndcgAt10"]), "intervals": {k: v.model_dump() for k, v in found.items()}}


@dataclass(frozen=True, slots=True)
class Asked:
    """The recipe that is compared; the plain one takes its epochs and its length of texts."""

    epochs: int
    learning_rate: float
    negatives: int
    max_sequence_length: int

    def config(self, base_model: Path) -> TrainingConfig:
        return TrainingConfig(
            base_model=str(base_model),
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            max_sequence_length=self.max_sequence_length,
            early_stopping_patience=0,
            split_ratio=0.98,
            hard_negatives=HardNegatives(per_query=self.negatives),
        )


@dataclass(frozen=True, slots=True)
class Trained:
    """Both models, and how long each took."""

    pairs: int | None
    folders: dict[str, Path]
    seconds: dict[str, float | None]


def train_both(bench: Bench, dataset: ArtifactRef) -> Trained:
    tuned = stage(bench.spec(Stage.TRAIN, dataset)).model
    assert tuned is not None
    config, key = bench.config, (dataset.digest or "")[7:15]
    plain = bench.work / "models" / f"plain-{key}-{config.epochs}-{config.max_sequence_length}"
    seconds = round(train_plain(Path(dataset.uri), config, plain), 1)
    told = tuned.training
    return Trained(
        pairs=told.training_examples if told else None,
        folders={"base": Path(config.base_model), "plain": plain, "attune": Path(tuned.uri)},
        seconds={"plain": seconds, "attune": told.training_duration_seconds if told else None},
    )


def measure_all(trained: Trained, held_out: HeldOut, work: Path) -> dict[str, Measured]:
    found = {
        name: measured(partial(open_encoder, path), held_out, work / f"{path.name}.measured.json")
        for name, path in trained.folders.items()
    }
    found["bm25"] = measure_bm25(held_out, k=10)
    return found


def main(
    data: Path,
    base_model: Path,
    work: Annotated[Path, typer.Option(help="Kept between runs.")] = Path("build/quality"),
    pairs: int = 2000,
    epochs: int = 1,
    negatives: int = 4,
) -> None:
    """Train both, measure base, plain, Attune and BM25, and write benchmarks/results/quality.json."""
    asked = Asked(epochs, learning_rate=1e-4, negatives=negatives, max_sequence_length=128)
    bench, started = Bench(data, work.absolute(), asked.config(base_model)), machine()
    dataset = prepare(bench, pairs)
    trained = train_both(bench, dataset)
    held_out = read(data / "archive.jsonl", data / "labels.dev.jsonl", None)
    found = measure_all(trained, held_out, bench.work)
    result = {
        "what": "nDCG@10 of the dense model alone, on labelled queries of 2023 over all articles without titles",
        "machine": started,
        "queries": len(held_out.queries),
        "documents": len(held_out.documents),
        "pairs": trained.pairs,
        "epochs": epochs,
        "datasetDigest": dataset.digest,
        "recipes": {
            "plain": {"loss": "MultipleNegativesRankingLoss", "batchSize": PLAIN_BATCH, "learningRate": PLAIN_RATE},
            "attune": bench.config.model_dump(mode="json", by_alias=True, exclude={"base_model"}),
        },
        "trainingSeconds": trained.seconds,
        "metrics": {name: one.metrics().model_dump(by_alias=True, exclude_none=True) for name, one in found.items()},
        "attuneAgainstPlain": compared(found["attune"], found["plain"], held_out),
        "attuneAgainstBase": compared(found["attune"], found["base"], held_out),
    }
    target = RESULTS if epochs == 1 else RESULTS.with_stem(f"quality-{epochs}-epochs")
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({"metrics": result["metrics"], "verdict": result["attuneAgainstPlain"]["verdict"]}, indent=1))  # type: ignore[index]


if __name__ == "__main__":
    typer.run(main)
