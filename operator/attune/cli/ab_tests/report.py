"""`attune test report`: an A/B test as one self-contained HTML page, drawn by matplotlib and jinja2. Called by `commands`.

The page needs no script and nothing from elsewhere. Its text is escaped by jinja2; the plot is an inline SVG whose colours are those of
the page, so that it is readable in the dark too.
"""

import io
import logging
import os
import re
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attune import __version__
from attune.cli.ab_tests import words
from attune.cli.session import Problem
from attune.views import ab_tests as views
from attune.views.retrievers import View

TEMPLATE = "report.html.jinja"
MARK = "attune-report"
_HEAD_BYTES = 2000
_SIZES = {"wide": (7.6, 3.3), "narrow": (3.7, 3.1)}
"""Inches of the plot, for screens and for telephones: text keeps its size."""
_COLOURS = {"#010101": "var(--ink)", "#020202": "var(--muted)", "#030303": "var(--line)", "#040404": "var(--accent)"}
"""What matplotlib is given, and what it becomes."""
_INK, _MUTED, _LINE, _ACCENT = _COLOURS
_TRACK = 200.0


def page(view: View, now: datetime) -> str:
    """The whole page."""
    try:
        import jinja2
    except ImportError as error:
        raise _missing("jinja2") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(TEMPLATE).render(
        view=view,
        words=words,
        mark=mark(view),
        metrics=[metric | {"track": track(metric)} for metric in view["metrics"]],
        plots={size: plot(view, size) for size in _SIZES} if views.plotted(view) else {},
        looks=views.plotted(view),
        axis=words.axis_label(view),
        now=now,
        written=now.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=__version__,
    )


def _missing(what: str) -> Problem:
    return Problem(f"the report needs {what}: {words.INSTALL}")


def mark(view: View) -> str:
    """What tells a report of this test from other files."""
    return f"{view['namespace'] or ''}/{view['test']}"


# ---- the interval of a metric, beside its numbers


def track(metric: View) -> dict[str, float] | None:
    """Where a small drawing of the interval has its parts, 0 to 200: low, high, difference, zero, and a guardrail's limit."""
    if metric["low"] is None or metric["high"] is None or metric["difference"] is None:
        return None
    marks = {k: metric[k] for k in ("low", "high", "difference")} | {"zero": 0.0}
    if metric["harmfulFrom"] is not None:
        marks["limit"] = metric["harmfulFrom"]
    least, most = min(marks.values()), max(marks.values())
    if not most > least:
        return None
    room = 0.06 * (most - least)
    scale = _TRACK / (most - least + 2 * room)
    return {name: round((value - least + room) * scale, 1) for name, value in marks.items()}


# ---- the plot of the primary metric


def plot(view: View, size: str) -> str:
    """Inline SVG of the looks at the primary metric; `size` is wide or narrow."""
    os.environ.setdefault("MPLBACKEND", "svg")
    logging.getLogger("matplotlib").setLevel(logging.CRITICAL)
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise _missing("matplotlib") from error
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"{mark(view)}/{size}", "font.size": 9.5}):
        figure = Figure(figsize=_SIZES[size], layout="constrained")
        figure.patch.set_visible(False)
        _draw(figure.add_subplot(), view)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return inline(written.getvalue(), size, plot_summary(view))


def _draw(axes: Any, view: View) -> None:
    looks, label = views.plotted(view), words.axis_label(view)
    start = datetime.fromisoformat(view["startedAt"]) if view["startedAt"] else looks[0][0]
    unit, seconds = words.unit_of((looks[-1][0] - start).total_seconds())
    times = [(at - start).total_seconds() / seconds for at, *_ in looks]
    lows, highs = [low for _, _, low, _ in looks], [high for *_, high in looks]
    known = [(time, look[1]) for time, look in zip(times, looks, strict=True) if look[1] is not None]
    axes.patch.set_visible(False)
    axes.fill_between(times, lows, highs, color=_ACCENT, alpha=0.18, linewidth=0)
    axes.vlines(times, lows, highs, color=_ACCENT, linewidth=1, alpha=0.55)
    axes.plot(*zip(*known, strict=True), color=_ACCENT, linewidth=2, marker="o", markersize=4)
    axes.axhline(0, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
    up = words.ticks_between(min(0.0, *lows), max(0.0, *highs))
    axes.set_yticks(up, [label(value) for value in up])
    across = words.ticks_between(0.0, max(times))
    axes.set_xticks(across, [f"{value:g}" for value in across])
    axes.set_xlim(0, max(times) * 1.02 or 1)
    axes.set_xlabel(f"{unit} since the start", color=_MUTED)
    axes.set_ylabel("B minus A", color=_MUTED)
    axes.tick_params(colors=_LINE, labelcolor=_MUTED)
    axes.grid(axis="y", color=_LINE, linewidth=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(_LINE)


def plot_summary(view: View) -> str:
    """The plot in a sentence, for those who do not see it."""
    looks = views.plotted(view)
    label = words.axis_label(view)
    _, difference, low, high = looks[-1]
    at = "" if difference is None else f"{label(difference)}, "
    return f"{len(looks)} looks; at the last one B minus A is {at}interval {label(low)} to {label(high)}. 0 is no difference."


def inline(svg: str, size: str, summary: str) -> str:
    """An SVG file as a part of a page: colours of the page, one name, no ids but those that are referred to."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    for placeholder, colour in _COLOURS.items():
        svg = svg.replace(placeholder, colour)
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None  # matplotlib writes one
    return f'<svg class="plot {size}" {box.group()} role="img" aria-label="{summary}">{rest}'


# ---- the file


def write(view: View, now: datetime, path: Path | None, *, force: bool) -> tuple[Path, int]:
    """Write the page; where, and how many bytes. Problem, and nothing changed, where that cannot be or another file is there."""
    target = path or Path(f"{view['test']}.html")
    if not force:
        _refuse(target, view)
    text = page(view, now).encode()
    try:
        if target.exists() and not target.is_file():
            target.write_bytes(text)
        else:
            _replace(target, text)
    except OSError as error:
        raise Problem(
            f"{target} cannot be written: {error.strerror or error}; choose another place with --output"
        ) from error
    return target, len(text)


def _refuse(target: Path, view: View) -> None:
    if target.is_dir():
        raise Problem(f"{target} is a folder; name a file with --output {target / (view['test'] + '.html')}")
    if not target.is_file():
        return
    try:
        with target.open("rb") as file:
            head = file.read(_HEAD_BYTES).decode(errors="replace")
    except OSError as error:
        raise Problem(
            f"{target} cannot be read: {error.strerror or error}; choose another place with --output"
        ) from error
    if f'<meta name="{MARK}" content="{mark(view)}">' not in head:
        raise Problem(f"{target} is there and is no report of this test; choose another --output, or add --force")


def _replace(target: Path, text: bytes) -> None:
    """All of it or nothing: a full disk leaves the last report as it was."""
    target = target.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_bytes(text)
        part.replace(target)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
