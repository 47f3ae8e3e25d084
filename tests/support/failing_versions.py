"""Versions that answer badly, as Prometheus, the guard, labelled queries and Alertmanager would tell of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from attune.cluster.inbox import Inbox
from attune.contract import GuardReport, ModelType, ProbeReport
from attune.observation import Alert, Count, Health, HealthQuery, MetricsProblem
from promotions import V1, V2, ask, pointer, world_with
from worlds import World

GOOD, BAD = 0.01, 0.3


@dataclass
class Rates:
    """What Prometheus counts: so many requests a second, of which a share fails by version. `broken`: it cannot be read."""

    of: dict[str, float] = field(default_factory=dict)
    per_second: float = 20.0
    slow_share: float = 0.0
    broken: MetricsProblem | None = None
    queries: list[HealthQuery] = field(default_factory=list)

    def __call__(self, query: HealthQuery) -> Health | MetricsProblem:
        self.queries.append(query)
        if self.broken is not None:
            return self.broken
        return Health(tuple(self._count(query, w) for w in query.windows))

    def _count(self, query: HealthQuery, window: int) -> Count:
        requests = int(window * self.per_second)
        failures = int(requests * self.of.get(query.version, GOOD))
        slow = int(requests * self.slow_share) if query.version == V2 else 0
        calm = requests - slow
        durations = {0.05: calm - requests // 100, 0.1: calm, 0.2: calm, 1.0: requests, float("inf"): requests}
        return Count(window, requests, failures, durations if query.latency else {})


async def promoted(rates: Rates | None = None, versions: int = 2, **spec: Any) -> World:
    """Version 2 was just promoted over version 1, and is watched."""
    prometheus = {"prometheus": {"url": "http://prometheus:9090"}}
    given = {"rollback": prometheus | spec.pop("rollback", {}), **spec}
    world = await world_with(versions, **given)
    world.cluster.health_of = rates or Rates()
    ask(world, V2, "r1")
    for _ in range(200):
        await world.look()
        world.cluster.run_jobs()
        world.cluster.run_deployments()
        world.cluster.clock.advance(timedelta(seconds=1))
        if pointer(world)["active"] == V2:
            await look(world, 3)
            return world
    raise AssertionError(pointer(world))


async def look(world: World, times: int = 1, seconds: float = 5) -> None:
    """Looks at everything, so many seconds apart."""
    for _ in range(times):
        await world.look()
        world.cluster.run_jobs()
        world.cluster.run_deployments()
        world.cluster.clock.advance(timedelta(seconds=seconds))


def an_alert(version: str = V2, *, at: datetime, firing: bool = True, fingerprint: str = "f1", **more: Any) -> Alert:
    known: dict[str, Any] = {"name": "AttuneVersionErrors", "summary": "30% of requests fail"}
    return Alert(fingerprint, at, firing, version, **(known | more))


def send(world: World, *alerts: Alert) -> list[Any]:
    """What the webhook does; the futures of the outcomes."""
    inbox: Inbox = world.context.inbox
    return [inbox.put(("news", "news"), alert) for alert in alerts]


def an_open_guard(version: str = V2) -> GuardReport:
    return GuardReport(
        version=version,
        type=ModelType.EMBEDDING,
        open=True,
        failures=9,
        attempts=10,
        reason="model_failed",
        message="NaN",
    )


def a_probe(hits: int, *, previous: int = 50, queries: int = 64, version: str = V2) -> ProbeReport:
    return ProbeReport(
        version=version,
        type=ModelType.EMBEDDING,
        previous=V1,
        queries=queries,
        hits=hits,
        previous_hits=previous,
        lost=max(0, previous - hits),
        won=max(0, hits - previous),
    )


Trouble = Callable[[World], None]


def errors(world: World) -> None:
    rates = world.cluster.health_of
    assert isinstance(rates, Rates)
    rates.of[V2] = BAD


def slowness(world: World) -> None:
    rates = world.cluster.health_of
    assert isinstance(rates, Rates)
    rates.slow_share = 0.2


def guard(world: World) -> None:
    world.cluster.serving.guards[V2] = an_open_guard()


def collapse(world: World) -> None:
    world.cluster.serving.probes[V2] = a_probe(5)


def alert(world: World) -> None:
    send(world, an_alert(at=world.cluster.clock()))
