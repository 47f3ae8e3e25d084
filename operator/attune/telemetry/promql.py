"""What is asked of Prometheus about an A/B test, and how its answers become samples. Pure; used by `prometheus`.

Counters carry the process as a label, so a series ends where its process ended and never falls: the total is the sum over series of
their last values. `max by` our own labels merges a process that is scraped twice (two jobs, two Prometheus replicas). increase() and
rate() extrapolate and are never used. Whatever an answer has instead of samples, only UnreadableError is raised for it.
"""

import itertools
import math
import re
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
STEPS = 60
"""Times at which a window is searched for the newest sample: 5,000 took Prometheus 6 s, for a week and 20 processes."""
_NO_SAMPLES = (ArithmeticError, AttributeError, IndexError, KeyError, TypeError, ValueError)


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
    run = f'run="{quoted(query.run)}"'
    every = f'{{__name__=~"{"|".join(SERIES)}",{run}}}'
    fallen = " or ".join(f"resets({name}{{{run}}}[{life}]) > 0" for name in SERIES)
    nameless = f'last_over_time({names.UNITS}{{{run},process=""}}[{life}])'
    return {
        "totals": f"max by ({', '.join(LABELS)}) (last_over_time({every}[{life}]))",
        "resets": f"max by (process) ({fallen})",
        "nameless": f"max(count by ({', '.join(LABELS)}) ({nameless}))",
        "newest": f"max by (process) ({_newest(query, f'timestamp({names.FULL}{{{run}}})')})",
        "full": f"max by (process) (last_over_time({names.FULL}{{{run}}}[{life}]))",
        "unconfirmed": f"sum(max by (process) (last_over_time({names.UNCONFIRMED}{{{run}}}[{life}])))",
        "p99": f"histogram_quantile(0.99, sum by (le, arm) (last_over_time({DURATIONS}{{{run}}}[{life}])))",
    }


def raw(query: SamplesQuery, processes: Iterable[str]) -> str:
    """PromQL of the raw samples of processes whose series were found to fall."""
    some = quoted("|".join(re.escape(p) for p in processes))
    every = "|".join(SERIES)
    return f'{{__name__=~"{every}",run="{quoted(query.run)}",process=~"{some}"}}[{_life(query)}]'


def points(answer: Any) -> tuple[Point, ...]:
    """The series of an instant vector. NaN is passed on; what is no vector raises UnreadableError."""
    try:
        if answer["resultType"] != "vector":
            raise UnreadableError(f"a {answer['resultType']}, not a vector")
        return tuple(Point(_labels(row), float(row["value"][1])) for row in answer["result"])
    except _NO_SAMPLES as error:
        raise UnreadableError(f"no vector: {error!r}") from error


def ranges(answer: Any) -> tuple[Point, ...]:
    """Raw samples of a range, each series summed over its resets; of a series that came twice, the larger."""
    try:
        if answer["resultType"] != "matrix":
            raise UnreadableError(f"a {answer['resultType']}, not a matrix")
        found: dict[tuple[tuple[str, str], ...], float] = {}
        for row in answer["result"]:
            labels = _labels(row)
            key = tuple((name, labels[name]) for name in LABELS if name in labels)
            found[key] = max(found.get(key, 0.0), total_over_resets([float(v) for _, v in row["values"]]))
    except _NO_SAMPLES as error:
        raise UnreadableError(f"no matrix: {error!r}") from error
    return tuple(Point(dict(key), value) for key, value in found.items())


def fallen(answers: Mapping[str, tuple[Point, ...]]) -> list[str]:
    """Processes with a series that fell; "" for series without that label. None does while `process` is as serving exports it."""
    return sorted({p.labels.get("process", "") for p in answers.get("resets", ()) if p.value > 0})


def refuse_nameless(answers: Mapping[str, tuple[Point, ...]]) -> None:
    """UnreadableError where several targets lack `process`: replicas, or one of them scraped twice, and nobody can say which."""
    targets = max((p.value for p in answers.get("nameless", ()) if math.isfinite(p.value)), default=0)
    if targets > 1:
        raise UnreadableError(
            f"series of {targets:.0f} targets have no label process, so replicas cannot be told apart; keep the label "
            "(metric_relabel_configs of the job that scrapes the serving Pods)"
        )


def total_over_resets(values: Sequence[float]) -> float:
    """What a counter counted in all, from its raw samples: the last value before each fall, and the last of all.

    What nobody saw is missing: what was counted between the last sample and a restart; a life that began and ended between two
    samples; a restart after which the counter had passed its last value by the next sample, which looks like counting on.
    """
    total = 0.0
    for before, after in itertools.pairwise(values):
        if after < before:
            total += before
    return total + (values[-1] if values else 0.0)


