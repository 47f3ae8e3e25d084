"""What the demo prints: live progress while a run goes on, and the end of the story. Reads objects, decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Thing = dict[str, Any]
METRICS = (
    ("nDCG@10", "ndcgAt10"),
    ("MRR@10", "mrrAt10"),
    ("recall@10", "recallAt10"),
    ("context precision", "contextPrecision"),
)
STAGES = ("Pending", "Preparing", "Training", "Evaluating", "Succeeded")


class GaveUp(Exception):
    """The wait is over: what was waited for failed, or time ran out. The message says which and why."""


def follow(console: Console, look: Callable[[], Thing], done: Callable[[Thing], bool], seconds: float) -> Thing:
    """Show an object's progress until it is done; raises GaveUp with the object's own words after `seconds`."""
    with _Display(console) as display:
        start = monotonic()
        while True:
            thing = look()
            display.show(thing, monotonic() - start)
            if done(thing):
                return thing
            if monotonic() - start > seconds:
                raise GaveUp(
                    f"{thing['kind']} {thing['metadata']['name']} is not done after {seconds:.0f} s: {_words(thing)}"
                )
            sleep(1)


class _Display:
    """A live panel on a terminal; in a pipe a line for each phase, and each tenth of a stage."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, refresh_per_second=4) if console.is_terminal else None
        self._said: object = None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, thing: Thing, elapsed: float) -> None:
        if self._live:
            self._live.update(_panel(thing, elapsed))
            return
        status = thing.get("status") or {}
        progress = status.get("progress") or {}
        mark = (status.get("phase"), progress.get("stage"), progress.get("percent", 0) // 10, _ready(status))
        if mark != self._said:
            self._said = mark
            line = f"{thing['kind']}/{thing['metadata']['name']} {_phase(thing)} {elapsed:.0f} s"
            detail = f"{progress['stage']} {_detail(progress)}" if "percent" in progress else _words(thing)
            self.console.print(f"{line}  {detail}", highlight=False, soft_wrap=True)


def _phase(thing: Thing) -> str:
    status = thing.get("status") or {}
    return str(status.get("phase") or status.get("stage") or ("Ready" if _ready(status) else "Pending"))


def _ready(status: Thing) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])


def _panel(thing: Thing, elapsed: float) -> Group:
    status = thing.get("status") or {}
    progress = status.get("progress") or {}
    name = f"{thing['kind']}/{thing['metadata']['name']} "
    head = Text.assemble((name, "bold"), (_phase(thing), "cyan"), f"  {elapsed:4.0f} s")
    lines: list[Any] = [head]
    if "percent" in progress:
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            Text(f"  {progress['stage']:<9}"),
            ProgressBar(total=100, completed=progress["percent"], width=40),
            _detail(progress),
        )
        lines.append(bar)
    words = _words(thing)
    if words:
        lines.append(Text("  " + words, style="dim", overflow="fold"))
    return Group(*lines)


def _detail(progress: Thing) -> Text:
    parts = [f"{progress['percent']:.0f}%"]
    if "loss" in progress:
        parts.append(f"loss {progress['loss']:.3f}")
    if "examplesPerSecond" in progress:
        parts.append(f"{progress['examplesPerSecond']:.0f} pairs/s")
    if "estimatedRemainingSeconds" in progress:
        parts.append(f"{progress['estimatedRemainingSeconds']:.0f} s left")
    return Text("  ".join(parts))


def _words(thing: Thing) -> str:
    status = thing.get("status") or {}
    if status.get("message"):
        return str(status["message"])
    return "; ".join(_conditions(status))


def _conditions(status: Thing) -> Iterator[str]:
    for condition in status.get("conditions") or []:
        if condition["status"] == "False":
            yield f"{condition['type']}: {condition['message']}"


def before_and_after(version: Thing) -> Table:
    """The measured metrics of a version beside those of the version it is compared with, and BM25's."""
    measured = version["status"]["evaluationMetrics"]
    intervals = measured.get("intervals") or {}
    before = measured.get("baseline") or measured.get("base") or {}
    table = Table(
        title=f"{version['metadata']['name']}: {measured['queries']} held-out queries, {measured['documents']} documents"
    )
    for column in ("metric", "BM25", "before", "after", "difference, 95% interval"):
        table.add_column(column, justify="left" if column == "metric" else "right")
    for label, key in METRICS:
        if key not in measured:
            continue
        interval = intervals.get(key)
        bounds = f"{interval['low']:+.3f} to {interval['high']:+.3f}" if interval else ""
        table.add_row(
            label,
            _number((measured.get("bm25") or {}).get(key)),
            _number(before.get(key)),
            _number(measured[key]),
            bounds,
        )
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
