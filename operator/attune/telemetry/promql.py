"""What is asked of Prometheus about an A/B test, and how its answers become samples. Pure; used by `prometheus`.

Counters carry the process as a label, so a series ends where its process ended and never falls: the total is the sum over series of
their last values. `max by` our own labels merges a process that is scraped twice (two jobs, two Prometheus replicas). increase() and
rate() extrapolate and are never used.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from attune.contract import counting as names
from attune.observation import ArmSamples, Samples, SamplesQuery, Stratum, Sums

SERIES = (names.UNITS, names.VALUES, names.SUM, names.SQUARES)
LABELS = ("__name__", *names.BY, names.METRIC, names.SIGN)
DURATIONS = "attune_serving_request_duration_seconds_bucket"
EARLIER = 60
"""Seconds before the start that are looked at, too: a split is served a moment before the test says that it runs."""


class UnreadableError(Exception):
    """The answer is none that a Prometheus would give."""


@dataclass(frozen=True, slots=True)
class Point:
    """One series at one time."""

    labels: Mapping[str, str]
    value: float


def queries(query: SamplesQuery) -> dict[str, str]:
    """Name → PromQL of everything that is read for one look."""
    life = _life(query)
    run = f'run="{_quoted(query.run)}"'
    every = f'{{__name__=~"{"|".join(SERIES)}",{run}}}'
    return {
        "totals": f"max by ({', '.join(LABELS)}) (last_over_time({every}[{life}]))",
        "resets": f"max by (process) (resets({names.UNITS}{{{run}}}[{life}]))",
        "newest": f"max by (process) (timestamp({names.FULL}{{{run}}}))",
        "full": f"max by (process) (last_over_time({names.FULL}{{{run}}}[{life}]))",
        "unconfirmed": f"sum(max by (process) (last_over_time({names.UNCONFIRMED}{{{run}}}[{life}])))",
        "p99": f"histogram_quantile(0.99, sum by (le, arm) (last_over_time({DURATIONS}{{{run}}}[{life}])))",
    }


def raw(query: SamplesQuery, processes: Iterable[str]) -> str:
    """PromQL of the raw samples of processes whose series were found to fall."""
    some = "|".join(_quoted(p) for p in processes)
    every = "|".join(SERIES)
    return f'{{__name__=~"{every}",run="{_quoted(query.run)}",process=~"{some}"}}[{_life(query)}]'


def points(answer: Any) -> tuple[Point, ...]:
    """The series of an instant vector. NaN is passed on; what is no vector raises UnreadableError."""
    try:
        if answer["resultType"] != "vector":
            raise UnreadableError(f"a {answer['resultType']}, not a vector")
        return tuple(Point(dict(row["metric"]), float(row["value"][1])) for row in answer["result"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise UnreadableError(f"no vector: {error!r}") from error


def ranges(answer: Any) -> tuple[Point, ...]:
    """Raw samples of a range, each series summed over its resets; of a series that came twice, the larger."""
    try:
        if answer["resultType"] != "matrix":
            raise UnreadableError(f"a {answer['resultType']}, not a matrix")
        found: dict[tuple[tuple[str, str], ...], float] = {}
        for row in answer["result"]:
            key = tuple((name, row["metric"][name]) for name in LABELS if name in row["metric"])
            found[key] = max(found.get(key, 0.0), total_over_resets([float(v) for _, v in row["values"]]))
    except (KeyError, TypeError, ValueError) as error:
        raise UnreadableError(f"no matrix: {error!r}") from error
    return tuple(Point(dict(key), value) for key, value in found.items())


def total_over_resets(values: Sequence[float]) -> float:
    """What a counter counted in all, from its raw samples: the last value before each fall, and the last of all.

    Exact up to what was counted between the last sample before a fall and the fall, and up to two falls between two samples: nobody
    saw either.
    """
    total = 0.0
    for before, after in itertools.pairwise(values):
        if after < before:
            total += before
    return total + (values[-1] if values else 0.0)


def samples(query: SamplesQuery, answers: Mapping[str, tuple[Point, ...]], newest: datetime) -> Samples:
    """All of it as one value. Of several ledgers the one with the most units counts (docs/adr/0021)."""
    totals = answers["totals"]
    if any(not math.isfinite(p.value) or p.value < 0 for p in totals):
        raise UnreadableError("counters that are negative, or no numbers")
    by_ledger: dict[str, float] = {}
    for point in totals:
        if point.labels.get("__name__") == names.UNITS:
            ledger = point.labels.get("ledger", "")
            by_ledger[ledger] = by_ledger.get(ledger, 0.0) + point.value
    chosen = max(by_ledger, key=lambda name: (by_ledger[name], name == "first"), default="")
    mine = [p for p in totals if p.labels.get("ledger", "") == chosen]
    splits = sorted({p.labels["split"] for p in mine if "split" in p.labels}, key=float)
    p99 = {p.labels.get("arm"): p.value for p in answers["p99"] if math.isfinite(p.value)}
    return Samples(
        strata=tuple(Stratum(float(split), _arm(mine, split, "A"), _arm(mine, split, "B")) for split in splits),
        at=query.at,
        newest=newest,
        notes=tuple(_notes(query, answers, by_ledger, chosen)),
        p99_a=p99.get("A"),
        p99_b=p99.get("B"),
    )


def _arm(found: Iterable[Point], split: str, arm: str) -> ArmSamples:
    units = 0.0
    sums: dict[str, list[float]] = {}
    for point in found:
        if point.labels.get("split") != split or point.labels.get("arm") != arm:
            continue
        name, metric = point.labels["__name__"], point.labels.get(names.METRIC, "")
        if name == names.UNITS:
            units += point.value
            continue
        count_total_squares = sums.setdefault(metric, [0.0, 0.0, 0.0])
        sign = -1 if point.labels.get(names.SIGN) == names.MINUS else 1
        count_total_squares[(names.VALUES, names.SUM, names.SQUARES).index(name)] += sign * point.value
    return ArmSamples(round(units), {m: Sums(round(n), total, squares) for m, (n, total, squares) in sums.items()})


def _notes(
    query: SamplesQuery, answers: Mapping[str, tuple[Point, ...]], by_ledger: Mapping[str, float], chosen: str
) -> Iterable[str]:
    """What a reader should know besides the numbers."""
    fresh = {p.labels.get("process") for p in answers["newest"] if age(query, p) <= query.patience}
    missing = sorted(query.processes - {p for p in fresh if p})
    if missing:
        yield f"{len(missing)} of {len(query.processes)} replicas are not scraped: process {', '.join(missing[:3])}"
    full = sum(p.value > 0 for p in answers["full"])
    if full:
        yield f"{full} replicas count no further queries: ATTUNE_MAX_TEST_UNITS is reached"
    left_out = sum(units for ledger, units in by_ledger.items() if ledger != chosen)
    if left_out:
        yield (
            f"{left_out:,.0f} units are left out: all replicas were replaced at once, and the new ones could not know which queries "
            "had been counted"
        )
    unconfirmed = sum(p.value for p in answers["unconfirmed"] if math.isfinite(p.value))
    if unconfirmed:
        yield f"{unconfirmed:,.0f} units were counted while a replica did not answer the others for a minute"


def age(query: SamplesQuery, point: Point) -> float:
    """Seconds from a sample's time (the point's value) to the look."""
    return query.at.timestamp() - point.value


def newest(answers: Mapping[str, tuple[Point, ...]]) -> datetime | None:
    """Time of the newest sample of any process; None where there is none."""
    times = [p.value for p in answers["newest"] if math.isfinite(p.value)]
    return datetime.fromtimestamp(max(times), UTC) if times else None


def _life(query: SamplesQuery) -> str:
    return f"{max(1, math.ceil((query.at - query.since).total_seconds())) + EARLIER}s"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
