"""What is asked of Prometheus about a version in its first time, and how its answer becomes counts. Pure; used by `prometheus`.

A count over a window is a difference of two values of a counter: the newest one, less what it was at the window's begin, or less 0
where it was not there yet. Counters carry the process as a label and never fall (attune.contract.health), so this is exact up to one
scrape at either end. rate() and increase() extrapolate, and miss what a counter had counted before its first scrape. No time is sent:
windows end now by the server's own clock, so clocks that differ do not matter.
"""

from collections.abc import Iterable, Mapping
from math import inf, isfinite
from typing import Any

from attune.contract import health as names
from attune.observation import Count, Health, HealthQuery
from attune.telemetry.promql import Point, UnreadableError, points, quoted

SEEN = 90
"""Seconds: the newest value of a counter is not older; a process that ended longer ago has counted before every short window."""
BEFORE = 300
"""Seconds before a window in which its first value is looked for."""
WHAT, WINDOW, LE = "what", "window", "le"
REQUESTS, FAILURES, DURATIONS, AGE = "requests", "failures", "durations", "age"


def query(asked: HealthQuery) -> str:
    """One PromQL expression for all of it; series are told apart by the labels `what` and `window`."""
    who = _selector(asked)
    buckets = f"{names.SECONDS}_bucket"
    parts = [_named(f"time() - max(timestamp({names.ATTEMPTS}{{{who}}}))", AGE, 0)]
    for window in asked.windows:
        parts.append(_named(f"sum({_counted(names.ATTEMPTS, who, window, ())})", REQUESTS, window))
        failed = f'{who},{names.REASON}!="{names.SHARED}"'
        parts.append(_named(f"sum({_counted(names.FAILURES, failed, window, (names.REASON,))})", FAILURES, window))
        if asked.latency:
            parts.append(_named(f"sum by ({LE}) ({_counted(buckets, who, window, (LE,))})", DURATIONS, window))
    return " or ".join(parts)


def health(asked: HealthQuery, answer: Any) -> tuple[Health, float | None]:
    """The counts, and the age in seconds of the newest sample (None: there is none). UnreadableError for what is no such answer."""
    found = points(answer)
    ages = [p.value for p in found if p.labels.get(WHAT) == AGE and isfinite(p.value)]
    counts = tuple(_count(found, window) for window in asked.windows)
    return Health(counts), min(ages, default=None)


def _count(found: Iterable[Point], window: int) -> Count:
    mine = [p for p in found if p.labels.get(WINDOW) == str(window)]
    durations = {_bound(p.labels): _whole(p) for p in mine if p.labels.get(WHAT) == DURATIONS}
    requests, failures = (sum(_whole(p) for p in mine if p.labels.get(WHAT) == what) for what in (REQUESTS, FAILURES))
    return Count(window, requests, min(failures, requests), dict(sorted(durations.items())))


def _whole(point: Point) -> int:
    if not isfinite(point.value):
        raise UnreadableError(f"a count of {point.value}")
    return max(0, round(point.value))


def _bound(labels: Mapping[str, str]) -> float:
    try:
        return inf if labels[LE] == "+Inf" else float(labels[LE])
    except (KeyError, ValueError) as error:
        raise UnreadableError(f"a bucket without a bound: {labels.get(LE)!r}") from error


def _counted(name: str, who: str, window: int, more: tuple[str, ...]) -> str:
    """PromQL: what each process counted in the last `window` seconds. `max by` merges a process that is scraped twice."""
    by = ", ".join((names.PROCESS, *more))
    newest = f"max by ({by}) (last_over_time({name}{{{who}}}[{max(window, SEEN)}s]))"
    first = f"max by ({by}) (last_over_time({name}{{{who}}}[{BEFORE}s] offset {window}s))"
    return f"({newest} - ({first} or 0 * {newest}))"


def _named(expression: str, what: str, window: int) -> str:
    return f'label_replace(label_replace({expression}, "{WHAT}", "{what}", "", ""), "{WINDOW}", "{window}", "", "")'


def _selector(asked: HealthQuery) -> str:
    labels = {
        names.NAMESPACE: asked.namespace,
        names.RETRIEVER: asked.retriever,
        names.TYPE: asked.type.value,
        names.VERSION: asked.version,
    }
    return ",".join(f'{label}="{quoted(text)}"' for label, text in labels.items())
