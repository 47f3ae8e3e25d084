"""What an ABTest's next step depends on: its Retriever, its versions, and, when a look is due, what Prometheus has of it."""

import asyncio
from dataclasses import replace
from datetime import datetime

from attune.api import ABTest, ABTestPhase, ModelVersion, Retriever
from attune.cluster.access import prometheus_of
from attune.cluster.observe import read_retriever, read_tests, read_version
from attune.cluster.protocol import Cluster, Manifest
from attune.cluster.serving_pods import read_replicas
from attune.decide.experiment import challengers, schedule
from attune.observation import Defaults, MetricsProblem, Samples, SamplesQuery, SeenABTest

SHORTEST_PATIENCE = 60.0
LOOKS_OF_PATIENCE = 3


async def observe_ab_test(cluster: Cluster, raw: Manifest, defaults: Defaults, now: datetime) -> SeenABTest:
    """An ABTest with everything around it. Prometheus is asked only when a look is due."""
    test = ABTest.model_validate(raw)
    namespace = test.metadata.namespace
    if test.status.phase in challengers.FINAL and test.status.promotion is None:
        return SeenABTest(test)
    retriever = await read_retriever(cluster, namespace, test.spec.retriever)
    others = await _in_line_with(cluster, test)
    tests = (test, *others)
    named = {n for t in tests for n in (t.spec.model_a, t.spec.model_b, t.status.model_a) if n is not None}
    found = await asyncio.gather(*(read_version(cluster, namespace, name) for name in sorted(named)))
    versions: tuple[ModelVersion, ...] = tuple(v for v in found if v and v.metadata.deletion_timestamp is None)
    seen = SeenABTest(test, retriever, versions, others)
    running = test.status.phase is ABTestPhase.RUNNING and not test.spec.cancel
    if retriever is None or not running or not schedule.is_due(test, now):
        return seen
    return replace(seen, samples=await _samples(cluster, test, retriever, defaults, now))


async def _in_line_with(cluster: Cluster, test: ABTest) -> tuple[ABTest, ...]:
    """The other tests of its Retriever that want to run; read only while it waits itself."""
    if not challengers.wants_to_run(test):
        return ()
    found = await read_tests(cluster, test.metadata.namespace, test.spec.retriever)
    return tuple(t for t in found if t.metadata.uid != test.metadata.uid and challengers.wants_to_run(t))


async def _samples(
    cluster: Cluster, test: ABTest, retriever: Retriever, defaults: Defaults, now: datetime
) -> Samples | MetricsProblem:
    query = await _query(cluster, test, retriever, defaults, now)
    return query if isinstance(query, MetricsProblem) else await cluster.samples(query)


async def _query(
    cluster: Cluster, test: ABTest, retriever: Retriever, defaults: Defaults, now: datetime
) -> SamplesQuery | MetricsProblem:
    """Which Prometheus, with which credentials, and which processes it should know."""
    access = await prometheus_of(cluster, retriever, defaults)
    if isinstance(access, MetricsProblem):
        return access
    assert test.status.started_at is not None
    at = min(now, schedule.ends_at(test))
    replicas = await read_replicas(cluster, retriever)
    return SamplesQuery(
        url=access.url,
        run=test.metadata.uid,
        since=test.status.started_at,
        at=at,
        processes=frozenset(
            r.report.process for r in replicas if r.report is not None and r.report.process and at == now
        ),
        patience=max(SHORTEST_PATIENCE, LOOKS_OF_PATIENCE * schedule.interval(test).total_seconds()),
        token=access.token,
        username=access.username,
        password=access.password,
    )
