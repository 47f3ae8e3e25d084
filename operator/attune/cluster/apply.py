"""Step three of the loop: make the desired objects exist. Creations first, since status will point to them; deletions last."""

from contextlib import suppress

from attune.cluster.protocol import Cluster
from attune.decide import Decision
from attune.errors import AlreadyExists


async def follow(cluster: Cluster, decision: Decision) -> None:
    """What only follows from the status, once that was written."""
    for manifest in decision.follow:
        await cluster.apply(manifest)


async def apply(cluster: Cluster, decision: Decision) -> None:
    """Carry out a decision's objects. Raises the cluster's errors; what was done before one stays and is found next time."""
    for manifest in decision.apply:
        await cluster.apply(manifest)
    for manifest in decision.create:
        await cluster.create(manifest)
    for manifest in decision.ensure:
        with suppress(AlreadyExists):
            await cluster.create(manifest)
    for ref in decision.delete:
        await cluster.delete(ref)
