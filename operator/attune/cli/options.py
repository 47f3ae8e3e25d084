"""Options and printing that all commands share. Used by `app` and by the groups of commands."""

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer


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
Sure = Annotated[bool, typer.Option("--yes", help="Also the other way round, or a version that was taken back.")]


def defaults(group: Any, given: dict[str, Any]) -> dict[str, Any]:
    """A default_map that hands options which stand before a command, as kubectl allows, to all commands of a group."""
    return {
        name: defaults(command, given) if hasattr(command, "commands") else given
        for name, command in group.commands.items()
    }


def where(namespace: str | None, context: str | None, kubeconfig: Path | None) -> Any:
    """Which cluster and namespace."""
    from attune.cli.session import Where

    return Where(namespace, context, kubeconfig)


def write(view: Any, output: Output, draw: Callable[[Any], Any]) -> None:
    """The view as JSON, or as `draw(console)` makes it for people."""
    from attune.cli import render

    if output is Output.JSON:
        typer.echo(json.dumps(view, indent=2, ensure_ascii=False))
        return
    console = render.console()
    console.print(draw(console))


def note(line: str) -> None:
    """What happens meanwhile; standard output is for results."""
    typer.echo(line, err=True)
