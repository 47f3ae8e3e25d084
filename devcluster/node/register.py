"""The Node object and its Lease."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime

from devcluster.node.api import Api, ApiError, Thing

NAME = "process-node"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
RENEW_SECONDS = 10


def node(port: int, gpus: int) -> Thing:
    """Labels and capacity. Memory and cpu are this machine's."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    capacity = {
        "cpu": str(max(os.cpu_count() or 1, 1) * 8),
        "memory": f"{memory}Ki",
        "pods": "500",
        "ephemeral-storage": "100Gi",
    }
    if gpus:
        capacity["nvidia.com/gpu"] = str(gpus)
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    labels = {
        "kubernetes.io/hostname": NAME,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture,
        "attune.dev/process-node": "true",
    }
    status = {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}, {"type": "Hostname", "address": "localhost"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        "nodeInfo": {
            "architecture": architecture,
            "bootID": "",
            "containerRuntimeVersion": "process://1",
            "kernelVersion": os.uname().release,
            "kubeProxyVersion": "",
            "kubeletVersion": "v1.37.2-process",
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": "this machine: containers are processes, without isolation",
            "systemUUID": "",
        },
        "conditions": [
            _condition("Ready", "True", "ProcessNodeReady", "runs containers as processes"),
            *(_condition(kind, "False", "NotMeasured") for kind in ("MemoryPressure", "DiskPressure", "PIDPressure")),
        ],
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NAME, "labels": labels}, "status": status}


def _condition(kind: str, value: str, reason: str, message: str = "") -> Thing:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "type": kind,
        "status": value,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }


async def register(api: Api, wanted: Thing) -> None:
    """Create the Node, or bring its status up to date. The first Lease comes before it counts as Ready."""
    await renew(api)
    try:
        await api.post("/api/v1/nodes", wanted)
    except ApiError as error:
        if error.status != 409:
            raise
    await api.patch(f"/api/v1/nodes/{NAME}/status", {"status": wanted["status"]})
    await api.patch(f"/api/v1/nodes/{NAME}", {"spec": {"taints": None}})


async def renew(api: Api) -> None:
    """Say that this node lives."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    spec = {"holderIdentity": NAME, "leaseDurationSeconds": 40, "renewTime": now}
    if await api.find(f"{LEASES}/{NAME}") is None:
        meta = {"name": NAME, "namespace": "kube-node-lease"}
        await api.post(
            LEASES, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
        )
    else:
        await api.patch(f"{LEASES}/{NAME}", {"spec": spec})
