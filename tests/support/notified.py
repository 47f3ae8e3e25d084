"""Builders of targets and notifications, and a world whose operator really sends them."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from attune.api import ABTest, Change, NotificationEvent, NotificationTarget, TrainingJob
from attune.cluster.client import no_fence
from attune.decide.notifications.happenings import happenings
from attune.notify.addresses import Hosts
from attune.notify.courier import Courier
from attune.notify.outbox import Outbox, Pauses
from attune.observation import Notification, Subject
from receiver import Receiver
from versions import a_retriever
from worlds import World

AT = "2026-03-15T11:59:00Z"
HERE = Hosts(("127.0.0.1",))
QUICK = Pauses(0.01, 0.02)
LONG_CAUSE = (
    "9.1% of 1,312 requests failed, 3 times the 1.0% before; " + "and more was said of it than the history keeps, " * 2
)


def a_target(name: str = "chat", **more: Any) -> NotificationTarget:
    """A webhook with an address of its own, unless it is told otherwise."""
    given = {"name": name, "type": "webhook", **more}
    if "secretRef" not in given:
        given.setdefault("url", "http://127.0.0.1:9/hook")
    return NotificationTarget.model_validate(given)


def a_secret(name: str = "chat", namespace: str = "news", **keys: str) -> dict[str, Any]:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in keys.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}


def a_run(phase: str = "Succeeded", **status: Any) -> TrainingJob:
    message = "emb-v2: nDCG@10 0.800 (active) → 0.900 (+12.5%, 95% CI +0.050 to +0.150) on 200 queries"
    measured = {
        "metrics": {
            "ndcgAt10": 0.9,
            "score": 0.9,
            "queries": 200,
            "baseline": {"ndcgAt10": 0.8},
            "improvementPercent": 12.5,
        }
    }
    known: dict[str, Any] = {"phase": phase, "completionTime": AT, "modelVersion": "emb-v2", "message": message}
    if phase == "Succeeded":
        known |= {"reason": "Succeeded", "evaluation": measured}
    else:
        known |= {"reason": "BelowThreshold", "message": "ndcgAt10 0.71 < 0.85 (evalThreshold), on 200 queries"}
    return TrainingJob.model_validate(
        {
            "metadata": {
                "name": "tune",
                "namespace": "team",
                "uid": "11111111-0000-4000-8000-000000000000",
                "generation": 1,
            },
            "spec": {"retriever": "news", "type": "embedding"},
            "status": {**known, **status},
        }
    )


def a_trial(phase: str = "Concluded", **status: Any) -> ABTest:
    known: dict[str, Any] = {
        "phase": phase,
        "concludedAt": AT,
        "reason": "Better",
        "message": "B is better",
        "modelA": "emb-v1",
    }
    if phase == "Concluded":
        known |= {
            "winner": "B",
            "samplesA": 1296,
            "samplesB": 1312,
            "metricsA": {"clicks": {"mean": 0.311, "samples": 1296}},
            "metricsB": {"clicks": {"mean": 0.352, "samples": 1312}},
            "intervals": {"clicks": {"low": 0.012, "high": 0.07}},
            "pValues": {"clicks": 0.004},
            "recommendation": "Promote emb-v2: clicks +13.2% (95% CI +3.9% to +22.5%) on 2,608 queries.",
        }
    return ABTest.model_validate(
        {
            "metadata": {
                "name": "trial",
                "namespace": "team",
                "uid": "22222222-0000-4000-8000-000000000000",
                "generation": 1,
            },
            "spec": {"retriever": "news", "modelB": "emb-v2", "metrics": [{"name": "clicks", "role": "primary"}]},
            "status": {**known, **status},
        }
    )


def a_move(action: str = "RolledBack", **change: Any) -> dict[str, Any]:
    versions = ("emb-v1", "emb-v2") if action == "RolledBack" else ("emb-v2", "emb-v1")
    known = {"type": "embedding", "version": versions[0], "previous": versions[1], "action": action, "at": AT}
    return {**known, "cause": "9.1% of 1,312 requests failed, 3 times the 1.0% before", **change}


SUBJECTS: dict[NotificationEvent, Callable[[], Subject]] = {
    NotificationEvent.TRAINING_SUCCEEDED: a_run,
    NotificationEvent.TRAINING_FAILED: lambda: a_run("Failed"),
    NotificationEvent.TEST_CONCLUDED: a_trial,
    NotificationEvent.TEST_FAILED: lambda: a_trial("Failed", reason="NotStaged", message="emb-v2 is failed"),
    NotificationEvent.TEST_CANCELLED: lambda: a_trial("Cancelled", reason="CancelRequested", message="cancelled"),
    NotificationEvent.PROMOTED: lambda: a_retriever({"changes": [a_move("Promoted", cause="request r1")]}),
    NotificationEvent.ROLLED_BACK: lambda: a_retriever({"changes": [a_move()]}),
}
"""One object for each event that tells of it."""


def a_notification(
    event: NotificationEvent = NotificationEvent.ROLLED_BACK,
    target: NotificationTarget | None = None,
    about: Subject | None = None,
) -> Notification:
    about = about or SUBJECTS[event]()
    what = next(h for h in happenings(about.metadata.uid, about.status) if h.event is event)
    change: Change | None = what.change
    return Notification(what.id, event, what.at, target or a_target(), about, change)


# ---- a world that sends

COURIERS: list[Courier] = []
"""Those of this process that are not closed yet."""


async def close_couriers() -> None:
    while COURIERS:
        await COURIERS.pop().close()


def telling(world: World) -> World:
    """The operator of this world sends what it has to tell, to this machine; a new one knows nothing of what was under way."""
    world.context.outbox.clear()
    courier = Courier(world.cluster, HERE, no_fence, world.cluster.clock)
    COURIERS.append(courier)
    outbox = Outbox(courier.carry, metrics=world.context.metrics, now=world.cluster.clock, pauses=QUICK)
    world.context = replace(world.context, outbox=outbox)
    return world


async def look_and_tell(world: World, times: int = 1) -> None:
    """Looks at everything, with time for what is sent; a kill ends what was under way."""
    for _ in range(times):
        restarts = world.restarts
        await world.look()
        world.cluster.run_jobs()
        world.cluster.run_deployments()
        if world.restarts > restarts:
            telling(world)
        await carried(world)


async def carried(world: World, seconds: float = 5) -> None:
    """Until each notification under way was tried."""
    outbox, end = world.context.outbox, time.monotonic() + seconds
    await asyncio.sleep(0.001)  # those that are tried again have their turn, too
    while any(p.delivery is None for box in outbox._parcels.values() for p in box.values()):
        assert time.monotonic() < end, "a notification was not tried"
        await asyncio.sleep(0.005)


def pending(world: World) -> list[str]:
    """What is still to be told, of all objects."""
    things = [o for kind in ("Retriever", "TrainingJob", "ABTest") for o in world.cluster.all(kind)]
    return [key for thing in things for key in thing.get("status", {}).get("pendingNotifications", [])]


def a_told(receiver: Receiver) -> list[tuple[str, str]]:
    """(event, id) of everything that came."""
    return [(told["event"], told["id"]) for told in receiver.told()]
