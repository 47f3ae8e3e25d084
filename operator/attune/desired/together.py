"""The Pods and processes that train one model together: an Indexed Job, a headless Service by which its Pods find the first one.

All or nothing: one Pod that fails fails the Job, and the next attempt goes on from the checkpoint. Called by `stage_job`.
"""

import zlib
from typing import Any

from attune.api import Compute
from attune.contract import Stage
from attune.contract.distributed import MASTER_ADDR, MASTER_PORT, NODES, PROCESSES_PER_NODE
from attune.objects import Manifest

PORTS = range(20_000, 30_000)
"""Below those that systems hand out by themselves. By name, since Pods on the network of their host share its ports."""


def nodes(stage: Stage, compute: Compute) -> int:
    """Pods of a stage that work as one; 1 but for training."""
    return compute.nodes if stage is Stage.TRAIN else 1


def processes(stage: Stage, compute: Compute) -> int:
    """Training processes in each Pod: as asked for, else one for each GPU."""
    if stage is not Stage.TRAIN:
        return 1
    if compute.processes_per_node is not None:
        return compute.processes_per_node
    limits = (compute.resources.limits if compute.resources else None) or {}
    return max(
        1, sum(int(amount) for name, amount in limits.items() if name.endswith("/gpu") and str(amount).isdigit())
    )


def service_name(job: str) -> str:
    """A Service's name begins with a letter; a Job's need not."""
    return "peers-" + job[-57:].lstrip("-")


def environment(stage: Stage, compute: Compute, job: str) -> list[dict[str, Any]]:
    """What the trainer's processes are told of each other; nothing where there is one."""
    pods, each = nodes(stage, compute), processes(stage, compute)
    if pods * each == 1:
        return []
    told = {NODES: str(pods), PROCESSES_PER_NODE: str(each)}
    if pods > 1:
        told[MASTER_ADDR] = f"{job}-0.{service_name(job)}"
        told[MASTER_PORT] = str(PORTS[zlib.crc32(job.encode()) % len(PORTS)])
    return [{"name": name, "value": value} for name, value in told.items()]


def service(job: Manifest) -> Manifest:
    """Names for the Job's Pods, from their first moment on."""
    meta = job["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {**meta, "name": service_name(meta["name"])},
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {"batch.kubernetes.io/job-name": meta["name"]},
        },
    }
