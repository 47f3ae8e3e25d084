"""How good the tuned model is: Attune's recipe, the plain sentence-transformers recipe with the same time, and what each rule brings.

Run by hand: `python -m benchmarks.quality BASE_MODEL [--data DATA]`. DATA holds archive.jsonl, labels.train.jsonl and labels.dev.jsonl
(Bitcoin Optech newsletters): trained on what was published before 2023, searched with the labelled queries of 2023 over all articles
without their titles. Without DATA: docstrings of installed packages (first line → rest), some of them held out.

The budget is what Attune took, mining, looks and export included; the plain recipe gets it for its training alone, and the same cleaned
pairs. What was done is kept in `--work`, so that a run that was stopped goes on. The result is one JSON file with the machine.
"""

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from attune.contract import (
    ArchiveSource,
    ArtifactRef,
    DataSpec,
    OwnerRef,
    Stage,
    StageResult,
    StageSpec,
    TrainingConfig,
)
from attune_retrieval import manifest
from attune_retrieval.encoding import Encoder
from attune_retrieval.index.fusion import DEFAULT
from attune_trainer import recipes
from attune_trainer.base_model import load_model
from attune_trainer.encode import TorchEncoder
from attune_trainer.evaluate.bootstrap import verdict
from attune_trainer.evaluate.by_hand import open_encoder
from attune_trainer.evaluate.compare import measure_bm25
from attune_trainer.evaluate.heldout import HeldOut, read, read_snapshot
from attune_trainer.evaluate.hybrid import ByWords
from attune_trainer.evaluate.measure import Measured, intervals, measure_encoder, measure_with_words
from attune_trainer.running import run
from attune_trainer.signals import Termination
from benchmarks.machine import machine
from benchmarks.plain_recipe import Plain, train_for
from demo.docstrings import write_archive

CUT = "2023-01-01"
RESAMPLES = 2000
RESULTS = Path(__file__).parent / "results"
READING_AS_TRAINED = "attuneReadingAsTrained"
HYBRID = {"attuneHybrid": "attune", "baseHybrid": "base"}
"""Fused with BM25: Attune's by the weight that it brings, the base model's by half."""
Changes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Corpus:
    """What is trained on, and the test."""

    name: str
    what: str
    archive: Path
    labels: Path | None
    split_ratio: float
    held_out: Callable[[Path], HeldOut]
    """The test, given a snapshot of the corpus."""


def optech(data: Path, work: Path) -> Corpus:
    """Everything before the cut trains; labels of 2023 over all articles test."""
    archive = work / "archive.jsonl"
    with (data / "archive.jsonl").open(encoding="utf-8") as lines:
        archive.write_text("".join(line for line in lines if json.loads(line)["publishedAt"] < CUT), encoding="utf-8")
    return Corpus(
        "optech",
        "labelled queries of 2023 over all articles without titles; trained on what was published before",
        archive,
        data / "labels.train.jsonl",
        0.98,
        lambda _: read(data / "archive.jsonl", data / "labels.dev.jsonl", None),
    )


def docstrings(work: Path, articles: int) -> Corpus:
    """The held-out part of the snapshot itself tests: two fifths, more than a thousand queries, or the interval would say nothing."""
    archive = work / "archive.jsonl"
    count = write_archive(archive, articles)
    what = f"first lines of held-out docstrings over the rest of all {count:,}"
    return Corpus("docstrings", what, archive, None, 0.6, read_snapshot)


@dataclass(frozen=True, slots=True)
class Variant:
    """Attune's recipe with something changed."""

    name: str
    config: Changes = field(default_factory=dict)
    data: Changes = field(default_factory=dict)


VARIANTS = (
    Variant("attune"),
    Variant("withoutLeads", data={"leads": False}),
    Variant("withoutNegatives", config={"hard_negatives": {"per_query": 0}}),
    Variant("oneEpoch", config={"epochs": 1}),
)
MORE = (Variant("otherSeed", config={"seed": 7}), Variant("float32", config={"precision": "fp32"}))


