"""The serving Pods of a Retriever, each asked what it has loaded and what it acts by. Used by the observations."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

from pydantic import ValidationError

from attune.api import Retriever, labels
from attune.cluster.protocol import Cluster
from attune.contract import ReplicaReport
from attune.observation import SeenReplica, serving_pods


async def read_replicas(cluster: Cluster, retriever: Retriever) -> tuple[SeenReplica, ...]:
    """All Pods that are meant to live; one that does not answer has no report."""
    return await asked(cluster, await read_pods(cluster, retriever))


async def read_pods(cluster: Cluster, retriever: Retriever) -> tuple[SeenReplica, ...]:
    """The same, not asked."""
    mine = {labels.RETRIEVER: retriever.metadata.name, labels.COMPONENT: labels.SERVING}
    return serving_pods(await cluster.list("v1", "Pod", retriever.metadata.namespace, mine))


async def asked(cluster: Cluster, pods: Iterable[SeenReplica]) -> tuple[SeenReplica, ...]:
    """Each with its report, if it answers."""
    return tuple(await asyncio.gather(*(_asked(cluster, pod) for pod in pods)))


async def _asked(cluster: Cluster, replica: SeenReplica) -> SeenReplica:
    answer = await cluster.replica(replica.address) if replica.address else None
    if answer is None:
        return replica
    try:
        return replace(replica, report=ReplicaReport.model_validate(answer))
    except ValidationError as error:  # another program on that port, or a release that speaks another contract
        return replace(replica, waiting=f"answers something else on /v1/versions: {error.errors()[0]['msg']}")