def samples(query: SamplesQuery, answers: Mapping[str, tuple[Point, ...]], newest: datetime) -> Samples:
    """All of it as one value. Of several ledgers the one with the most units counts (docs/adr/0021)."""
    totals = answers["totals"]
    for point in totals:
        _refuse(point)
    by_ledger: dict[str, float] = {}
    for point in totals:
        if point.labels["__name__"] == names.UNITS:
            ledger = point.labels.get("ledger", "")
            by_ledger[ledger] = by_ledger.get(ledger, 0.0) + point.value
    chosen = max(by_ledger, key=lambda name: (by_ledger[name], name == "first"), default="")
    mine = [p for p in totals if p.labels.get("ledger", "") == chosen]
    splits = sorted({p.labels["split"] for p in mine}, key=float)
    p99 = {p.labels.get("arm"): p.value for p in answers["p99"] if math.isfinite(p.value)}
    return Samples(
        strata=tuple(Stratum(float(split), _arm(mine, split, "A"), _arm(mine, split, "B")) for split in splits),
        at=query.at,
        newest=newest,
        ledger=chosen,
        notes=tuple(_notes(query, answers, by_ledger, chosen)),
        p99_a=p99.get("A"),
        p99_b=p99.get("B"),
    )


def _arm(found: Iterable[Point], split: str, arm: str) -> ArmSamples:
    units = 0.0
    sums: dict[str, list[float]] = {}
    for point in found:
        if (point.labels["split"], point.labels["arm"]) != (split, arm):
            continue
        name, metric = point.labels["__name__"], point.labels.get(names.METRIC, "")
        if name == names.UNITS:
            units += point.value
            continue
        count_total_squares = sums.setdefault(metric, [0.0, 0.0, 0.0])
        sign = -1 if point.labels.get(names.SIGN) == names.MINUS else 1
        count_total_squares[(names.VALUES, names.SUM, names.SQUARES).index(name)] += sign * point.value
    if not all(math.isfinite(value) for value in (units, *itertools.chain.from_iterable(sums.values()))):
        raise UnreadableError(f"counters of arm {arm} whose sum is no number")
    return ArmSamples(round(units), {m: Sums(round(n), total, squares) for m, (n, total, squares) in sums.items()})


def _refuse(point: Point) -> None:
    """UnreadableError for what is no counter of a test."""
    name, split, arm = (point.labels.get(label, "") for label in ("__name__", "split", "arm"))
    if name not in SERIES or arm not in {"A", "B"} or not _is_share(split):
        raise UnreadableError(f"a series {name!r} of split {split!r} and arm {arm!r}; Prometheus must keep the labels")
    if not math.isfinite(point.value) or point.value < 0:
        raise UnreadableError(f"{name} of arm {arm} is {point.value}, which no counter can be")


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False


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
    falls = sum(p.value for p in answers.get("resets", ()) if p.value > 0)
    if falls:
        yield (
            f"counters fell, {falls:.0f} times in all: their label process was changed on the way (metric_relabel_configs), and what was "
            "counted between the last scrape and a restart is missing"
        )


def age(query: SamplesQuery, point: Point) -> float:
    """Seconds from a sample's time (the point's value) to the look."""
    return query.at.timestamp() - point.value


def newest(answers: Mapping[str, tuple[Point, ...]]) -> datetime | None:
    """Time of the newest sample of any process; None where there is none."""
    times = [p.value for p in answers["newest"] if math.isfinite(p.value)]
    try:
        return datetime.fromtimestamp(max(times), UTC) if times else None
    except (OverflowError, OSError, ValueError) as error:
        raise UnreadableError(f"a sample of second {max(times):g}") from error


def _newest(query: SamplesQuery, stamp: str) -> str:
    """PromQL of the time of each process's newest sample.

    An instant vector has it exactly, until a scrape fails or the target leaves: then the series is stale at once, however young its
    last sample is. So what was seen last is searched in windows that grow tenfold from patience to the whole life. The error is a step
    at most, a sixtieth of the first window that has a sample; a process that lived for less than a step may be missed.
    """
    windows = [max(1, math.ceil(query.patience))]
    while windows[-1] < _life_seconds(query):
        windows.append(min(10 * windows[-1], _life_seconds(query)))
    return " or ".join([stamp, *(f"max_over_time({stamp}[{w}s:{math.ceil(w / STEPS)}s])" for w in windows)])


def _labels(row: Any) -> dict[str, str]:
    """The labels of a series; TypeError where they are no texts."""
    labels = row["metric"]
    if not isinstance(labels, dict) or not all(isinstance(text, str) for text in labels.values()):
        raise TypeError("labels that are no texts")
    return labels


def _life(query: SamplesQuery) -> str:
    return f"{_life_seconds(query)}s"


def _life_seconds(query: SamplesQuery) -> int:
    return max(1, math.ceil((query.at - query.since).total_seconds())) + EARLIER


def quoted(text: str) -> str:
    """As it stands between quotes in PromQL."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
