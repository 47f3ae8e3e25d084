"""What `attune test` shows, as plain values: the JSON of `-o json`, and what screen and page draw. Pure functions of stored objects.

A metric's `meaning` is what it says for the decision, by the interval and the p-value in status, never by a calculation of our own:
better, worse or open for primary and success metrics; withinMargin, harmed or open for guardrails; noValues where an arm has none yet;
notTested for latency and error where they are no metrics of the test.
"""

import math
from datetime import datetime, timedelta
from typing import Any

from attune.api.values import parse_duration
from attune.contract.counting import ERROR, LATENCY
from attune.decide.experiment.statistics.multiplicity import interval_alpha
from attune.objects import Manifest
from attune.views.retrievers import View, phase_of

BETTER, WORSE, OPEN, WITHIN, HARMED = "better", "worse", "open", "withinMargin", "harmed"
NO_VALUES, NOT_TESTED = "noValues", "notTested"
TERMINAL = {"Concluded", "Cancelled", "Failed"}
ATTENTION = ("MetricsUnavailable", "SampleRatioMismatch")
"""Conditions of an ABTest that are bad news when they are True."""
DEFAULTS = {"method": "sequential", "alpha": 0.05, "correction": "holm"}
_RELATIVE_FROM = 3.0
"""Standard errors that A's mean must be away from 0 for a relative change to mean something."""


def list_view(tests: list[Manifest]) -> list[View]:
    """One entry a test, the newest first."""
    ordered = sorted(tests, key=lambda t: t["metadata"].get("creationTimestamp") or "", reverse=True)
    return [
        {
            "test": test["metadata"]["name"],
            "retriever": test["spec"]["retriever"],
            **_arms(test),
            "phase": phase_of(test),
            "since": _since(test),
            "winner": (test.get("status") or {}).get("winner"),
        }
        for test in ordered
    ]


def show_view(test: Manifest) -> View:
    """Everything that is known of one test."""
    spec, status, metadata = test["spec"], test.get("status") or {}, test["metadata"]
    return {
        "test": metadata["name"],
        "namespace": metadata.get("namespace"),
        "retriever": spec["retriever"],
        "phase": phase_of(test),
        "reason": status.get("reason"),
        "message": status.get("message"),
        "since": _since(test),
        "startedAt": status.get("startedAt"),
        "endsAt": _ends_at(test),
        "concludedAt": status.get("concludedAt"),
        "lookedAt": status.get("lookedAt"),
        **_arms(test),
        "winner": status.get("winner"),
        "confidence": status.get("confidence"),
        "rules": _rules(spec),
        "metrics": _metrics(spec, status),
        "sampleRatioPValue": status.get("sampleRatioPValue"),
        "problems": [
            {"type": c["type"], "reason": c["reason"], "message": c["message"], "since": c["lastTransitionTime"]}
            for c in status.get("conditions") or []
            if c["type"] in ATTENTION and c["status"] == "True"
        ],
        "notes": _notes(status),
        "recommendation": status.get("recommendation"),
        "promotion": status.get("promotion"),
        "looks": [_look(look) for look in status.get("looks") or []],
    }


def _notes(status: View) -> str | None:
    """What a reader of the numbers should know, where they could be read: a full set of queries, a replica that is not scraped."""
    conditions = status.get("conditions") or []
    return next((c["message"] for c in conditions if c["type"] == ATTENTION[0] and c["reason"] == "Noted"), None)


def _rules(spec: View) -> View:
    given = {k: v for k, v in (spec.get("analysis") or {}).items() if k in {*DEFAULTS, "samples"}}
    return (
        DEFAULTS | given | {"minSamples": spec.get("minSamples", 100), "maxDuration": spec.get("maxDuration", "168h")}
    )


def _arms(test: Manifest) -> View:
    spec, status = test["spec"], test.get("status") or {}
    return {
        "a": status.get("modelA") or spec.get("modelA"),
        "b": spec["modelB"],
        "split": spec.get("trafficSplit", 0.2),
        "samplesA": status.get("samplesA"),
        "samplesB": status.get("samplesB"),
    }


def _since(test: Manifest) -> str | None:
    """When its phase began; None where nobody wrote it down."""
    status, phase = test.get("status") or {}, phase_of(test)
    if phase in TERMINAL:
        return _text(status.get("concludedAt"))
    return _text(status.get("startedAt") if phase == "Running" else test["metadata"].get("creationTimestamp"))


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _ends_at(test: Manifest) -> str | None:
    started = (test.get("status") or {}).get("startedAt")
    if phase_of(test) != "Running" or started is None:
        return None
    lasts: timedelta = parse_duration(test["spec"].get("maxDuration", "168h"))
    return (datetime.fromisoformat(started) + lasts).isoformat().replace("+00:00", "Z")


# ---- one metric


