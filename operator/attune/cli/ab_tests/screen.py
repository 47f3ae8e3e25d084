"""An A/B test as text on a terminal of 80 columns and more, with a plot by plotext where that is installed. Called by `commands`."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from attune.api.display import percent, span
from attune.cli.ab_tests import words
from attune.cli.render import ago
from attune.decide.experiment.statistics.sample_ratio import MISMATCH
from attune.views import ab_tests as views
from attune.views.retrievers import View

STYLES = {"better": "green", "withinMargin": "green", "worse": "bold red", "harmed": "bold red", "noValues": "yellow"}
PHASES = {
    "Running": "bold green",
    "Pending": "yellow",
    "Failed": "bold red",
    "Cancelled": "yellow",
    "Concluded": "bold",
}
PLOT_HEIGHT, WIDEST_PLOT = 13, 100
NARROW = 100
"""Columns below which an interval has a line of its own."""


def listing(tests: list[View], now: datetime) -> RenderableType:
    """All tests of a namespace."""
    if not tests:
        return Text("there is no ABTest; `kubectl apply` one", "yellow")
    table = _table("test", "retriever", "A", "B", "split", "queries", "phase", "since", "winner")
    for one in tests:
        table.add_row(
            Text(one["test"], "bold"),
            one["retriever"],
            one["a"] or "-",
            one["b"],
            percent(round(100 * one["split"], 6)),
            f"{one['samplesA'] or 0:,} + {one['samplesB'] or 0:,}",
            Text(one["phase"], PHASES.get(one["phase"], "")),
            ago(one["since"], now) or "-",
            one["winner"] or "-",
        )
    return table


def screen(view: View, now: datetime, width: int) -> RenderableType:
    """One test on one screen."""
    title = Text.assemble("ABTest ", (view["test"], "bold"), f" of Retriever {view['retriever']}")
    parts: list[RenderableType] = [
        _arms(view, now),
        Text(),
        _metrics(view, "\n" if width < NARROW else " "),
        Text(),
        _lines(view, now),
    ]
    return Group(title, Padding(Group(*parts, Text(), plot(view, width - 4)), (0, 0, 0, 2)))


def _arms(view: View, now: datetime) -> Table:
    grid = _grid()
    grid.add_row("phase", Text(words.phase(view, now), PHASES.get(view["phase"], "")))
    if view["message"] and view["message"] not in (view["recommendation"] or ""):
        grid.add_row("", view["message"])
    for arm, share, samples in zip("ab", words.shares(view), (view["samplesA"], view["samplesB"]), strict=True):
        text = Text.assemble((words.version(view, arm), "bold"), f", {share} of the queries, ")
        grid.add_row(arm.upper(), text.append(words.count(samples)))
    return grid


def _metrics(view: View, between: str) -> RenderableType:
    table = _table("metric", "A", "B", "change", "p", "means")
    for column in table.columns[1:5]:
        column.no_wrap = True
    for metric in view["metrics"]:
        table.add_row(
            Text.assemble((metric["name"], "bold"), (f"\n{metric['role']}", "dim")),
            _both(metric, "a"),
            _both(metric, "b"),
            "\n".join(between.join(filter(None, change)) for change in words.changes(metric)),
            words.p_value(metric["p"]),
            Text(words.meaning(metric), STYLES.get(metric["meaning"], "")),
        )
    return table


def _both(metric: View, arm: str) -> str:
    return "\n".join(filter(None, (words.arm(metric, arm), words.tail(metric, arm))))


def _lines(view: View, now: datetime) -> Table:
    grid = _grid()
    if (ratio := words.sample_ratio(view)) is not None:
        grid.add_row("sample ratio", Text(ratio, "bold red" if view["sampleRatioPValue"] < MISMATCH else ""))
    for problem in view["problems"]:
        text = Text.assemble((f"{problem['type']}: {problem['reason']}", "red"), f": {problem['message']}")
        grid.add_row("attention", text.append(f" (since {span_since(problem['since'], now)})", "dim"))
    if view["notes"]:
        grid.add_row("note", view["notes"])
    grid.add_row("decided by", words.rules(view))
    if view["lookedAt"]:
        grid.add_row("last look", ago(view["lookedAt"], now))
    if (promotion := words.promotion(view)) is not None:
        grid.add_row("promotion", promotion)
    grid.add_row(
        "so", Text(view["recommendation"] or "nothing can be said yet", "bold" if view["recommendation"] else "")
    )
    return grid


def span_since(at: str, now: datetime) -> str:
    return span((now - datetime.fromisoformat(at)).total_seconds()) or ""


# ---- the plot


def plot(view: View, width: int) -> RenderableType:
    """The interval of the primary metric over time; a line that says how to get it where plotext is missing."""
    looks = views.plotted(view)
    if not looks:
        return Text("no look at the primary metric has an interval yet", "dim")
    try:
        import plotext  # type: ignore[import-untyped]
    except ImportError:
        return Text(f"the plot needs plotext: {words.INSTALL}", "yellow")
    start = datetime.fromisoformat(view["startedAt"]) if view["startedAt"] else looks[0][0]
    unit, seconds = words.unit_of((looks[-1][0] - start).total_seconds())
    times = [(at - start).total_seconds() / seconds for at, *_ in looks]
    drawn = _drawn(plotext.figure, times, looks, min(width, WIDEST_PLOT), words.axis_label(view))
    return Group(Text(words.plot_title(view)), Text(drawn), Text(f"{unit} since the start; 0 is no difference", "dim"))


def _drawn(
    figure: Any,
    times: list[float],
    looks: list[tuple[datetime, float | None, float, float]],
    width: int,
    label: Callable[[float], str],
) -> str:
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(width, PLOT_HEIGHT)
    figure.line(0.0, style="dotted")
    for time, (_, difference, low, high) in zip(times, looks, strict=True):
        figure.draw(figure.segment((time, time), (low, high), marker="│"))
        if difference is not None:
            figure.draw(figure.signal([time], [difference], marker="●"))
    across = words.ticks_between(0.0, times[-1])
    figure.ruler("x").lim(0.0, times[-1])
    figure.ruler("x").ticks(across, [f"{value:g}" for value in across])
    up = words.ticks_between(min(0.0, *(low for _, _, low, _ in looks)), max(0.0, *(high for *_, high in looks)))
    figure.ruler("y").ticks(up, [label(value) for value in up])
    drawn: str = figure.build().string()
    return Text.from_ansi(drawn).plain.rstrip()


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
