"""A/B tests for the dashboard: one that runs, one that promoted, one that was cancelled; and what their looks saw."""

from __future__ import annotations

import math
from typing import Any

from dashboard_versions import EMB, checked
from kube_server import Thing
from rest_world import ago, an_object


def looks(hours: float, many: int, effect: float) -> list[Thing]:
    """An interval that narrows as queries come in."""
    found = []
    for n in range(1, many + 1):
        samples = 61 * n
        half = (1.05 if effect > 0.05 else 1.6) / math.sqrt(samples)
        middle = effect + 0.035 * math.sin(1.7 * n) / math.sqrt(n)
        found.append(
            {
                "at": ago(hours * (1 - n / many) + 0.01),
                "samplesA": 4 * samples,
                "samplesB": samples,
                "difference": round(middle, 5),
                "low": round(middle - half, 5),
                "high": round(middle + half, 5),
            }
        )
    return found


def a_test(name: str, phase: str, hours: float, a: str, b: str, **status: Any) -> Thing:
    metrics = [
        {"name": "user_feedback", "role": "primary", "direction": "increase"},
        {"name": "faithfulness", "role": "success", "direction": "increase"},
        {"name": "latency", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.1},
        {"name": "error", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.005},
    ]
    spec: Thing = {
        "retriever": "news",
        "modelA": a,
        "modelB": b,
        "trafficSplit": 0.2,
        "minSamples": 400,
        "metrics": metrics,
    }
    return checked(an_object("ABTest", name, hours, spec, {"phase": phase, "modelA": a} | status))


def measured(hours: float, *, won: bool) -> Thing:
    """What a look saw: open while it runs, better where B won."""
    found = looks(hours, 20, 0.061 if won else 0.034)
    last = found[-1]

    def arm(feedback: float, faithful: float, milliseconds: float, errors: float, many: int) -> Thing:
        return {
            "user_feedback": {"mean": feedback, "samples": many, "standardError": round(0.487 / math.sqrt(many), 5)},
            "faithfulness": {
                "mean": faithful,
                "samples": many // 8,
                "standardError": round(0.3 / math.sqrt(many / 8), 5),
            },
            "latency": {"mean": math.log(milliseconds), "samples": many, "standardError": 0.012, "p99Milliseconds": 61},
            "error": {"mean": errors, "samples": many, "standardError": 0.001},
        }

    feedback = 0.612
    return {
        "startedAt": ago(hours),
        "lookedAt": ago(0.01),
        "samplesA": last["samplesA"],
        "samplesB": last["samplesB"],
        "metricsA": arm(feedback, 0.871, 18.2, 0.0021, last["samplesA"]),
        "metricsB": arm(feedback + last["difference"], 0.884, 18.9, 0.0016, last["samplesB"]),
        "pValues": {"user_feedback": 0.011 if won else 0.147, "faithfulness": 0.38},
        "intervals": {
            "user_feedback": {"low": last["low"], "high": last["high"]},
            "faithfulness": {"low": -0.031, "high": 0.057},
            "latency": {"low": 0.006, "high": 0.069},
            "error": {"low": -0.004, "high": 0.0031},
        },
        "confidence": 0.989 if won else 0.853,
        "sampleRatioPValue": 0.44,
        "looks": found,
    }


def tests() -> list[Thing]:
    wins = f"Promote {EMB[11]}: user_feedback +10.0% (95% CI +0.9% to +17.4%) on 6,100 distinct queries; latency within 10%."
    waits = "Wait: user_feedback 0.612 (A) and 0.650 (B), p 0.15, on 4,880 and 1,220 distinct queries; nothing is proven yet."
    return [
        a_test("news-v12", "Running", 26, EMB[11], EMB[12], **measured(26, won=False), recommendation=waits),
        a_test(
            "news-v11",
            "Concluded",
            420,
            EMB[9],
            EMB[11],
            **measured(400, won=True) | {"startedAt": ago(400), "lookedAt": ago(333)},
            winner="B",
            concludedAt=ago(333),
            message="user_feedback: p 0.011 < 0.05",
            recommendation=wins,
            promotion={"result": "Promoted", "message": "loaded and verified by 3 replicas"},
        ),
        a_test(
            "news-v10",
            "Cancelled",
            800,
            EMB[9],
            EMB[10],
            concludedAt=ago(790),
            reason="CancelRequested",
            message="cancelled: spec.cancel is true",
        ),
    ]
