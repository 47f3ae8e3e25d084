"""`attune test`: A/B tests listed, shown, reported, cancelled, planned. They are started by `kubectl apply` of an ABTest."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from attune.cli.options import (
    Context,
    Format,
    Kubeconfig,
    Namespace,
    OptionalRetriever,
    Output,
    Timeout,
    Wait,
    note,
    where,
    write,
)

test_app = typer.Typer(
    no_args_is_help=True, help="A/B tests: how they stand, what they need. Start one by `kubectl apply` of an ABTest."
)
Test = Annotated[str, typer.Argument(help="Name of an ABTest.")]


class Method(StrEnum):
    """Methods of analysis."""

    SEQUENTIAL = "sequential"
    GROUP_SEQUENTIAL = "groupSequential"
    FIXED_HORIZON = "fixedHorizon"


@test_app.command("list")
def list_tests(
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """All tests of the namespace, the newest first."""
    from attune.cli.ab_tests import screen
    from attune.cli.session import run
    from attune.views import ab_tests as views

    found = views.list_view(run(where(namespace, context, kubeconfig), lambda s: s.all_of("ABTest")))
    write(found, output, lambda _: screen.listing(found, datetime.now(UTC)))


@test_app.command()
def show(
    name: Test,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """One screen: phase, arms, metrics with intervals and what they mean, what to do, and the primary metric over time."""
    from attune.cli.ab_tests import screen
    from attune.cli.session import run
    from attune.views import ab_tests as views

    found = views.show_view(run(where(namespace, context, kubeconfig), lambda s: s.get("ABTest", name)))
    write(found, output, lambda console: screen.screen(found, datetime.now(UTC), console.width))


@test_app.command()
def report(
    name: Test,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="File to write. Default: NAME.html.")] = None,
    force: Annotated[bool, typer.Option(help="Also over a file that is no report of this test.")] = False,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """The same as one HTML page that needs nothing else: to send, to keep, to read on a telephone."""
    from attune.cli.ab_tests import report
    from attune.cli.session import Session, run
    from attune.views import ab_tests as views

    async def work(session: Session) -> tuple[Path, int]:
        found = views.show_view(await session.get("ABTest", name))
        return report.write(found, datetime.now(UTC), output, force=force)

    path, size = run(where(namespace, context, kubeconfig), work)
    typer.echo(f"{path}: {size / 1000:.0f} kB")


@test_app.command()
def cancel(  # noqa: PLR0913  options of a command line
    name: Test,
    wait: Wait = True,
    timeout: Timeout = 60.0,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """End a test: all queries go to A again. Exit code 1: it had ended otherwise; 3: no answer in time."""
    from attune.cli.ab_tests import cancelling
    from attune.cli.session import run

    asked = cancelling.Asked(name, wait, timeout)
    answer = run(where(namespace, context, kubeconfig), lambda s: cancelling.cancel(s, asked, note))
    if output is Output.JSON:
        typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"{answer['test']}: {answer['result']}: {answer['message']}")
    raise typer.Exit(cancelling.exit_code(answer))


@test_app.command()
def plan(  # noqa: PLR0913  options of a command line
    retriever: OptionalRetriever = None,
    effect: Annotated[
        float,
        typer.Option(
            help="Smallest change worth finding. Alone: in standard deviations of the metric. With --metric-sd: in the unit of the metric. "
            "With --baseline: points of the rate (0.02: from 0.31 to 0.33); with --relative a share of it (0.05: from 0.31 to 0.3255)."
        ),
    ] = 0.05,
    metric_sd: Annotated[
        float | None,
        typer.Option(
            min=1e-12, help="Standard deviation of the metric; of latency that of ln(milliseconds), often 0.5."
        ),
    ] = None,
    baseline: Annotated[
        float | None, typer.Option(help="For a metric that is 0 or 1 (clicks, answers accepted): its rate in A.")
    ] = None,
    relative: Annotated[bool, typer.Option("--relative", help="--effect is a share of --baseline.")] = False,
    split: Annotated[float, typer.Option(help="Share of queries that B answers (trafficSplit).")] = 0.2,
    alpha: Annotated[float, typer.Option(help="Probability of calling a difference that is none.")] = 0.05,
    power: Annotated[float, typer.Option(help="Probability of finding a change of that size.")] = 0.8,
    method: Annotated[Method, typer.Option(help="analysis.method of the test.")] = Method.SEQUENTIAL,
    metrics: Annotated[int, typer.Option(min=1, max=10, help="Primary and success metrics, which share alpha.")] = 1,
    per_day: Annotated[
        float | None, typer.Option(min=1e-3, help="New distinct queries a day, instead of asking the serving Pods.")
    ] = None,
    output: Format = Output.TABLE,
    namespace: Namespace = None,
    context: Context = None,
    kubeconfig: Kubeconfig = None,
) -> None:
    """How many distinct queries a test needs, and how many days the Retriever's traffic takes for them."""
    from attune.cli.ab_tests import plan_screen, planning
    from attune.cli.ab_tests.traffic import Found, traffic_of
    from attune.cli.session import Session, guarded, run

    asked = planning.Asked(
        planning.Goal(effect, metric_sd, baseline, relative), method.value, split, alpha, power, metrics
    )

    async def as_given() -> Any:
        return planning.plan_view(asked, Found(per_day=per_day))

    async def in_cluster(session: Session) -> Any:
        asked.check()
        return planning.plan_view(asked, await traffic_of(session, retriever))

    found = guarded(as_given) if per_day else run(where(namespace, context, kubeconfig), in_cluster)
    write(found, output, lambda _: plan_screen.plan(found))
