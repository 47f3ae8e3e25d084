"""`attune-trainer run`: all stages on this machine, by the StageSpecs and functions the pods use. Called by the CLI."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from attune.contract import (
    ArchiveSource,
    ArtifactRef,
    DataSpec,
    EvaluationMetrics,
    ExitCode,
    OwnerRef,
    Stage,
    StageResult,
    StageSpec,
    TrainingConfig,
)
from attune.contract import Progress as StageProgress
from attune.contract.metrics import RetrievalMetrics
from attune.contract.stage import DataFormat
from attune_trainer.reporting import Emit
from attune_trainer.running import Ended, run
from attune_trainer.signals import Termination

OWNER = OwnerRef(kind="LocalRun", namespace="local", name="run", uid="00000000")


@dataclass(frozen=True, slots=True)
class LocalRun:
    """What `attune-trainer run` was asked for. Everything it writes lies below `out`; the model in `out`/model."""

    archive: str
    labels: str | None
    out: Path
    config: TrainingConfig
    min_examples: int = 1

    def spec(self, stage: Stage, dataset: ArtifactRef | None = None, model_digest: str | None = None) -> StageSpec:
        source = ArchiveSource(uri=self.archive, format=_format(self.archive))
        return StageSpec(
            stage=stage,
            owner=OWNER,
            retriever="run",
            storage=str(self.out),
            config=self.config,
            data=DataSpec(archive=source, labels=self.labels, leads=True, min_examples=self.min_examples)
            if stage is Stage.PREPARE
            else DataSpec(),
            dataset=dataset,
            model=ArtifactRef(name="model", uri=str(self.out / "model"), digest=model_digest),
        )


def _format(uri: str) -> DataFormat:
    name = uri.lower().removesuffix(".gz")
    if name.endswith(".parquet"):
        return "parquet"
    return "csv" if name.endswith(".csv") else "jsonl"


def run_all(asked: LocalRun) -> ExitCode:
    """prepare → train → evaluate; stops at the first that fails. A second call goes on where the first was stopped."""
    errors, output = Console(stderr=True), Console()
    with Termination().installed() as termination:
        prepared = _stage(asked.spec(Stage.PREPARE), termination, errors)
        if prepared.result.dataset is None:
            return prepared.exit_code
        dataset = ArtifactRef(name="dataset", uri=prepared.result.dataset.uri, digest=prepared.result.dataset.digest)
        trained = _stage(asked.spec(Stage.TRAIN, dataset), termination, errors)
        if trained.result.model is None:
            return trained.exit_code
        evaluated = _stage(asked.spec(Stage.EVALUATE, dataset, trained.result.model.digest), termination, errors)
    if evaluated.result.evaluation is None:
        return evaluated.exit_code
    output.print(_table(evaluated.result.evaluation.metrics))
    output.print(f"model: {trained.result.model.uri}", soft_wrap=True)
    if report := evaluated.result.evaluation.report:
        output.print(f"report: {report.page}", soft_wrap=True)
    return ExitCode.OK


def _stage(spec: StageSpec, termination: Termination, console: Console) -> Ended:
    with _bar(spec.stage, console) as emit:
        ended = run(spec, termination, emit)
    _say(ended.result, console)
    return ended


def _say(result: StageResult, console: Console) -> None:
    mark = "[green]✓[/]" if result.succeeded else f"[red]✗ {result.reason}:[/]"
    console.print(f"{mark} [bold]{result.stage.value}[/]", end=" ")
    console.print(result.message, markup=False, soft_wrap=True)


@contextmanager
def _bar(stage: Stage, console: Console) -> Iterator[Emit]:
    columns = (
        TextColumn("  [bold]{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[more]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(stage.value, total=100.0, more="")

        def emit(progress: StageProgress) -> None:
            parts = [
                f"epoch {progress.epoch:.2f}" if progress.epoch is not None else "",
                f"loss {progress.loss:.3f}" if progress.loss is not None else "",
                f"{progress.examples_per_second:.1f} pairs/s" if progress.examples_per_second is not None else "",
            ]
            bar.update(task, completed=progress.percent or 0.0, more=" ".join(part for part in parts if part))

        yield emit


def _table(metrics: EvaluationMetrics) -> Table:
    """Base and tuned model side by side, beside BM25 alone, and with it as in a hybrid search."""
    table = Table(
        title=f"{metrics.queries:,} held-out queries over {metrics.documents:,} documents",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("", "BM25", "base", "tuned", "tuned − base,\n95% CI", "base\n+ BM25", "tuned\n+ BM25"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    rows = {
        "ndcgAt10": "nDCG@10",
        "mrrAt10": "MRR@10",
        "recallAt10": "recall@10",
        "contextPrecision": "context precision",
        "contextRecall": "context recall",
    }
    for key, label in rows.items():
        interval = (metrics.intervals or {}).get(key)
        bounds = f"{interval.low:+.3f} … {interval.high:+.3f}" if interval else ""
        table.add_row(
            label,
            _cell(metrics.bm25, key),
            _cell(metrics.base, key),
            _cell(metrics, key),
            bounds,
            _cell(metrics.hybrid_baseline, key),
            _cell(metrics.hybrid, key),
        )
    return table


def _cell(metrics: RetrievalMetrics | None, key: str) -> str:
    value = metrics.model_dump(by_alias=True).get(key) if metrics else None
    return "" if value is None else f"{value:.3f}"
