"""The commands: options in, exit codes out. `attune`, and as a plugin `kubectl attune`."""

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from attune import __version__
from attune.cli.ab_tests.commands import test_app
from attune.cli.options import (
    Context,
    Format,
    Kind,
    Kubeconfig,
    Namespace,
    OptionalRetriever,
    Output,
    Sure,
    Timeout,
    Wait,
    defaults,
    note,
    where,
    write,
)

app = typer.Typer(
    name="attune",
    help="What serves, since when, how good; promote, go back, compare, search. Acts with your rights in the cluster.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
registry_app = typer.Typer(no_args_is_help=True, help="The versions as the artifact store has them.")
app.add_typer(registry_app, name="registry")
app.add_typer(test_app, name="test")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    invoked: typer.Context,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """What serves, since when, how good; promote, go back, compare, search. Acts with your rights in the cluster."""
    given = {"namespace": namespace, "context": context, "kubeconfig": kubeconfig}
    invoked.default_map = defaults(invoked.command, {name: value for name, value in given.items() if value is not None})


def _moved(answer: dict[str, Any], output: Output) -> None:
    """What became of a request, and the exit code that says so."""
    from attune.cli.moving import exit_code

    if output is Output.JSON:
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"{answer['version']}: {answer['result']}: {answer['message']}")
    raise typer.Exit(exit_code(answer))


