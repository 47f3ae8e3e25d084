"""What an ABTest's next step depends on: its Retriever, its versions, and, when a look is due, what Prometheus has of it."""

import asyncio
import base64
import binascii
from dataclasses import replace
from datetime import datetime

from attune.api import ABTest, ABTestPhase, ModelVersion, Retriever
from attune.cluster.observe import read_retriever, read_tests, read_version
from attune.cluster.protocol import Cluster, Manifest, Ref
from attune.cluster.serving_pods import read_replicas
from attune.decide.experiment import challengers, schedule
from attune.errors import ClusterError
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
    chosen = retriever.spec.rollback.prometheus
    url = str(chosen.url) if chosen is not None else defaults.prometheus_url
    if url is None:
        return MetricsProblem(
            "NoPrometheus",
            f"nobody says which Prometheus to read; set spec.rollback.prometheus.url of Retriever {retriever.metadata.name}, or "
            "ATTUNE_PROMETHEUS_URL of the operator",
        )
    keys: dict[str, str] = {}
    if chosen is not None and chosen.secret_ref is not None:
        read = await _secret(cluster, retriever.metadata.namespace, chosen.secret_ref.name)
        if isinstance(read, MetricsProblem):
            return read
        keys = read
    assert test.status.started_at is not None
    at = min(now, schedule.ends_at(test))
    replicas = await read_replicas(cluster, retriever)
    return SamplesQuery(
        url=url,
        run=test.metadata.uid,
        since=test.status.started_at,
        at=at,
        processes=frozenset(
            r.report.process for r in replicas if r.report is not None and r.report.process and at == now
        ),
        patience=max(SHORTEST_PATIENCE, LOOKS_OF_PATIENCE * schedule.interval(test).total_seconds()),
        token=keys.get("token"),
        username=keys.get("username"),
        password=keys.get("password"),
    )


async def _secret(cluster: Cluster, namespace: str, name: str) -> dict[str, str] | MetricsProblem:
    """Username and password, or token. The operator may read Secrets only where somebody lets it (examples/access/prometheus.yaml)."""
    where = f"Secret {name} (rollback.prometheus.secretRef)"
    try:
        found = await cluster.get(Ref("v1", "Secret", namespace, name))
    except ClusterError as error:
        return MetricsProblem(
            "SecretUnreadable", f"{where}: {error}; let the operator get it: examples/access/prometheus.yaml"
        )
    if found is None:
        return MetricsProblem("SecretMissing", f"{where}: there is none in namespace {namespace}")
    try:
        keys = {k: base64.b64decode(v, validate=True).decode() for k, v in (found.get("data") or {}).items()}
    except (binascii.Error, UnicodeDecodeError):
        return MetricsProblem("SecretUnreadable", f"{where}: its values are no text in base64")
    if "token" not in keys and not {"username", "password"} <= set(keys):
        return MetricsProblem("SecretUnreadable", f"{where}: it has neither the key token, nor username and password")
    return {k: v.strip() for k, v in keys.items()}
