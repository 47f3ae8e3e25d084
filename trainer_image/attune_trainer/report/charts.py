"""Coordinates of the drawings of report.html. Pure; the template draws them as inline SVG in the colours of the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from attune_trainer.report.facts import Point

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 220.0, 46.0, 12.0, 12.0, 34.0
WIDTHS = {"wide": 640.0, "narrow": 330.0}
"""For screens and for telephones: text keeps its size."""
BINS = 10
TRACK = 200.0


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of an axis: where, and what it says."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, and what it says when pointed at."""

    x: float
    y: float
    width: float
    height: float
    label: str
    gain: bool


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing in a box of width times HEIGHT; the axes cross at (LEFT, HEIGHT - BOTTOM)."""

    width: float
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    line: str = ""
    """Points of a polyline."""
    dots: tuple[tuple[float, float], ...] = ()
    bars: tuple[Bar, ...] = ()


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, about `most` of them: steps of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * nice for nice in (1, 2, 5, 10) if power * nice >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(n * step, 12) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def curve(points: Sequence[Point], size: str, *, from_zero: bool = False) -> Plot:
    """Values over epochs; one dot a point where they are few."""
    width = WIDTHS[size]
    epochs, values = [epoch for _, epoch, _ in points], [value for _, _, value in points]
    low, high = (0.0 if from_zero else min(values)), max(values)
    room = 0.08 * (high - low) or 0.05
    low, high = (low if from_zero else low - room), high + room
    last = max(epochs) or 1.0

    def x(epoch: float) -> float:
        return round(LEFT + (width - LEFT - RIGHT) * epoch / last, 1)

    def y(value: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low), 1)

    places = tuple((x(epoch), y(value)) for epoch, value in zip(epochs, values, strict=True))
    return Plot(
        width,
        tuple(Tick(x(value), f"{value:g}") for value in ticks(0, last)),
        tuple(Tick(y(value), f"{value:g}") for value in ticks(low, high)),
        line=" ".join(f"{across:g},{up:g}" for across, up in places),
        dots=places if len(places) <= 30 else (),
    )


def histogram(differences: Sequence[float], size: str) -> Plot:
    """How many queries changed by how much, -1 to 1, in twenty bars; those that did not change are not drawn."""
    width = WIDTHS[size]
    counts = [0] * (2 * BINS)
    for value in differences:
        if value > 0:
            counts[BINS + min(BINS - 1, math.ceil(value * BINS - 1e-9) - 1)] += 1
        elif value < 0:
            counts[BINS - 1 - min(BINS - 1, math.ceil(-value * BINS - 1e-9) - 1)] += 1
    high = max(1, *counts)
    broad = (width - LEFT - RIGHT) / (2 * BINS)

    def x(value: float) -> float:
        return round(LEFT + (width - LEFT - RIGHT) * (value + 1) / 2, 1)

    def y(count: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (1 - count / high), 1)

    bars = tuple(
        Bar(
            round(LEFT + n * broad + 1, 1),
            y(count),
            round(broad - 2, 1),
            round(HEIGHT - BOTTOM - y(count), 1),
            f"{(n - BINS) / BINS:+.1f} to {(n - BINS + 1) / BINS:+.1f}: {count}",
            n >= BINS,
        )
        for n, count in enumerate(counts)
        if count
    )
    whole = sorted({round(value) for value in ticks(0, high)})
    return Plot(
        width,
        tuple(Tick(x(value), f"{value:+g}" if value else "0") for value in (-1.0, -0.5, 0.0, 0.5, 1.0)),
        tuple(Tick(y(count), f"{count:,}") for count in whole),
        bars=bars,
    )


@dataclass(frozen=True, slots=True)
class Track:
    """A small drawing of an interval, 0 to TRACK: its ends, the difference, and where no difference is."""

    low: float
    high: float
    difference: float
    zero: float


def tracks(intervals: Sequence[tuple[float, float, float]]) -> list[Track]:
    """(low, high, difference) of several metrics on one scale."""
    if not intervals:
        return []
    least = min(0.0, *(value for one in intervals for value in one))
    most = max(0.0, *(value for one in intervals for value in one))
    room = 0.05 * (most - least) or 0.01
    scale = TRACK / (most - least + 2 * room)

    def x(value: float) -> float:
        return round((value - least + room) * scale, 1)

    return [Track(x(low), x(high), x(difference), x(0)) for low, high, difference in intervals]