@dataclass(frozen=True, slots=True)
class Bench:
    """Where files are kept, and what is run."""

    corpus: Corpus
    base_model: Path
    work: Path
    recipe: TrainingConfig

    def spec(self, variant: Variant, stage: Stage, dataset: ArtifactRef | None = None) -> StageSpec:
        archive = ArchiveSource(uri=str(self.corpus.archive))
        labels = str(self.corpus.labels) if self.corpus.labels else None
        config = TrainingConfig.model_validate({**self.recipe.model_dump(), **variant.config})
        data = DataSpec.model_validate({"archive": archive, "labels": labels, "leads": True, **variant.data})
        return StageSpec(
            stage=stage,
            owner=OwnerRef(kind="Benchmark", namespace="bench", name=variant.name, uid=self.corpus.name),
            retriever="quality",
            storage=str(self.work / variant.name),
            config=config,
            data=data if stage is Stage.PREPARE else DataSpec(),
            dataset=dataset,
            model=ArtifactRef(name=variant.name, uri=str(self.folder(variant.name))),
        )

    def folder(self, name: str) -> Path:
        return self.work / "models" / name


@dataclass(frozen=True, slots=True)
class Made:
    """A model that was trained: the snapshot it is made of, and what it took."""

    snapshot: Path
    told: dict[str, Any]


def stage(spec: StageSpec) -> StageResult:
    result = run(
        spec, Termination(), lambda p: print(f"\r{p.stage} {p.percent}% {p.loss or ''}   ", end="", flush=True)
    )
    print(f"\n{result.result.message}", flush=True)
    if not result.result.succeeded:
        raise SystemExit(1)
    return result.result


