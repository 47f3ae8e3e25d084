"""The sums of one test, and all of them as Prometheus reads them. Names: `attune.contract.counting`. Filled by `counter`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from attune.contract import counting as names
from attune_serving.counting.ledger import EXPOSURE, Cell, Counted, Ledger

Place = tuple[str, Cell]
"""Name of the ledger, and cell."""


@dataclass(slots=True)
class Sum:
    """Count, positive part, negative part and squares of the values of one metric in one cell."""

    count: int = 0
    plus: float = 0.0
    minus: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.squares += value * value
        if value >= 0:
            self.plus += value
        else:
            self.minus -= value


@dataclass(slots=True)
class Totals:
    """What this process counted of one test."""

    units: dict[Place, int] = field(default_factory=dict)
    values: dict[tuple[Place, str], Sum] = field(default_factory=dict)

    def add(self, ledger: str, counted: Iterable[Counted]) -> None:
        for one in counted:
            place = (ledger, one.cell)
            if one.metric == EXPOSURE:
                self.units[place] = self.units.get(place, 0) + 1
            for metric, value in one.values.items():
                self.values.setdefault((place, metric), Sum()).add(value)


@dataclass(frozen=True, slots=True)
class Run:
    """One test as this replica knows it."""

    test: str
    run: str
    ledger: Ledger
    totals: Totals


class Collected(Collector):
    """All tests of a process, whenever its metrics are read."""

    def __init__(self, process: str, runs: Callable[[], Iterable[Run]]) -> None:
        self._process = process
        self._runs = runs

    def describe(self) -> Iterator[Metric]:
        """Registering asks for nothing that is not there yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        runs = list(self._runs())
        yield from self._sums(runs)
        yield from self._states(runs)

    def _sums(self, runs: list[Run]) -> Iterator[Metric]:
        units = _counter(names.UNITS, "Distinct queries that were counted in a test.", names.BY)
        count = _counter(names.VALUES, "Values of a metric in a test, one of each query.", (*names.BY, names.METRIC))
        total = _counter(names.SUM, "Sum of these values.", (*names.BY, names.METRIC, names.SIGN))
        squares = _counter(names.SQUARES, "Sum of their squares.", (*names.BY, names.METRIC))
        for run in runs:
            for (ledger, cell), number in run.totals.units.items():
                units.add_metric(self._labels(run, ledger, cell), number)
            for ((ledger, cell), metric), found in run.totals.values.items():
                labels = [*self._labels(run, ledger, cell), metric]
                count.add_metric(labels, found.count)
                total.add_metric([*labels, names.PLUS], found.plus)
                total.add_metric([*labels, names.MINUS], found.minus)
                squares.add_metric(labels, found.squares)
        yield from (units, count, total, squares)

    def _states(self, runs: list[Run]) -> Iterator[Metric]:
        full = GaugeMetricFamily(names.FULL, "1 while no further queries are counted.", labels=names.PROCESS_BY)
        unconfirmed = _counter(names.UNCONFIRMED, "Units counted without asking every replica.", names.PROCESS_BY)
        ignored = _counter(names.IGNORED, "Values that do not count.", (*names.PROCESS_BY, "reason"))
        waiting = GaugeMetricFamily(names.WAITING, "Units and values about to be counted.", labels=names.PROCESS_BY)
        for run in runs:
            labels = [run.test, run.run, self._process]
            full.add_metric(labels, int(run.ledger.full))
            unconfirmed.add_metric(labels, run.ledger.unconfirmed)
            waiting.add_metric(labels, sum(1 for _ in run.ledger.waiting()))
            for reason, number in run.ledger.ignored.items():
                ignored.add_metric([*labels, reason], number)
        yield from (full, unconfirmed, ignored, waiting)

    def _labels(self, run: Run, ledger: str, cell: Cell) -> list[str]:
        return [run.test, run.run, ledger, cell.split, cell.arm, self._process]


def _counter(name: str, text: str, labels: Iterable[str]) -> CounterMetricFamily:
    return CounterMetricFamily(name.removesuffix("_total"), text, labels=tuple(labels))
