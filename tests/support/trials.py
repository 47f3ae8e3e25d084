"""ABTests against the fake cluster: one-line builders, a world with a version to test, and the metrics that decide it."""

from __future__ import annotations

from typing import Any

from fake_prometheus import FakePrometheus
from promotions import V2, world_with
from worlds import World

CLICKS = {"name": "clicks", "role": "primary"}
LATENCY = {"name": "latency", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.1}
ERRORS = {"name": "error", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.02}
SAME = {"clicks": ((0.3, 0.45), (0.3, 0.45)), "latency": ((3.0, 0.3), (3.0, 0.3)), "error": ((0.0, 0.0), (0.0, 0.0))}
BETTER = SAME | {"clicks": ((0.3, 0.45), (0.4, 0.49))}
WORSE = SAME | {"clicks": ((0.3, 0.45), (0.2, 0.4))}
BROKEN = BETTER | {"error": ((0.0, 0.0), (0.3, 0.46))}


def ab_test(name: str = "trial", **spec: Any) -> dict[str, Any]:
    known = {
        "retriever": "news",
        "modelB": V2,
        "trafficSplit": 0.2,
        "minSamples": 200,
        "maxDuration": "1h",
        "metrics": [CLICKS, LATENCY, ERRORS],
        "analysis": {"interval": "60s"},
        "autoPromote": True,
    }
    return {
        "apiVersion": "attune.dev/v1alpha1",
        "kind": "ABTest",
        "metadata": {"name": name, "namespace": "news"},
        "spec": known | spec,
    }


async def world_to_test(
    metrics: dict[str, Any] | None = None, versions: int = 2, **how: Any
) -> tuple[World, FakePrometheus]:
    world = await world_with(versions)
    prometheus = FakePrometheus(world.cluster, metrics or SAME, **how)
    world.cluster.prometheus = prometheus
    retriever = world.cluster.find("Retriever")
    watched = {"prometheus": {"url": "http://prometheus:9090"}}
    world.cluster.put({**retriever, "spec": {**retriever["spec"], "rollback": watched}})
    await world.settle()
    return world, prometheus


def trial_of(world: World, name: str = "trial") -> dict[str, Any]:
    found: dict[str, Any] = world.cluster.find("ABTest", name).get("status", {})
    return found


async def until(world: World, phase: str, name: str = "trial", rounds: int = 800) -> dict[str, Any]:
    for _ in range(rounds):
        if trial_of(world, name).get("phase") == phase:
            return trial_of(world, name)
        await world.settle(rounds=1)
    raise AssertionError(trial_of(world, name))
