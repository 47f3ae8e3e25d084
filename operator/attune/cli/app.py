"""The commands: options in, exit codes out. `attune`, and as a plugin `kubectl attune`."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="attune",
    help="What serves, since when, how good; promote, go back, compare, search. Acts with your rights in the cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
registry_app = typer.Typer(no_args_is_help=True, help="The versions as the artifact store has them.")
app.add_typer(registry_app, name="registry")


class Output(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"


class Kind(StrEnum):
    """Types of model."""

    EMBEDDING = "embedding"
    RERANKER = "reranker"


Namespace = Annotated[str | None, typer.Option("-n", "--namespace", help="Default: the kubeconfig context's.")]
Context = Annotated[str | None, typer.Option(help="Context of the kubeconfig.")]
Kubeconfig = Annotated[Path | None, typer.Option(help="Default: KUBECONFIG, then ~/.kube/config.")]
Format = Annotated[Output, typer.Option("-o", "--output", help="table, or json for programs.")]
OptionalRetriever = Annotated[str | None, typer.Argument(help="Default: the only one of the namespace.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the operator's answer.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for it.")]


def _where(namespace: str | None, context: str | None, kubeconfig: Path | None) -> Any:
    from attune.cli.session import Where

    return Where(namespace, context, kubeconfig)


def _print(view: Any, output: Output, draw: Any) -> None:
    from attune.cli import render

    if output is Output.JSON:
        typer.echo(json.dumps(view, indent=2, ensure_ascii=False))
        return
    render.console().print(draw())


@app.command()
def status(
    retriever: Annotated[str | None, typer.Argument(help="Default: all of the namespace.")] = None,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """One screen: what serves, since when, how good, what is running, what is wrong."""
    from rich.console import Group

    from attune.cli import render, view
    from attune.cli.session import Session, run

    async def work(session: Session) -> list[Any]:
        found = [await session.retriever(retriever)] if retriever else await session.all_of("Retriever")
        others = [await session.all_of(kind) for kind in ("ModelVersion", "TrainingJob", "ABTest")]
        return [view.status_view(one, *others) for one in found] or [await session.retriever(None)]

    views = run(_where(namespace, context, kubeconfig), work)
    now = datetime.now(UTC)
    _print(views, output, lambda: Group(*(render.status(one, now) for one in views)))


@app.command()
def history(
    retriever: OptionalRetriever = None,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Which version served since when, and why it took over; what became of every version."""
    from attune.cli import render, view
    from attune.cli.session import Session, run

    async def work(session: Session) -> Any:
        return view.history_view(await session.retriever(retriever), await session.all_of("ModelVersion"))

    found = run(_where(namespace, context, kubeconfig), work)
    _print(found, output, lambda: render.history(found, datetime.now(UTC)))


@app.command()
def promote(  # noqa: PLR0913  options of a command line
    version: Annotated[str, typer.Argument(help="Name of a staged ModelVersion.")],
    wait: Wait = True,
    timeout: Timeout = 600.0,
    request_id: Annotated[str | None, typer.Option(help="Default: a new one.")] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Make a staged version active. Exit code 1: refused, with the reason; 3: no answer in time."""
    from attune.cli.moving import Asked
    from attune.cli.moving import promote as ask
    from attune.cli.session import run

    asked = Asked(version, request_id, wait, timeout)
    raise typer.Exit(run(_where(namespace, context, kubeconfig), lambda s: ask(s, asked, back=False, say=typer.echo)))


@app.command()
def rollback(  # noqa: PLR0913  options of a command line
    retriever: OptionalRetriever = None,
    to: Annotated[str | None, typer.Option(help="A kept version. Default: the one before the active one.")] = None,
    kind: Annotated[Kind | None, typer.Option("--type", help="Where both types have a version before.")] = None,
    wait: Wait = True,
    timeout: Timeout = 600.0,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Go back to the version before, or to any kept one: model and index together."""
    from attune.cli.moving import Asked, target
    from attune.cli.moving import promote as ask
    from attune.cli.session import Session, run

    async def work(session: Session) -> int:
        chosen = await target(session, retriever, to, kind.value if kind else None)
        return await ask(session, Asked(chosen, None, wait, timeout), back=True, say=typer.echo)

    raise typer.Exit(run(_where(namespace, context, kubeconfig), work))


@app.command()
def diff(  # noqa: PLR0913  options of a command line
    a: Annotated[str, typer.Argument(help="A ModelVersion.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
    everything: Annotated[bool, typer.Option("--all", help="What is equal, too.")] = False,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Configuration, data, metrics, index and artifact of two versions."""
    from attune.cli import render, view
    from attune.cli.session import Session, run

    async def work(session: Session) -> Any:
        one, other = await session.get("ModelVersion", a), await session.get("ModelVersion", b)
        return view.diff_view(one, other, everything=everything)

    found = run(_where(namespace, context, kubeconfig), work)
    _print(found, output, lambda: render.diff(found))


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="A TrainingJob, a ModelVersion, or a Retriever (its serving Pods).")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until it has ended.")] = False,
    raw: Annotated[bool, typer.Option(help="Lines of progress as they are.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Of the newest Pod that works, or worked, for it."""
    from attune.cli.logs import show
    from attune.cli.session import run

    run(_where(namespace, context, kubeconfig), lambda s: show(s, name, follow=follow, raw=raw, say=typer.echo))


@app.command()
def search(  # noqa: PLR0913  options of a command line
    query: Annotated[str, typer.Argument(help="What to look for.")],
    retriever: OptionalRetriever = None,
    top_k: Annotated[int, typer.Option("-k", "--top-k")] = 5,
    version: Annotated[str | None, typer.Option(help="A loaded version. Default: whichever serves this query.")] = None,
    compare: Annotated[str | None, typer.Option(help="Another loaded version, beside it.")] = None,
    rerank: Annotated[bool | None, typer.Option("--rerank/--no-rerank")] = None,
    server: Annotated[str | None, typer.Option(help="Address of a server. Default: found through the cluster.")] = None,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Ask the served Retriever."""
    from rich.console import Group

    from attune.cli import render
    from attune.cli.searching import search as ask
    from attune.cli.session import Session, run

    async def work(session: Session) -> list[Any]:
        name = (await session.retriever(retriever))["metadata"]["name"]
        given = {"query": query, "top_k": top_k} | ({} if rerank is None else {"rerank": rerank})
        return [
            await ask(session, name, {**given, "model": m or "active"}, server)
            for m in (version, compare)[: 2 if compare else 1]
        ]

    found = run(_where(namespace, context, kubeconfig), work)
    _print(found if compare else found[0], output, lambda: Group(*map(render.hits, found)))


@registry_app.command()
def rebuild(
    retriever: Annotated[str, typer.Argument(help="The Retriever whose versions were lost.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be made.")] = False,
    image: Annotated[str | None, typer.Option(help="Trainer image for the Pod that reads the store.")] = None,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Make lost ModelVersions again from the manifests in the artifact store. What exists is left alone."""
    from attune.cli.registry import rebuild as make
    from attune.cli.session import run

    count = run(
        _where(namespace, context, kubeconfig),
        lambda s: make(s, retriever, dry_run=dry_run, image=image, say=typer.echo),
    )
    typer.echo(f"{count} {'would be ' if dry_run else ''}made")


def main() -> None:
    """Entry point of `attune` and `kubectl-attune`."""
    app()


if __name__ == "__main__":
    main()
