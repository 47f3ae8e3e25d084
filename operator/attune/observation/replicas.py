"""Serving Pods and what they report of themselves, as frozen values. Pure: called by `cluster.observe`."""

from collections.abc import Iterable
from dataclasses import dataclass

from attune.contract import ReplicaReport
from attune.objects import Manifest

PORT = 8000
"""Where serving listens; named `http` in the Pod."""


@dataclass(frozen=True, slots=True)
class SeenReplica:
    """One serving Pod that is meant to live, and what it answered; no report: it did not answer."""

    name: str
    address: str
    ready: bool
    waiting: str = ""
    report: ReplicaReport | None = None


def serving_pods(pods: Iterable[Manifest]) -> tuple[SeenReplica, ...]:
    """Pods that are not on their way out, by name, not asked yet. `address` is empty until a Pod has one."""
    living = [
        pod
        for pod in pods
        if not pod["metadata"].get("deletionTimestamp") and pod.get("status", {}).get("phase") in {"Pending", "Running"}
    ]
    return tuple(_replica(pod) for pod in sorted(living, key=lambda pod: str(pod["metadata"]["name"])))


def _replica(pod: Manifest) -> SeenReplica:
    status = pod.get("status", {})
    address = status.get("podIP") or ""
    host = f"[{address}]" if ":" in address else address
    return SeenReplica(
        name=pod["metadata"]["name"],
        address=f"{host}:{PORT}" if address else "",
        ready=any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ()),
        waiting=_waiting(status),
    )


def _waiting(status: Manifest) -> str:
    """Why its container does not run, in the words of `kubectl describe pod`."""
    for container in status.get("containerStatuses") or ():
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason") not in {None, "ContainerCreating", "PodInitializing"}:
            return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}".rstrip(": ")
    return ""
