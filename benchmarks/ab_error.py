"""How often an A/B test is wrong, and how soon it is right: simulated traffic through the real assignment, counting, reading and deciding.

Run by hand: `PYTHONPATH=tests/support python benchmarks/ab_error.py`. Nothing is taken a short way: each request goes through
`assign`, the ledger and the totals of serving; each look reads the very series that Prometheus would scrape, by the functions that
read Prometheus' answers, and is decided by `decide_ab_test`. Only time, HTTP and other replicas are left out. Beside it what most
people do: a t-test at every look, on all requests, and on first exposures.

Writes results/ab_error.json and results/ab_error.svg.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import typer

from attune.api import ABTest, ABTestPhase, Winner
from attune.contract import ServedModel, ServedSplit
from attune.decide import decide_ab_test
from attune.observation import Samples, SamplesQuery, SeenABTest
from attune.telemetry import promql
from attune_serving.assign import assign
from attune_serving.counting.ledger import Cell, Ledger
from attune_serving.counting.totals import Collected, Run, Totals
from benchmarks.machine import machine
from versions import a_retriever, a_version  # type: ignore[import-not-found]

RESULTS = Path(__file__).parent / "results"
BEGIN = datetime(2026, 3, 15, tzinfo=UTC)
LOOKS = 168
HOUR = timedelta(hours=1)
T_LIMIT = 1.959964
ZIPF_QUERIES = 5000
NOTHING: dict[str, tuple[promql.Point, ...]] = {"newest": (), "full": (), "unconfirmed": (), "p99": ()}


@dataclass(frozen=True)
class Scenario:
    """One kind of traffic. `effect`: what B adds, in standard deviations. `requests`: of all looks together."""

    name: str
    zipf: bool = False
    effect: float = 0.0
    method: str = "sequential"
    requests: int = 10_080
    split: float = 0.5


@dataclass
class Arms:
    """Sums by arm, for the t-test of the naive."""

    sums: dict[str, list[float]] = field(default_factory=lambda: {"A": [0.0, 0.0, 0.0], "B": [0.0, 0.0, 0.0]})

    def add(self, arm: str, value: float) -> None:
        one = self.sums[arm]
        one[0] += 1
        one[1] += value
        one[2] += value * value

    def significant(self) -> bool:
        """|t| beyond the limit for 5%, as if this were the only look."""
        (na, sa, qa), (nb, sb, qb) = self.sums["A"], self.sums["B"]
        if min(na, nb) < 100:
            return False
        va, vb = (qa - sa * sa / na) / (na - 1), (qb - sb * sb / nb) / (nb - 1)
        return bool(abs(sb / nb - sa / na) > T_LIMIT * math.sqrt(va / na + vb / nb))


@dataclass(frozen=True)
class Outcome:
    """What became of one simulated test."""

    winner: str
    samples: int
    naive_units: bool
    naive_requests: bool


def new_test(scenario: Scenario) -> ABTest:
    return ABTest.model_validate(
        {
            "metadata": {"name": "trial", "namespace": "team", "uid": "uid-1"},
            "spec": {
                "retriever": "news",
                "modelB": "emb-v2",
                "trafficSplit": scenario.split,
                "minSamples": 100,
                "maxDuration": f"{LOOKS}h",
                "metrics": [{"name": "value", "role": "primary"}],
                "analysis": {"method": scenario.method, "interval": "1h"},
            },
            "status": {"phase": "Running", "modelA": "emb-v1", "startedAt": BEGIN.isoformat()},
        }
    )


def traffic(scenario: Scenario, rng: np.random.Generator, count: int) -> Iterator[tuple[str, float]]:
    """(query, value that A would have had). Zipf: queries come again, values of one query are alike (0.3), and skewed."""
    noise = rng.standard_normal(count)
    if not scenario.zipf:
        for n in range(count):
            yield f"query {n}", float(noise[n])
        return
    weights = 1 / np.arange(1, ZIPF_QUERIES + 1)
    of_query = rng.standard_normal(ZIPF_QUERIES)
    for n, query in enumerate(rng.choice(ZIPF_QUERIES, size=count, p=weights / weights.sum())):
        yield f"query {query}", math.exp(math.sqrt(0.3) * of_query[query] + math.sqrt(0.7) * noise[n])


def simulate(scenario: Scenario, seed: int) -> Outcome:
    """One test, look by look, until it is decided."""
    rng = np.random.default_rng([seed, LOOKS])
    split = ServedSplit(test="trial", challenger="emb-v2", fraction=scenario.split, salt=f"salt {seed}", run="uid-1")
    model = ServedModel(active="emb-v1", split=split)
    ledger, totals = Ledger("r0", 10_000_000), Totals()
    collected = Collected("p1", lambda: [Run("trial", "uid-1", ledger, totals)])
    status = {
        "embedding": {
            "active": "emb-v1",
            "split": split.model_dump(include={"test", "challenger", "fraction"}) | {"uid": "uid-1"},
        }
    }
    retriever, versions = a_retriever(status), (a_version(1, "active"), a_version(2))
    test, all_requests, first = new_test(scenario), Arms(), Arms()
    seen: set[int] = set()
    naive_units = naive_requests = False
    source = traffic(scenario, rng, scenario.requests)
    for look in range(1, LOOKS + 1):
        now = look * 3600.0
        for _ in range(scenario.requests * look // LOOKS - scenario.requests * (look - 1) // LOOKS):
            query, value = next(source)
            by = assign(model, query)
            assert by.arm is not None
            assert by.unit is not None
            value += scenario.effect if by.arm == "B" else 0.0
            ledger.expose(by.unit, Cell(by.arm, f"{split.fraction:g}"), {"error": 0.0}, now)
            ledger.value(by.unit, by.arm, "value", value, now)
            all_requests.add(by.arm, value)
            if by.unit not in seen:
                seen.add(by.unit)
                first.add(by.arm, value)
        for _ in range(2):
            totals.add(ledger.name, ledger.settle(now, frozenset(), 0.0))
        naive_units = naive_units or first.significant()
        naive_requests = naive_requests or all_requests.significant()
        at = BEGIN + look * HOUR
        samples = read(collected, at)
        decision = decide_ab_test(SeenABTest(test, retriever, versions, samples=samples), at)
        test = test.model_copy(update={"status": decision.status})
        if test.status.phase is ABTestPhase.CONCLUDED:
            break
    winner = test.status.winner or Winner.INCONCLUSIVE
    return Outcome(winner.value, len(ledger), naive_units, naive_requests)


def read(collected: Collected, at: datetime) -> Samples:
    """What Prometheus would have scraped, read as the operator reads it."""
    totals = tuple(
        promql.Point({"__name__": sample.name, **sample.labels}, sample.value)
        for metric in collected.collect()
        for sample in metric.samples
        if sample.name in promql.SERIES
    )
    query = SamplesQuery(url="http://prometheus", run="uid-1", since=BEGIN, at=at)
    return promql.samples(query, {**NOTHING, "totals": totals}, at)


def run(scenario: Scenario, count: int, processes: int) -> list[Outcome]:
    """`count` tests of one kind, on all cores."""
    with Pool(processes) as pool:
        return pool.starmap(simulate, ((scenario, seed) for seed in range(count)), chunksize=5)


def interval(wrong: int, count: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share."""
    p, z = wrong / count, T_LIMIT
    middle, spread = p + z * z / (2 * count), z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    return round((middle - spread) / (1 + z * z / count), 4), round((middle + spread) / (1 + z * z / count), 4)