def _metrics(spec: View, status: View) -> list[View]:
    """Those of the test; then what serving measures anyway."""
    alpha, named = _rules(spec)["alpha"], {metric["name"] for metric in spec["metrics"]}
    family = max(1, sum(metric.get("role", "success") != "guardrail" for metric in spec["metrics"]))
    levels = {"guardrail": 1 - alpha, "shown": None}
    others = [{"name": n, "role": "shown", "direction": "decrease"} for n in (LATENCY, ERROR) if n not in named]
    known = {*(status.get("metricsA") or {}), *(status.get("metricsB") or {})}
    return [
        metric_view(metric, status, alpha)
        | {"level": levels.get(metric.get("role", "success"), 1 - interval_alpha(alpha, family))}
        for metric in (*spec["metrics"], *(other for other in others if other["name"] in known))
    ]


def metric_view(metric: View, status: View, alpha: float) -> View:
    """One metric. `difference`, `low` and `high` are B minus A in the unit of the metric, `a` and `b` means; `…Percent` is relative to A.

    latency is stored as ln(milliseconds): `a` and `b` are geometric means in milliseconds, and its percentages exp(difference) - 1.
    """
    name, role = metric["name"], metric.get("role", "success")
    a, b = ((status.get(arm) or {}).get(name) or {} for arm in ("metricsA", "metricsB"))
    interval = (status.get("intervals") or {}).get(name) or {}
    mean_a, mean_b = a.get("mean"), b.get("mean")
    view: View = {
        "name": name,
        "role": role,
        "direction": metric.get("direction", "increase"),
        "margin": metric.get("nonInferiorityMargin"),
        "a": _arm(name, a),
        "b": _arm(name, b),
        "difference": None if mean_a is None or mean_b is None else mean_b - mean_a,
        "low": interval.get("low"),
        "high": interval.get("high"),
        "p": (status.get("pValues") or {}).get(name),
        "harmfulFrom": harmful_from(metric, mean_a),
    }
    for key, percent in (("difference", "percent"), ("low", "lowPercent"), ("high", "highPercent")):
        view[percent] = relative(name, view[key], a)
    return view | {"meaning": _meaning(view, alpha)}


def _arm(name: str, arm: View) -> View | None:
    if arm.get("mean") is None:
        return None
    mean = math.exp(arm["mean"]) if name == LATENCY else arm["mean"]
    more = {} if arm.get("p99Milliseconds") is None else {"p99": arm["p99Milliseconds"]}
    return {"value": mean, "samples": arm.get("samples"), **more}


def relative(name: str, difference: float | None, a: View) -> float | None:
    """B minus A in percent of A; None where A's mean is about 0, so that a share of it says nothing."""
    if difference is None or a.get("mean") is None:
        return None
    if name == LATENCY:
        return 100 * math.expm1(difference)
    mean, error = a["mean"], a.get("standardError") or 0.0
    if abs(mean) <= max(_RELATIVE_FROM * error, 1e-12):
        return None
    return float(100 * difference / abs(mean))


def harmful_from(metric: View, mean_a: float | None) -> float | None:
    """B minus A from which on a guardrail is harmed, in the unit of the metric; its sign is that of the bad direction.

    The margin is a share of A's value; for error of A's rate of success; for latency, a logarithm, of the milliseconds.
    """
    margin = metric.get("nonInferiorityMargin")
    if margin is None or mean_a is None:
        return None
    if metric["name"] == LATENCY:
        return math.log1p(margin)
    size = float(margin * (1 - mean_a if metric["name"] == ERROR else abs(mean_a)))
    return size if metric.get("direction", "increase") == "decrease" else -size


def _meaning(view: View, alpha: float) -> str:
    """By the corrected p-value, which is what decides; guardrails, which have none to be corrected, by their interval."""
    if view["role"] == "shown":
        return NOT_TESTED
    if view["a"] is None or view["b"] is None:
        return NO_VALUES
    good = 1 if view["direction"] == "increase" else -1
    if view["role"] != "guardrail" and view["p"] is not None:
        gain = good * (view["difference"] or 0.0)
        return OPEN if view["p"] > alpha or gain == 0 else BETTER if gain > 0 else WORSE
    if view["low"] is None or view["high"] is None:
        return OPEN
    worst, best = sorted((good * view["low"], good * view["high"]))
    if view["role"] != "guardrail":
        return BETTER if worst > 0 else WORSE if best < 0 else OPEN
    limit = -abs(view["harmfulFrom"] or 0.0)
    return WITHIN if worst > limit else HARMED if best < limit else OPEN


def _look(look: View) -> View:
    return {key: look.get(key) for key in ("at", "samplesA", "samplesB", "difference", "low", "high")}


def primary(view: View) -> View:
    """The metric that decides."""
    found: View = next((m for m in view["metrics"] if m["role"] == "primary"), view["metrics"][0])
    return found


def in_percent(view: View) -> bool:
    """Whether looks at the primary metric are shown in percent: latency, whose unit is a logarithm."""
    return bool(primary(view)["name"] == LATENCY)


def plotted(view: View) -> list[tuple[datetime, float | None, float, float]]:
    """(when, difference, low, high) of the looks that have an interval; of latency in percent."""

    def unit(value: float | None) -> Any:
        return 100 * math.expm1(value) if value is not None and in_percent(view) else value

    return [
        (datetime.fromisoformat(look["at"]), unit(look["difference"]), unit(look["low"]), unit(look["high"]))
        for look in view["looks"]
        if look["low"] is not None and look["high"] is not None
    ]
