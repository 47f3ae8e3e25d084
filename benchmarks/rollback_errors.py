"""How often good promotions are taken back, and bad ones missed: simulated counts through the operator's own rule.

    python benchmarks/rollback_errors.py [--promotions 20000]

Requests arrive as a Poisson process; each fails on its own. The baseline is counted over the 15 minutes before the promotion, as the
operator reads it; then the rule looks every 2 seconds for 15 minutes over its windows of 15 s, 60 s and all since the promotion. Beside it
what the plain form of the rule (three times the baseline, enough requests, above the floor) would do.

Result: results/rollback_errors.json.
"""

from __future__ import annotations

import json
import math
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import typer

from attune.api import ActiveModel
from attune.contract import ModelType
from attune.decide.rollback import rule, watching
from attune.decide.rollback.rule import Baseline, Limits
from attune.observation import Count
from benchmarks.machine import machine

LIMITS = Limits()
EVERY, WINDOW = int(watching.EVERY.total_seconds()), 900
SINCE = datetime(2026, 3, 15, tzinfo=UTC)
OUT = Path(__file__).parent / "results" / "rollback_errors.json"


@dataclass(frozen=True)
class Setting:
    """Requests a second, the share that failed before, and by which factor that grew with the promotion."""

    per_second: float
    rate: float
    factor: float
    promotions: int
    seed: int


def windows_at(seconds: int) -> tuple[int, ...]:
    """The operator's own windows, so long after the promotion."""
    until = SINCE + timedelta(seconds=WINDOW)
    watch = watching.Watch(ModelType.EMBEDDING, "emb-v2", SINCE, until, Baseline(0.01), None)
    return watch.windows(SINCE + timedelta(seconds=seconds))


WINDOWS = {t: windows_at(t) for t in range(EVERY, WINDOW + 1, EVERY)}


def baseline(setting: Setting, random: np.random.Generator) -> Baseline:
    """As it is recorded at the promotion, and read again at every look."""
    requests = int(random.poisson(setting.per_second * WINDOW))
    failures = int(random.binomial(requests, setting.rate))
    rate = round(failures / requests, 6) if requests else None
    return watching.baseline_of(
        ActiveModel(active="emb-v1", baseline_error_rate=rate, baseline_requests=requests), LIMITS
    )


def one(setting: Setting, random: np.random.Generator) -> tuple[int | None, bool]:
    """Seconds until it was taken back (None: it stays), and whether the plain rule would have."""
    before = baseline(setting, random)
    requests = random.poisson(setting.per_second, WINDOW)
    failures = random.binomial(requests, min(1.0, setting.rate * setting.factor))
    upto, failed = np.concatenate([[0], np.cumsum(requests)]), np.concatenate([[0], np.cumsum(failures)])
    plain = False
    threshold = rule.threshold_of(before, LIMITS)
    for now, windows in WINDOWS.items():
        counts = [Count(w, int(upto[now] - upto[now - w]), int(failed[now] - failed[now - w])) for w in windows]
        plain = plain or any(c.requests >= LIMITS.min_requests and c.failures and c.rate >= threshold for c in counts)
        if rule.excess(counts, before, LIMITS) is not None:
            return now, True
    return None, plain


def run(setting: Setting) -> dict[str, Any]:
    random = np.random.default_rng(setting.seed)
    found = [one(setting, random) for _ in range(setting.promotions)]
    times = sorted(t for t, _ in found if t is not None)
    share = len(times) / setting.promotions
    return {
        "requestsPerSecond": setting.per_second,
        "errorRateBefore": setting.rate,
        "factor": setting.factor,
        "promotions": setting.promotions,
        "takenBack": len(times),
        "share": share,
        "upper95": upper(len(times), setting.promotions),
        "plainRuleShare": sum(plain for _, plain in found) / setting.promotions,
        "secondsMedian": times[len(times) // 2] if times else None,
        "secondsP99": times[min(len(times) - 1, int(0.99 * len(times)))] if times else None,
    }


def upper(hits: int, of: int) -> float:
    """Upper end of the 95% interval of a share (Clopper & Pearson 1934)."""
    from scipy.stats import beta

    return float(beta.ppf(0.975, hits + 1, of - hits)) if hits < of else 1.0


def main(promotions: int = 20_000) -> None:
    """So many good promotions for each setting, and a tenth as many bad ones."""
    count = promotions
    rates = [(r, p) for r in (2, 20, 200) for p in (0.002, 0.01, 0.05)]
    good = [Setting(r, p, 1.0, count, 1000 + n) for n, (r, p) in enumerate(rates)]
    bad = [Setting(r, p, 3.0, count // 10, 2000 + n) for n, (r, p) in enumerate(rates)]
    dead = [Setting(r, p, 1 / p, count // 10, 3000 + n) for n, (r, p) in enumerate(rates)]
    with ProcessPoolExecutor(2) as pool:
        results = list(pool.map(run, [*good, *bad, *dead]))
    n = len(rates)
    goals = [r for r in results[n : 2 * n] if r["requestsPerSecond"] >= 20 and math.isclose(r["errorRateBefore"], 0.01)]
    document = {
        "machine": machine(),
        "goodPromotions": results[:n],
        "threeTimesTheErrors": results[n : 2 * n],
        "totalOutage": results[2 * n :],
        "goals": {
            "falseRollbacksAtMostOneInAThousand": all(r["share"] <= 0.001 for r in results[:n]),
            "threeTimesFoundWithProbability0.99": all(r["share"] >= 0.99 for r in goals),
        },
    }
    OUT.write_text(json.dumps(document, indent=1) + "\n")
    shown = (
        "requestsPerSecond",
        "errorRateBefore",
        "factor",
        "share",
        "upper95",
        "plainRuleShare",
        "secondsMedian",
        "secondsP99",
    )
    for result in results:
        typer.echo("  ".join(f"{name} {result[name]}" for name in shown))
    typer.echo(document["goals"])


if __name__ == "__main__":
    typer.run(main)
