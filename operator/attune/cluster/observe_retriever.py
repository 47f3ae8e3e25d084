"""What a Retriever's next step depends on: its versions and tests, what serves it, and in the time of a watch, how well.

An alert does not wait for a Pod or a Prometheus that hangs: what may hang is asked last, and given up as soon as an alert is there that
may take a version back.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from attune.api import ModelVersion, Retriever, TrainingSchedule, kinds, parse_duration
from attune.cluster.access import prometheus_of
from attune.cluster.inbox import Inbox
from attune.cluster.observe import read_tests, versions_of
from attune.cluster.observe_training_schedule import read_schedules
from attune.cluster.protocol import Cluster, Manifest, Ref
from attune.cluster.serving_pods import asked, read_pods
from attune.contract import ModelType
from attune.decide.rollback import watch, watching
from attune.decide.schedule.default import MANUAL
from attune.desired import serving
from attune.observation import Alert, Defaults, Health, HealthQuery, MetricsProblem, SeenReplica, SeenRetriever

T = TypeVar("T")
Healths = dict[ModelType, Health | MetricsProblem]
Slow = tuple[tuple[SeenReplica, ...], Healths, Healths]
LEAST_PATIENCE = 60.0
"""Seconds: samples older than that say nothing of a version that is watched."""


async def observe_retriever(
    cluster: Cluster, raw: Manifest, defaults: Defaults, now: datetime, inbox: Inbox
) -> SeenRetriever:
    """A Retriever with its versions and what serves it; the namespace's other names only when it has none yet."""
    retriever = Retriever.model_validate(raw)
    namespace, name = retriever.metadata.namespace, retriever.metadata.name
    own, tests, pods, objects, schedules = await asyncio.gather(
        versions_of(cluster, namespace, name),
        read_tests(cluster, namespace, name),
        read_pods(cluster, retriever),
        _serving_objects(cluster, retriever),
        _schedules(cluster, namespace, defaults),
    )
    everyone = own if own else await cluster.list(kinds.API_VERSION, "ModelVersion", namespace)
    versions = tuple(v for v in map(ModelVersion.model_validate, own) if v.metadata.deletion_timestamp is None)
    seen = SeenRetriever(
        retriever=retriever,
        defaults=defaults,
        versions=versions,
        taken_names=frozenset(v["metadata"]["name"] for v in everyone),
        tests=tuple(tests),
        schedules=schedules,
        replicas=pods,
        objects=objects,
    )
    place = namespace, name
    slow = await _unless_alerted(_slow(cluster, seen, now), inbox, seen, now)
    alerts = inbox.alerts(place)
    if slow is None:
        return replace(seen, alerts=alerts, hasty=True)
    replicas, health, before = slow
    return replace(seen, replicas=replicas, health=health, before=before, alerts=alerts)


async def _schedules(cluster: Cluster, namespace: str, defaults: Defaults) -> tuple[TrainingSchedule, ...]:
    """Nobody asks for them where no default one would be made."""
    return () if defaults.schedule == MANUAL else await read_schedules(cluster, namespace)


async def _unless_alerted(work: Awaitable[T], inbox: Inbox, seen: SeenRetriever, now: datetime) -> T | None:
    """The work's outcome; None as soon as an alert waits that takes a version back."""
    meta = seen.retriever.metadata
    looks = [
        watch.look_at(seen, t, now) for t in ModelType if (p := seen.retriever.status.of(t)) is not None and p.active
    ]

    def counts(alert: Alert) -> bool:
        return seen.retriever.spec.rollback.enabled and any(look.is_alerted_by(alert) for look in looks)

    working = asyncio.ensure_future(work)
    alerted = asyncio.ensure_future(inbox.until((meta.namespace, meta.name), counts))
    try:
        await asyncio.wait({working, alerted}, return_when=asyncio.FIRST_COMPLETED)
        return None if alerted.done() else working.result()
    finally:
        working.cancel()
        alerted.cancel()
        await asyncio.wait({working, alerted})


async def _slow(cluster: Cluster, seen: SeenRetriever, now: datetime) -> Slow:
    """What may hang: serving Pods and Prometheus, all asked at once."""
    return await asyncio.gather(asked(cluster, seen.replicas), _health(cluster, seen, now), _before(cluster, seen))


async def _health(cluster: Cluster, seen: SeenRetriever, now: datetime) -> Healths:
    """How well the versions answer that were promoted lately."""
    chosen = seen.retriever.spec.rollback
    watches = [w for t in ModelType if (w := watching.watch_of(seen.retriever, t, now)) is not None]
    latency = chosen.latency_p99_multiplier is not None
    return await _read(cluster, seen, {w.type: (w.version, w.windows(now)) for w in watches}, latency=latency)


async def _before(cluster: Cluster, seen: SeenRetriever) -> Healths:
    """How well the versions answered that are about to be replaced: the baseline."""
    retriever, chosen = seen.retriever, seen.retriever.spec.rollback
    window = int(parse_duration(chosen.window).total_seconds())
    asked_of = {
        t: (pointer.active, (window,))
        for t in ModelType
        if watching.is_about_to_move(retriever.status, seen.tests, t)
        and (pointer := retriever.status.of(t)) is not None
        and pointer.active is not None
    }
    return await _read(cluster, seen, asked_of, latency=chosen.latency_p99_multiplier is not None)


async def _read(
    cluster: Cluster, seen: SeenRetriever, of: Mapping[ModelType, tuple[str, tuple[int, ...]]], *, latency: bool
) -> Healths:
    if not of or not seen.retriever.spec.rollback.enabled:
        return {}
    access = await prometheus_of(cluster, seen.retriever, seen.defaults)
    if isinstance(access, MetricsProblem):
        return dict.fromkeys(of, access)
    meta = seen.retriever.metadata
    queries = [
        HealthQuery(
            url=access.url,
            namespace=meta.namespace,
            retriever=meta.name,
            type=kind,
            version=version,
            windows=windows,
            latency=latency,
            patience=LEAST_PATIENCE,
            token=access.token,
            username=access.username,
            password=access.password,
        )
        for kind, (version, windows) in of.items()
    ]
    return dict(zip(of, await asyncio.gather(*map(cluster.health, queries)), strict=True))


async def _serving_objects(cluster: Cluster, retriever: Retriever) -> dict[tuple[str, str], Manifest]:
    """What there is of the ConfigMap and the workload that serve this Retriever; nothing is asked before anything can be there."""
    status = retriever.status
    if not any(pointer is not None and pointer.active for pointer in (status.embedding, status.reranker)):
        return {}
    keys = [("v1", "ConfigMap", serving.config_map_name(retriever)), *serving.workload_keys(retriever)]
    found = await asyncio.gather(
        *(cluster.get(Ref(version, kind, retriever.metadata.namespace, name)) for version, kind, name in keys)
    )
    return {(kind, name): thing for (_, kind, name), thing in zip(keys, found, strict=True) if thing is not None}
