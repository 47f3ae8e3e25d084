"""The command line of the trainer image. Pods call `prepare|train|evaluate|import|index|retire --spec FILE`, people `run`.

Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

import json
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import stamina
import typer

from attune.contract import ExitCode, Stage, TrainingConfig
from attune_trainer import recipes
from attune_trainer.recipes import CPU

SPEC = Path("/etc/attune/stage.json")
SpecOption = Annotated[Path, typer.Option("--spec", help="The StageSpec, a JSON file.")]
DEFAULTS = TrainingConfig(base_model="-")

app = typer.Typer(
    name="attune-trainer",
    help="Prepares data, trains, evaluates and exports retrieval models, stage by stage or all at once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _quiet_libraries() -> None:
    """Logs to standard error, no telemetry, no progress bars but ours."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    # Threads that wait must not burn the quota of a container, or the cores of a shared node.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.update(DO_NOT_TRACK="1", WANDB_DISABLED="true", WANDB_MODE="disabled")
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # stamina would announce retries through structlog on standard output, which belongs to progress lines and results.
    stamina.instrumentation.set_on_retry_hooks([stamina.instrumentation.LoggingOnRetryHook])
    logging.getLogger("bm25s").disabled = True
    logging.getLogger("attune_trainer").setLevel(os.environ.get("ATTUNE_LOG_LEVEL", "INFO").upper())


def _run_stage(stage: Stage, spec: Path) -> None:
    from attune_trainer.running import run_from_file

    raise typer.Exit(int(run_from_file(stage, spec)))


@app.command("prepare")
def prepare_command(spec: SpecOption = SPEC) -> None:
    """Turn articles, feedback and labels into a snapshot of training pairs and a held-out set."""
    _run_stage(Stage.PREPARE, spec)


@app.command("train")
def train_command(spec: SpecOption = SPEC) -> None:
    """Train on a snapshot, from the last checkpoint where there is one, and export the artifact."""
    from attune_trainer.launching import Group, run_together

    if group := Group.told(os.environ):
        raise typer.Exit(int(run_together(group, Stage.TRAIN, spec)))
    _run_stage(Stage.TRAIN, spec)


@app.command("import")
def import_command(spec: SpecOption = SPEC) -> None:
    """Export an existing model as an artifact."""
    _run_stage(Stage.IMPORT, spec)


@app.command("index")
def index_command(spec: SpecOption = SPEC) -> None:
    """Make a version's collection in the vector store equal to the archive."""
    _run_stage(Stage.INDEX, spec)


@app.command("retire")
def retire_command(spec: SpecOption = SPEC) -> None:
    """Delete artifacts and collections of versions that are not kept."""
    _run_stage(Stage.RETIRE, spec)


@app.command("cancel")
def cancel_command(
    base_url: Annotated[str, typer.Option(help="Root of the API that fine-tunes.")],
    run: Annotated[str, typer.Option(help="Uid of the TrainingJob.")],
) -> None:
    """Cancel what an API still fine-tunes for a TrainingJob that has ended."""
    from attune_trainer.errors import StageError
    from attune_trainer.hosted.cancelling import cancel

    try:
        print(f"{cancel(base_url, run)} jobs cancelled", flush=True)
    except StageError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        raise typer.Exit(int(error.exit_code)) from None


@app.command("registry")
def registry_command(
    root: Annotated[str, typer.Argument(help="Folder of the versions in the artifact store.")],
) -> None:
    """Print what artifacts there are, one JSON line each."""
    from attune_trainer.errors import StageError
    from attune_trainer.registry import listed

    try:
        for entry in listed(root):
            print(json.dumps(entry), flush=True)
    except StageError as error:
        print(f"{error.reason}: {error}", file=sys.stderr)
        raise typer.Exit(int(error.exit_code)) from None


@app.command("inspect")
def inspect_command(
    dataset: Annotated[str, typer.Argument(help="Snapshot: a folder, or a URI such as status.dataset.uri.")],
    shown: Annotated[int, typer.Option("--show", help="Pairs drawn at random, and of each suspicion.", min=0)] = 3,
    seed: Annotated[int, typer.Option(help="Which ones are drawn.")] = 0,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Model folder with tokenizer.json: lengths in tokens. Default: characters.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as one JSON object.")] = False,
) -> None:
    """Show what is in a snapshot of training data: counts, lengths, random and suspicious pairs."""
    from attune_trainer.inspection.command import inspect

    raise typer.Exit(int(inspect(dataset, shown=shown, seed=seed, tokenizer=tokenizer, as_json=as_json)))