def kept(path: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What an earlier run has noted, else what is made now."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(make(), indent=1), encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def train_variant(bench: Bench, variant: Variant) -> Made:
    """Prepare and train as the pods do."""

    def make() -> dict[str, Any]:
        began = time.monotonic()
        dataset = stage(bench.spec(variant, Stage.PREPARE)).dataset
        assert dataset is not None
        prepared = time.monotonic()
        reference = ArtifactRef(name="dataset", uri=dataset.uri, digest=dataset.digest)
        model = stage(bench.spec(variant, Stage.TRAIN, reference)).model
        assert model is not None
        assert model.training is not None
        ended = time.monotonic()
        return {
            "snapshot": dataset.uri,
            "pairs": dataset.by_source,
            "prepareSeconds": round(prepared - began, 1),
            "trainStageSeconds": round(ended - prepared, 1),
            "seconds": round(ended - began, 1),
            "training": model.training.model_dump(mode="json", by_alias=True, exclude_none=True),
        }

    told = kept(bench.work / "told" / f"{variant.name}.json", make)
    return Made(Path(told.pop("snapshot")), told)


def without_times(told: dict[str, Any]) -> dict[str, Any]:
    """Ablations are compared by what they find: they may be trained while the machine does something else."""
    training = {name: value for name, value in told["training"].items() if name != "trainingDurationSeconds"}
    return {name: value for name, value in told.items() if not name.lower().endswith("seconds")} | {
        "training": training
    }


def tuned_weights_alone(bench: Bench, made: Made) -> None:
    """The model before it was mixed with the base model: (kept - base) / share + base, exact up to rounding."""
    from safetensors.numpy import load_file, save_file

    target, share = bench.folder("withoutMean"), made.told["training"].get("tunedShare", 1.0)
    if target.is_dir():
        return
    source = bench.folder("attune")
    left_out = shutil.ignore_patterns("onnx", "manifest.json")
    shutil.copytree(source, target, ignore=left_out)
    base, mean = (load_file(folder / "model.safetensors") for folder in (bench.base_model, source))
    undone = {n: base[n] + (v - base[n]) / share if v.dtype.kind == "f" and n in base else v for n, v in mean.items()}
    save_file(undone, target / "model.safetensors", metadata={"format": "pt"})


def train_plain(bench: Bench, made: Made, plain: Plain, name: str) -> dict[str, Any]:
    """The plain recipe on the same cleaned pairs, without leads and mined negatives, in the same time."""
    rows = [json.loads(line) for line in (made.snapshot / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = [(row["query"], row["pos"]) for row in rows if row["source"] != "lead"]
    budget = made.told["seconds"]
    return kept(
        bench.work / "told" / f"{name}.json",
        lambda: {
            "pairs": len(pairs),
            "batchSize": plain.batch_size,
            "learningRate": plain.learning_rate,
            "precision": plain.precision,
            **train_for(plain, pairs, budget, bench.folder(name)),
        },
    )


def encoder_of(bench: Bench, name: str) -> Encoder:
    """A model as it is, or Attune's reading no further than it was trained."""
    if name != READING_AS_TRAINED:
        return open_encoder(bench.base_model if name == "base" else bench.folder(name))
    model = load_model(bench.folder("attune"))
    model.max_seq_length = bench.recipe.max_sequence_length
    return TorchEncoder(model)


def measured(bench: Bench, name: str, held_out: HeldOut) -> Measured:
    def make() -> dict[str, Any]:
        if name in HYBRID:
            weight = manifest.read(bench.folder("attune")).dense_weight if name == "attuneHybrid" else None
            share = DEFAULT.dense_weight if weight is None else weight
            found = measure_with_words(encoder_of(bench, HYBRID[name]), held_out, ByWords.over(held_out), share).hybrid
        else:
            found = measure_encoder(encoder_of(bench, name), held_out)
        return {metric: values.tolist() for metric, values in found.per_query.items()}

    told = kept(bench.work / "measured" / f"{name}.json", make)
    return Measured({metric: np.array(values) for metric, values in told.items()})


def report(bench: Bench, held_out: HeldOut, told: dict[str, dict[str, Any]], started: dict[str, Any]) -> dict[str, Any]:
    found = {name: measured(bench, name, held_out) for name in ("base", *told, READING_AS_TRAINED, *HYBRID)}
    found["bm25"] = measure_bm25(held_out, k=10)
    attune = found["attune"]

    def against(name: str) -> dict[str, Any]:
        bounds = intervals(attune, found[name], held_out, resamples=RESAMPLES, seed=0)["ndcgAt10"]
        gain = float((attune.per_query["ndcg_at10"] - found[name].per_query["ndcg_at10"]).mean())
        return {"attuneMinusThis": round(gain, 4), "interval": bounds.model_dump(), "verdict": verdict(bounds)}

    return {
        "what": f"{bench.corpus.what}; dense alone but where the name says hybrid",
        "machine": started,
        "queries": len(held_out.queries),
        "documents": len(held_out.documents),
        "recipe": bench.recipe.model_dump(mode="json", by_alias=True, exclude={"base_model"}),
        "models": {
            name: {
                **({} if name == "attune" else against(name)),
                "metrics": one.metrics().model_dump(by_alias=True, exclude_none=True),
                **told.get(name, {}),
            }
            for name, one in found.items()
        },
    }


def main(
    base_model: Path,
    data: Annotated[Path | None, typer.Option(help="Folder of the Optech corpus; unset: docstrings.")] = None,
    articles: Annotated[int, typer.Option(help="How many docstrings, evenly spaced over all packages.")] = 3000,
    work: Annotated[Path, typer.Option(help="Kept between runs.")] = Path("build/quality"),
    ablations: Annotated[
        bool, typer.Option(help="Also train with each rule left out, and the plain recipe with Attune's settings.")
    ] = True,
    more: Annotated[
        bool, typer.Option(help="Also train with another seed, and in float32, which takes longer.")
    ] = False,
) -> None:
    """Train all, measure all, write benchmarks/results/quality-CORPUS.json, or quality-CORPUS-ablations.json."""
    started, base_model = machine(), base_model.absolute()
    work = work.absolute() / ("optech" if data else "docstrings")
    work.mkdir(parents=True, exist_ok=True)
    corpus = optech(data.absolute(), work) if data else docstrings(work, articles)
    asked = {"split_ratio": corpus.split_ratio}
    recipe = recipes.chosen(str(base_model), asked, {}, machine=recipes.of_this_machine())
    bench = Bench(corpus, base_model, work, recipe)
    variants = (VARIANTS if ablations else VARIANTS[:1]) + (MORE if more else ())
    made = train_variant(bench, variants[0])
    told = {"attune": made.told}
    tuned_weights_alone(bench, made)
    told["withoutMean"] = {}
    plain = Plain(str(base_model), recipe.max_sequence_length)
    told["plain"] = train_plain(bench, made, plain, "plain")
    if ablations:
        as_ours = Plain(str(base_model), recipe.max_sequence_length, recipe.batch_size, recipe.learning_rate, "bf16")
        told["plainWithAttunesSettings"] = train_plain(bench, made, as_ours, "plainWithAttunesSettings")
    told |= {variant.name: without_times(train_variant(bench, variant).told) for variant in variants[1:]}
    result = report(bench, corpus.held_out(made.snapshot), told, started)
    target = RESULTS / f"quality-{corpus.name}{'-ablations' if ablations else ''}.json"
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({name: one["metrics"]["ndcgAt10"] for name, one in result["models"].items()}, indent=1))


if __name__ == "__main__":
    typer.run(main)