def errors(scenario: Scenario, outcomes: list[Outcome]) -> dict[str, Any]:
    """How many A/A tests were decided although there was nothing to decide."""
    count = len(outcomes)
    wrong = sum(o.winner != "inconclusive" for o in outcomes)
    return {
        "traffic": "Zipf 1.0, correlation 0.3 within a query, skewed values"
        if scenario.zipf
        else "each query once, normal values",
        "method": scenario.method,
        "tests": count,
        "falsePositives": round(wrong / count, 4),
        "interval95": interval(wrong, count),
        "naiveTTestOnFirstExposures": round(sum(o.naive_units for o in outcomes) / count, 4),
        "naiveTTestOnRequests": round(sum(o.naive_requests for o in outcomes) / count, 4),
        "meanDistinctQueries": round(sum(o.samples for o in outcomes) / count),
    }


def strength(scenario: Scenario, outcomes: list[Outcome], fixed: int) -> dict[str, Any]:
    """How many tests found B better, and how soon, beside a test of fixed size with 80% power."""
    mean = sum(o.samples for o in outcomes) / len(outcomes)
    return {
        "effect": scenario.effect,
        "method": scenario.method,
        "tests": len(outcomes),
        "power": round(sum(o.winner == "B" for o in outcomes) / len(outcomes), 3),
        "wrongWay": sum(o.winner == "A" for o in outcomes),
        "meanSamples": round(mean),
        "fixedSamplesFor80Percent": fixed,
        "meanOverFixed": round(mean / fixed, 2),
    }