@app.command()
def status(
    retriever: Annotated[str | None, typer.Argument(help="Default: all of the namespace.")] = None,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """One screen: what serves, since when, how good, what is running, what comes next, what is wrong."""
    from rich.console import Group

    from attune.cli import render
    from attune.cli.session import Session, run
    from attune.views import retrievers as view

    async def work(session: Session) -> list[Any]:
        found = [await session.retriever(retriever)] if retriever else await session.all_of("Retriever")
        others = [await session.all_of(k) for k in ("ModelVersion", "TrainingJob", "ABTest", "TrainingSchedule")]
        return [view.status_view(one, *others) for one in found] or [await session.retriever(None)]

    views = run(where(namespace, context, kubeconfig), work)
    now = datetime.now(UTC)
    write(views, output, lambda _: Group(*(render.status(one, now) for one in views)))


@app.command()
def history(
    retriever: OptionalRetriever = None,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Which version served since when, and why it took over; what became of every version."""
    from attune.cli import render
    from attune.cli.session import Session, run
    from attune.views import retrievers as view

    async def work(session: Session) -> Any:
        return view.history_view(await session.retriever(retriever), await session.all_of("ModelVersion"))

    found = run(where(namespace, context, kubeconfig), work)
    write(found, output, lambda _: render.history(found, datetime.now(UTC)))


@app.command()
def promote(  # noqa: PLR0913  options of a command line
    version: Annotated[str, typer.Argument(help="Name of a staged ModelVersion.")],
    wait: Wait = True,
    timeout: Timeout = 600.0,
    request_id: Annotated[str | None, typer.Option(help="Default: a new one.")] = None,
    yes: Sure = False,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Make a staged version active. Exit code 1: refused, with the reason; 3: no answer in time."""
    from attune.cli.moving import Asked, move
    from attune.cli.session import run

    asked = Asked(version, request_id, wait, timeout, sure=yes)
    _moved(run(where(namespace, context, kubeconfig), lambda s: move(s, asked, note)), output)


@app.command()
def rollback(  # noqa: PLR0913  options of a command line
    retriever: OptionalRetriever = None,
    to: Annotated[str | None, typer.Option(help="A kept version. Default: the one before the active one.")] = None,
    kind: Annotated[Kind | None, typer.Option("--type", help="Where both types have a version before.")] = None,
    wait: Wait = True,
    timeout: Timeout = 600.0,
    request_id: Annotated[str | None, typer.Option(help="Default: a new one.")] = None,
    yes: Sure = False,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Go back to the version before, or to any kept one: model and index together. Exit codes as of promote."""
    from attune.cli.moving import Asked, move, target
    from attune.cli.session import Session, run

    async def work(session: Session) -> dict[str, Any]:
        chosen = await target(session, retriever, to, kind.value if kind else None)
        return await move(session, Asked(chosen, request_id, wait, timeout, sure=yes, back=True), note)

    _moved(run(where(namespace, context, kubeconfig), work), output)


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
    from attune.cli import render
    from attune.cli.session import Session, run
    from attune.views import retrievers as view

    async def work(session: Session) -> Any:
        one, other = await session.get("ModelVersion", a), await session.get("ModelVersion", b)
        return view.diff_view(one, other, everything=everything)

    found = run(where(namespace, context, kubeconfig), work)
    write(found, output, lambda _: render.diff(found))


@app.command()
def logs(
    name: Annotated[str, typer.Argument(help="A TrainingJob, a ModelVersion, or a Retriever (its serving Pods).")],
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until it has ended.")] = False,
    raw: Annotated[bool, typer.Option(help="Lines of progress as they are.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """What its newest Pod printed, progress made readable; with -f also what the Pods print that follow it."""
    from attune.cli.logs import Shown, show
    from attune.cli.session import run

    run(where(namespace, context, kubeconfig), lambda s: show(s, name, Shown(typer.echo, raw, follow)))


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
    """Ask the served Retriever, as an application would; with --compare two of its versions."""
    from attune.cli import render, searching
    from attune.cli.session import Session, guarded, run

    given = {"query": query, "top_k": top_k} | ({} if rerank is None else {"rerank": rerank})
    bodies = [given | {"model": m or "active"} for m in ((version, compare) if compare else (version,))]

    async def at_server(address: str) -> list[Any]:
        return [await searching.ask(address, body) for body in bodies]

    async def in_cluster(session: Session) -> list[Any]:
        name = (await session.retriever(retriever))["metadata"]["name"]
        return [await searching.search(session, name, body) for body in bodies]

    found = guarded(lambda: at_server(server)) if server else run(where(namespace, context, kubeconfig), in_cluster)
    write(found if compare else found[0], output, lambda console: render.hits(found, console.width))


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="A ModelVersion, or the TrainingJob that made it.")],
    open_it: Annotated[bool, typer.Option("--open", help="Show it, where the store is on this machine.")] = False,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Where the report of an evaluation and the model card lie."""
    from attune.cli import reports
    from attune.cli.session import run

    found = run(where(namespace, context, kubeconfig), lambda s: reports.report_view(s, name))
    write(found, output, lambda _: reports.drawn(found))
    if open_it and found["reportPath"] is not None:
        typer.launch(found["reportPath"])


@registry_app.command()
def rebuild(  # noqa: PLR0913  options of a command line
    retriever: Annotated[str, typer.Argument(help="The Retriever whose versions were lost.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be made.")] = False,
    folder: Annotated[str | None, typer.Option("--from", help="Another folder of artifacts: pvc://, s3://, …")] = None,
    image: Annotated[
        str, typer.Option(envvar="ATTUNE_TRAINER_IMAGE", help="Trainer image of the Pod that reads the store.")
    ] = f"attune-trainer:{__version__}",
    timeout: Annotated[float, typer.Option(help="Seconds for that Pod.")] = 300.0,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """Make lost ModelVersions again from the manifests in the artifact store. What exists is left alone."""
    from attune.cli import registry, render
    from attune.cli.session import run

    asked = registry.Asked(image, folder, dry_run, timeout)
    done = run(where(namespace, context, kubeconfig), lambda s: registry.rebuild(s, retriever, asked, note))
    write(done, output, lambda _: render.rebuilt(done))
    raise typer.Exit(any(one["action"] in {registry.CONFLICT, registry.UNUSABLE} for one in done))


def main() -> None:
    """Entry point of `attune` and `kubectl-attune`."""
    app()


if __name__ == "__main__":
    main()
