"""The views as text on a terminal of 80 columns and more. Called by the commands; decides nothing."""

import os
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from attune.api.display import change, percent, score, span
from attune.views.retrievers import View

WIDTH = 120
SIDE_BY_SIDE = 110
"""Columns from which two answers stand beside each other."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_DIGEST = re.compile(r"^sha256(sum)?:[0-9a-f]{8}(?=[0-9a-f])")
Line = tuple[str, str | Text]


def status(view: View, now: datetime) -> RenderableType:
    """One screen for one Retriever."""
    models = _table("", "serves", "since", "nDCG@10", "change", "documents")
    for kind, model in view["models"].items():
        models.add_row(
            kind,
            Text(model["active"] or "nothing yet", "bold green" if model["active"] else "yellow"),
            ago(model["since"], now) or "-",
            score(model["metrics"].get("ndcgAt10")) or "-",
            change(model["improvementPercent"]) or "-",
            f"{model['index']['documents']:,}" if model["index"] else "-",
        )
    lines = Table.grid(padding=(0, 2, 0, 0))
    lines.add_column(style="dim", no_wrap=True)
    lines.add_column(overflow="fold")
    for label, text in (*_lines(view), *_moves(view, now), *_problems(view, now)):
        lines.add_row(label, text)
    title = Text.assemble("Retriever ", (view["retriever"], "bold"))
    return Group(title, Padding(Group(models, Text(), lines), (0, 0, 1, 2), expand=False))


def _lines(view: View) -> Iterator[Line]:
    running = {test["name"] for test in view["tests"] if test["phase"] == "Running"}
    if view["serving"]:
        yield "serving", view["serving"]
    for kind, model in view["models"].items():
        if model["previous"]:
            yield "before", f"{model['previous']} ({kind}): `kubectl attune rollback` leads back to it"
        if model["split"] and model["split"]["test"] not in running:
            split = model["split"]
            share = percent(100 * split["fraction"])
            yield "split", f"{split['challenger']} answers {share} of the queries, test {split['test']}"
    for kind, model in view["models"].items():
        for name in model["staged"]:
            yield "staged", f"{name} ({kind}): `kubectl attune promote {name}`"


def _moves(view: View, now: datetime) -> Iterator[Line]:
    for candidate in view["promoting"]:
        told = candidate.get("message") or "accepted"
        label = "to be tested" if candidate.get("test") else "promoting"
        yield label, f"{candidate['version']} since {span_of(candidate['since'], now)}: {told}"
    for job in view["training"]:
        yield "training", _job(job)
    for test in view["tests"]:
        yield "test", _test(test, now)
    for schedule in view["schedules"]:
        yield "schedule", _schedule(schedule, now)
    for bad in view["quarantined"]:
        yield "taken back", f"{bad['version']}, {ago(bad['at'], now)}: {bad['cause']}"


def _job(job: View) -> str:
    done = f" {percent(job['percent'])}" if job["percent"] is not None else ""
    left = f", {span(job['remainingSeconds'])} left" if job["remainingSeconds"] is not None else ""
    said = f": {job['message']}" if job["message"] else ""
    return f"{job['name']} {job['phase'] or 'Pending'}{done}{left}{said}"


def _test(test: View, now: datetime) -> str:
    said = f"{test['name']}: {test['b']} {percent(round(100 * test['fraction'], 6))} of queries"
    if test["phase"] != "Running":
        return f"{said}, {test['phase'] or 'Pending'}" + (
            f": {test['message'].removeprefix('Waiting: ')}" if test["message"] else ""
        )
    so_far = f" {span_of(test['startedAt'], now)}" if test["startedAt"] else ""
    return f"{said}, {test['samplesA'] or 0:,} + {test['samplesB'] or 0:,} queries, Running{so_far}"


def _schedule(schedule: View, now: datetime) -> str:
    """`news-monthly: data in 2d5h, training in 16d3h, 312 of 500 new pairs; training of … skipped: …`."""
    if schedule["notReady"]:
        return f"{schedule['name']}: {schedule['notReady']}"
    parts = [
        f"{what} in {until(schedule[field], now)}"
        for what, field in (("data", "nextPreparation"), ("training", "nextTraining"))
        if schedule[field]
    ]
    if schedule["newPairs"] is not None:
        parts.append(f"{schedule['newPairs']:,} of {schedule['minNewPairs']:,} new pairs")
    said = f"; {schedule['skipped']}" if schedule["skipped"] else ""
    return f"{schedule['name']}: {', '.join(parts) or 'not looked at yet'}{said}"


def _problems(view: View, now: datetime) -> Iterator[Line]:
    for problem in view["problems"]:
        text = Text.assemble((f"{problem['type']}: {problem['reason']}", "red"), f": {problem['message']}")
        yield "attention", text.append(f" ({ago(problem['since'], now)})", "dim")


def history(view: View, now: datetime) -> RenderableType:
    """Moves of the pointers, then the versions."""
    moves = _table("when", "", "serves", "instead of", "why")
    for move in reversed(view["changes"]):
        moves.add_row(
            ago(move["at"], now), move["action"], move["version"], move.get("previous") or "-", move.get("cause") or ""
        )
    versions = _table("version", "stage", "nDCG@10", "change", "documents", "since", "until")
    for one in view["versions"]:
        stage = one["stage"] or "waiting"
        versions.add_row(
            one["name"],
            f"{stage} (deleted)" if one["retired"] == "Retired" else stage,
            score(one["metrics"].get("ndcgAt10")) or "-",
            change(one["improvementPercent"]) or "-",
            f"{one['documents']:,}" if one["documents"] is not None else "-",
            ago(one["promotedAt"], now) or "-",
            ago(one["deprecatedAt"], now) or "-",
        )
    notes = [Text(f"  {one['name']}: {one['notes']}", "dim") for one in view["versions"] if one["notes"]]
    nothing = Text("no version has served yet", "yellow")
    title = Text.assemble("Retriever ", (view["retriever"], "bold"))
    return Group(title, moves if view["changes"] else nothing, Text(), versions, *notes)


def diff(view: View) -> RenderableType:
    """Field by field, part by part, in one table."""
    table = _table("", Text(view["a"], "bold"), Text(view["b"], "bold"))
    table.columns[0].no_wrap = True
    for part in ("config", "data", "metrics", "index", "artifact"):
        table.add_row(Text(part, "bold"), "" if view[part] else Text("no difference", "dim"))
        for name, values in view[part].items():
            table.add_row(f"  {name}", _shown(values["a"]), _shown(values["b"]) + _interval(values.get("interval")))
    if not any("interval" in values for values in view["metrics"].values()):
        return table
    note = f"in brackets: 95% interval of the difference to the version that was active when {view['b']} was measured"
    return Group(table, Text(note, "dim"))


def _interval(interval: dict[str, float] | None) -> str:
    return f" ({interval['low']:+.3f} to {interval['high']:+.3f})" if interval else ""


def hits(answers: list[View], width: int) -> RenderableType:
    """The answers of one search, or of two: beside each other where there is room, else one below the other."""
    if len(answers) == 2 and width >= SIDE_BY_SIDE:
        both = Table.grid(padding=(0, 3, 0, 0), expand=True)
        both.add_column(ratio=1)
        both.add_column(ratio=1)
        both.add_row(*(_hits(answer, _others(answers, n)) for n, answer in enumerate(answers)))
        return both
    return Group(*(_hits(answer, _others(answers, n)) for n, answer in enumerate(answers)))


def _others(answers: list[View], mine: int) -> dict[str, int] | None:
    """Rank by id in the other answer."""
    other = next((a for n, a in enumerate(answers) if n != mine), None)
    return None if other is None else {hit["id"]: rank for rank, hit in enumerate(other["data"], 1)}


def _hits(found: View, others: dict[str, int] | None) -> RenderableType:
    table = _table("", "score", "id", "title", *(["other"] if others is not None else []))
    for rank, hit in enumerate(found["data"], 1):
        title = _plain(hit.get("title") or hit.get("content") or "")
        row = [str(rank), f"{hit['score']:.3f}", _plain(hit["id"]), title[:80] + ("…" if len(title) > 80 else "")]
        table.add_row(*row, *([str(others.get(hit["id"], "-"))] if others is not None else []))
    head = Text.assemble((found["model"], "bold"), (f" in {found.get('index') or 'no collection'}", "dim"))
    return Group(head, table if found["data"] else Text("nothing was found", "yellow"))


def rebuilt(done: list[View]) -> RenderableType:
    """What came of each artifact."""
    table = _table("version", "", "artifact", "")
    for one in done:
        bad = one["action"] in {"conflict", "unusable"}
        table.add_row(one["version"] or "-", Text(one["action"], "red" if bad else ""), one["uri"], one["message"])
    return table if done else Text("there is no artifact", "yellow")


def _table(*columns: str | Text) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _shown(value: Any) -> str:
    """Digests are cut: `-o json` has them whole."""
    if value in {None, ""}:
        return "-" if value is None else '""'
    if isinstance(value, float):
        return f"{value:.4g}"
    digest = _DIGEST.match(str(value))
    return f"{digest.group()}…" if digest else str(value)


def _plain(text: str) -> str:
    """Articles come from anywhere: nothing in them may steer the terminal."""
    return _CONTROL.sub(" ", text).strip()


def ago(at: str | None, now: datetime) -> str:
    """`3h20m ago`, or nothing."""
    return f"{span_of(at, now)} ago" if at else ""


def until(at: str, now: datetime) -> str:
    """The time from now on: `2d5h`."""
    return span((datetime.fromisoformat(at) - now).total_seconds()) or ""


def span_of(at: str, now: datetime) -> str:
    """The time since then: `3h20m`."""
    return span((now - datetime.fromisoformat(at)).total_seconds()) or ""


def console() -> Console:
    """As wide as the terminal, or as COLUMNS; 120 columns where there is neither. What is shown is never read as markup."""
    made = Console(highlight=False, markup=False, emoji=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = WIDTH
    return made