def fixed_size(effect: float) -> int:
    """Samples of both arms together of a two-sided z-test with 80% power at 5%, equal arms: 4 (1.96 + 0.84)^2 / effect^2."""
    return math.ceil(4 * (T_LIMIT + 0.841621) ** 2 / effect**2)


def plot(result: dict[str, Any], path: Path) -> None:
    """Errors of A/A tests, and samples that effects need."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for n, row in enumerate(result["errors"]):
        values = (row["falsePositives"], row["naiveTTestOnFirstExposures"], row["naiveTTestOnRequests"])
        for k, (value, color) in enumerate(zip(values, ("#1a7f37", "#bf8700", "#cf222e"), strict=True)):
            left.bar(n + 0.26 * k, 100 * value, 0.24, color=color)
    left.axhline(5, color="black", linewidth=0.8, linestyle="--")
    names = [f"{row['method']}\n{row['traffic'].split(',')[0]}" for row in result["errors"]]
    left.set_xticks([n + 0.26 for n in range(len(names))], names)
    left.set_ylabel("A/A tests that were called, %")
    left.set_title("Attune (green), t-test at every look: first exposures, requests", fontsize=9)
    for n, row in enumerate(result["power"]):
        right.bar(n, row["meanOverFixed"], color="#1a7f37")
        right.text(n, row["meanOverFixed"], f"power {row['power']:.0%}", ha="center", va="bottom", fontsize=8)
    right.axhline(1.3, color="black", linewidth=0.8, linestyle="--")
    right.set_xticks(
        range(len(result["power"])), [f"{r['effect']} sd\n{r['method']}" for r in result["power"]], fontsize=8
    )
    right.set_title("mean samples / those of a fixed size with 80% power", fontsize=9)
    figure.savefig(path)


def main(tests: int = 2000, power_tests: int = 300, processes: int = 2) -> None:
    """Write benchmarks/results/ab_error.json and .svg."""
    started: dict[str, Any] = machine()
    aa = [Scenario("iid"), Scenario("zipf", zipf=True)]
    result: dict[str, Any] = {"what": f"{LOOKS} hourly looks of simulated tests, split 50%", "machine": started}
    result["errors"] = [errors(s, run(s, tests, processes)) for s in aa]
    result["power"] = []
    for effect in (0.03, 0.05, 0.1):
        fixed = fixed_size(effect)
        scenario = Scenario("iid", effect=effect, requests=3 * fixed)
        result["power"].append(strength(scenario, run(scenario, power_tests, processes), fixed))
    text = json.dumps(result, indent=2) + "\n"
    (RESULTS / "ab_error.json").write_text(text, encoding="utf-8")
    plot(result, RESULTS / "ab_error.svg")
    print(text)


if __name__ == "__main__":
    typer.run(main)