@app.command("evaluate")
def evaluate_command(
    spec: SpecOption = SPEC,
    model: Annotated[
        Path | None, typer.Option(help="An exported artifact, or any sentence-transformers folder.")
    ] = None,
    corpus: Annotated[
        Path | None, typer.Option(help='BEIR corpus.jsonl {"_id","title","text"}, or an archive.')
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help='BEIR queries.jsonl, or labels {"query","id"[,"grade"]}.')
    ] = None,
    qrels: Annotated[Path | None, typer.Option(help="BEIR qrels.tsv; leave out for labels.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="Another model folder to compare with.")] = None,
) -> None:
    """Measure a model: with --model on BEIR files, as one JSON object on standard output; else the stage of --spec."""
    if model is None:
        _run_stage(Stage.EVALUATE, spec)
        return
    if corpus is None or queries is None:
        raise typer.BadParameter("--model needs --corpus and --queries")
    from attune_trainer.evaluate.by_hand import evaluate_folders
    from attune_trainer.running import explained

    try:
        answer = evaluate_folders(model, baseline, corpus, queries, qrels)
    except Exception as error:
        known = explained(error)
        if known.reason == "Unexpected":
            raise
        print(f"{known.reason}: {known}", file=sys.stderr)
        raise typer.Exit(int(known.exit_code)) from None
    print(json.dumps(answer))


@app.command("run")
def run_command(  # noqa: PLR0913 - options of a command line
    archive: Annotated[str, typer.Option(help="Articles (jsonl, parquet, csv): id, title, content[, publishedAt].")],
    base_model: Annotated[str, typer.Option(help="Folder, URI or hub id of the model to start from.")],
    out: Annotated[Path, typer.Option(help="Folder for snapshot, checkpoints, results and the model.")],
    labels: Annotated[str | None, typer.Option(help='Labelled pairs, JSONL {"query","id"}.')] = None,
    epochs: Annotated[
        int | None, typer.Option(help=f"Default: {DEFAULTS.epochs}; {CPU['epochs']} without a GPU.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help=f"Default: {DEFAULTS.batch_size}.")] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help=f"Default: {DEFAULTS.learning_rate:g}; {CPU['learning_rate']:g} without a GPU."),
    ] = None,
    warmup_steps: Annotated[int | None, typer.Option(help=f"Default: {DEFAULTS.warmup_steps}.")] = None,
    max_sequence_length: Annotated[
        int | None,
        typer.Option(
            help=f"Tokens trained on. Default: {DEFAULTS.max_sequence_length}; {CPU['max_sequence_length']} without a GPU."
        ),
    ] = None,
    method: Annotated[
        Literal["full", "queryOnly", "lora"], typer.Option(help="All weights, the side for queries alone, or adapters.")
    ] = "full",
    loss: Annotated[
        str, typer.Option(help="Or cachedMultipleNegativesRanking, or guided.")
    ] = "multipleNegativesRanking",
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto",
    seed: int = DEFAULTS.seed,
    hard_negatives: Annotated[
        int | None, typer.Option(help=f"Mined per pair. Default: {DEFAULTS.hard_negatives.per_query}.")
    ] = None,
    relative_margin: Annotated[
        float | None, typer.Option(help=f"Default: {DEFAULTS.hard_negatives.relative_margin}.")
    ] = None,
    split_ratio: float = DEFAULTS.split_ratio,
    early_stopping_patience: int = DEFAULTS.early_stopping_patience,
    min_improvement: float = DEFAULTS.min_improvement,
    min_examples: int = 1,
    query_prompt: str = "",
    document_prompt: str = "",
) -> None:
    """All stages on this machine, without Kubernetes: prepare, train, evaluate, and a table of before and after."""
    from pydantic import ValidationError

    from attune_trainer.local_run import LocalRun, run_all

    asked = {
        "epochs": epochs,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "warmup_steps": warmup_steps,
        "max_sequence_length": max_sequence_length,
        "method": method,
        "loss": loss,
        "precision": precision,
        "seed": seed,
        "split_ratio": split_ratio,
        "early_stopping_patience": early_stopping_patience,
        "min_improvement": min_improvement,
        "query_prompt": query_prompt,
        "document_prompt": document_prompt,
    }
    mined = {"per_query": hard_negatives, "relative_margin": relative_margin}
    try:
        config = recipes.chosen(base_model, asked, mined, machine=recipes.of_this_machine())
    except ValidationError as error:
        problem = error.errors()[0]
        print(f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}", file=sys.stderr)
        raise typer.Exit(int(ExitCode.BAD_CONFIG)) from None
    print(recipes.sentence(config), file=sys.stderr)
    raise typer.Exit(int(run_all(LocalRun(archive, labels, out.absolute(), config, min_examples))))


def main() -> None:
    """Entry point of `attune-trainer`."""
    _quiet_libraries()
    app()


if __name__ == "__main__":
    main()
