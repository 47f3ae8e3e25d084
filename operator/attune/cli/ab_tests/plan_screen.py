"""A plan as text on a terminal. Called by `commands`; the values are of `planning`."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attune.api.display import percent, span
from attune.cli.ab_tests.planning import max_duration
from attune.views.retrievers import View

_ENDS = {
    "sequential": "at most; it may end at any look before",
    "groupSequential": "at the last planned look; it may end at one before",
    "fixedHorizon": "at its one look",
}
_DAY = 86400.0


def plan(view: View) -> RenderableType:
    """Queries, traffic, days, and what to do about them."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    power = percent(round(100 * view["power"], 6))
    grid.add_row("finds", f"{effect(view['goal'])}, with probability {power}")
    grid.add_row("by", f"{view['method']}, alpha {view['alpha']:g}, {_share(view['split'])} of the queries to B")
    grid.add_row("needs", Text.assemble((queries(view["samples"]), "bold"), f", {_ENDS[view['method']]}"))
    grid.add_row("traffic", traffic(view["traffic"]))
    if view["traffic"]["problem"]:
        grid.add_row("", Text(view["traffic"]["problem"], "yellow"))
    elif view["traffic"].get("seconds", _DAY) < 0.9 * _DAY:
        grid.add_row("", Text("less than a day was seen: quieter and busier hours are not in it", "dim"))
    grid.add_row("takes", Text(days(view["days"]), "bold" if view["days"] else "yellow"))
    for hint in hints(view):
        grid.add_row("hint", hint)
    return Group(grid)


def effect(goal: View) -> str:
    """`a change from 0.31 to 0.325 (0.0332 standard deviations)`."""
    deviations = f"{goal['deviations']:.3g} standard deviations"
    if goal["baseline"] is not None:
        return f"a change from {goal['baseline']:.4g} to {goal['target']:.4g} ({deviations})"
    if goal["metricSd"] is not None:
        return f"a change by {goal['effect']:g} ({deviations})"
    return f"a change by {deviations}"


def queries(samples: View) -> str:
    return f"{samples['total']:,} distinct queries: {samples['a']:,} of A and {samples['b']:,} of B"


def traffic(view: View) -> str:
    """What is known of it."""
    if view.get("distinctPerDay") is not None:
        return f"{view['distinctPerDay']:,g} new distinct queries a day, as given"
    if "seconds" not in view:
        return "not known"
    replicas = f"{view['replicas']} replica{'s' if view['replicas'] != 1 else ''}"
    seen = f"{view['requests']:,} requests, about {view['distinct']:,.0f} distinct queries"
    return f"{view['retriever']}: {seen} in {span(view['seconds'])} at {replicas}"


def days(view: View | None) -> str:
    """`about 5.2 days (4.8 to 7.1)`."""
    if view is None:
        return "nobody can say; give --per-day"
    if view["likely"] is None:
        return f"at least {_days(view['fewest'])}"
    if view["likely"] == view["most"]:
        return f"about {_days(view['likely'])}"
    if view["most"] is None:
        return f"about {_days(view['likely'])}, {_number(view['fewest'])} at least; nothing shows yet that there are so many queries"
    return f"about {_days(view['likely'])} ({_number(view['fewest'])} to {_number(view['most'])})"


def hints(view: View) -> list[str]:
    """What would make it shorter, and what to write into the ABTest."""
    found = []
    if view["evenly"] is not None:
        even = view["evenly"]
        found.append(
            f"--split 0.5 needs {even['samples']['total']:,} distinct queries"
            + (f", {days(even['days'])}" if even["days"] else "")
        )
    if (longer := max_duration(view["days"])) is not None:
        found.append(longer)
    if view["method"] == "fixedHorizon":
        found.append(
            f"set analysis.samples: {min(view['samples']['a'], view['samples']['b'])} to look as soon as these are there"
        )
    return found


def _share(value: float) -> str:
    return percent(round(100 * value, 6)) or ""


def _days(value: float | None) -> str:
    return "-" if value is None else "1 day" if _number(value) == "1" else f"{_number(value)} days"


def _number(value: float) -> str:
    """Two digits are honest; less than a tenth of a day is not told apart."""
    return "under 0.1" if value < 0.1 else f"{value:.1f}".removesuffix(".0") if value < 10 else f"{value:,.0f}"
