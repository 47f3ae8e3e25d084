"""The views as text on a terminal. Called by the commands; decides nothing."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from attune.api.display import change, percent, score, span
from attune.cli.view import View, ago


def status(view: View, now: datetime) -> RenderableType:
    """One screen for one Retriever."""
    table = _table("", "serves", "since", "nDCG@10", "vs. before", "documents", "before that")
    for kind, model in view["models"].items():
        table.add_row(
            kind,
            Text(model["active"] or "nothing yet", "bold green" if model["active"] else "yellow"),
            ago(model["since"], now),
            score(model["metrics"].get("ndcgAt10")) or "-",
            change(model["improvementPercent"]) or "-",
            f"{model['index']['documents']:,}" if model["index"] else "-",
            model["previous"] or "-",
        )
    parts: list[RenderableType] = [table, *(Text.assemble(("  " + k, "dim"), v) for k, v in _lines(view, now))]
    parts += [
        Text.assemble(
            ("  ! ", "bold red"), (p["type"], "red"), f" {p['reason']}: {p['message']} ({ago(p['since'], now)})"
        )
        for p in view["problems"]
    ]
    return Panel(Group(*parts), title=f"Retriever {view['retriever']}", title_align="left", border_style="dim")


def _lines(view: View, now: datetime) -> Iterator[tuple[str, str]]:
    if view["serving"]:
        yield "serving   ", view["serving"]
    for candidate in view["promoting"]:
        yield "promoting ", f"{candidate['version']}: {candidate.get('message', '')} ({ago(candidate['since'], now)})"
    for job in view["training"]:
        done = f" {percent(job['percent'])}" if job["percent"] is not None else ""
        left = f", {span(job['remainingSeconds'])} left" if job["remainingSeconds"] is not None else ""
        yield "training  ", f"{job['name']} {job['phase']}{done}{left}: {job['message'] or ''}"
    for test in view["tests"]:
        yield "test      ", f"{test['name']} {test['phase']}: {test['a'] or 'active'} against {test['b']}"
    for kind, model in view["models"].items():
        if model["staged"]:
            yield "staged    ", f"{', '.join(model['staged'])} ({kind}): `kubectl attune promote {model['staged'][-1]}`"
    for bad in view["quarantined"]:
        yield "taken back", f" {bad['version']} {ago(bad['at'], now)}: {bad['cause']}"


def history(view: View, now: datetime) -> RenderableType:
    """Moves of the pointers, then the versions."""
    moves = _table("when", "", "serves", "instead of", "why")
    for move in reversed(view["changes"]):
        moves.add_row(
            ago(move["at"], now), move["action"], move["version"], move.get("previous", "-"), move.get("cause", "")
        )
    versions = _table("version", "stage", "nDCG@10", "vs. before", "documents", "promoted", "ended", "notes")
    for one in view["versions"]:
        versions.add_row(
            one["name"],
            f"{one['stage'] or 'waiting'}{' (deleted)' if one['retired'] == 'Retired' else ''}",
            score(one["metrics"].get("ndcgAt10")) or "-",
            change(one["improvementPercent"]) or "-",
            f"{one['documents']:,}" if one["documents"] is not None else "-",
            ago(one["promotedAt"], now) or "-",
            ago(one["deprecatedAt"], now) or "-",
            one["notes"] or "",
        )
    return Group(Text(f"Retriever {view['retriever']}", "bold"), moves, Text(), versions)


def diff(view: View) -> RenderableType:
    """Field by field."""
    parts: list[RenderableType] = []
    for part in ("config", "data", "metrics", "index", "artifact"):
        table = Table(
            box=None, title=part, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 2, 0, 0)
        )
        for column in ("", view["a"], view["b"], "95% interval" if part == "metrics" else ""):
            table.add_column(column, overflow="fold")
        for name, values in view[part].items():
            interval = values.get("interval")
            bounds = f"{interval['low']:+.3f} to {interval['high']:+.3f}" if interval else ""
            table.add_row(name, _shown(values["a"]), _shown(values["b"]), bounds)
        parts.append(table if view[part] else Text(f"{part}: no difference", "dim"))
    return Group(*parts)


def hits(found: View) -> RenderableType:
    """The answer of a search."""
    table = _table("", "score", "id", "title")
    for rank, hit in enumerate(found["data"], 1):
        title = hit["title"] or hit["content"][:70]
        table.add_row(str(rank), f"{hit['score']:.3f}", hit["id"], title[:100])
    head = Text.assemble((found["model"], "bold"), f" in {found['index']}")
    return Group(head, table if found["data"] else Text("nothing was found", "yellow"))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def console() -> Console:
    """As wide as the terminal; 120 columns where there is none."""
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=120)
