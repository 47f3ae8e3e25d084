"""report.html: one self-contained page, no script, nothing from elsewhere. Called by `files`."""

from functools import cache
from pathlib import Path

import jinja2

from attune_trainer.report import charts, words
from attune_trainer.report.facts import Report

TEMPLATE = "report.html.jinja"
MOST_ROWS = 25
"""Of wins and of losses; report.json has more."""


@cache
def environment() -> jinja2.Environment:
    """Of all templates here; texts of users are escaped in HTML."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=jinja2.select_autoescape(("html.jinja",)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


def page(report: Report) -> str:
    """The whole page."""
    rows = list(words.rows(report))
    changes = report.queries.by_query
    return (
        environment()
        .get_template(TEMPLATE)
        .render(
            report=report,
            about=report.about,
            metrics=report.evaluation.metrics,
            words=words,
            rows=rows,
            tracks=_tracks(report),
            curves=_curves(report),
            histograms={size: charts.histogram([one.difference for one in changes], size) for size in charts.WIDTHS},
            won=[one for one in changes if one.difference > 0][:MOST_ROWS],
            lost=[one for one in reversed(changes) if one.difference < 0][:MOST_ROWS],
            limits=words.limits(report.about, report),
            box=charts,
            written=report.written_at.strftime("%Y-%m-%d %H:%M UTC"),
        )
    )


def _tracks(report: Report) -> dict[str, charts.Track]:
    metrics, before = report.evaluation.metrics, words.before_of(report)
    known = {
        key: (interval.low, interval.high, value - was)
        for key, interval in (metrics.intervals or {}).items()
        if (value := words.of(metrics, key)) is not None and (was := words.of(before, key)) is not None
    }
    return dict(zip(known, charts.tracks(list(known.values())), strict=True))


def _curves(report: Report) -> list[dict[str, object]]:
    """Loss and validation, each for screens and for telephones, with a sentence for those who do not see them."""
    found: list[dict[str, object]] = []
    known = report.about.curve
    for title, points, from_zero in (
        ("Training loss", known.losses, True),
        ("Validation nDCG@10", known.looks, False),
    ):
        if points:
            first, last = points[0], points[-1]
            best = max(points, key=lambda point: point[2])
            told = f"{title}: {first[2]:.3f} at epoch {first[1]:.2f}, {last[2]:.3f} at epoch {last[1]:.2f}"
            told += "" if from_zero else f"; the best is {best[2]:.3f} at epoch {best[1]:.2f}"
            plots = {size: charts.curve(points, size, from_zero=from_zero) for size in charts.WIDTHS}
            found.append({"title": title, "told": told, "plots": plots, "points": points})
    return found
