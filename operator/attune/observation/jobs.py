"""A stage's Job and its Pods, read into one frozen value. Pure: called by `cluster.observe` with the raw objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from attune.api import labels
from attune.contract import Progress, Stage, StageResult, last_progress
from attune.objects import Manifest

CONTAINER = "trainer"
"""The container of a stage's Pod; others may have been put beside it (compute.podTemplate, a mesh)."""


class JobState(StrEnum):
    """Where a stage Job is; terminal states come from the Job's own conditions, never from a Pod."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True, slots=True)
class SeenJob:
    """One stage Job as it stands now."""

    name: str
    uid: str
    stage: Stage
    attempt: int
    state: JobState
    suspended: bool
    created_at: datetime
    finished_at: datetime | None = None
    exit_code: int | None = None
    result: StageResult | None = None
    failure: str = ""
    waiting: str = ""
    pod: str | None = None
    progress: Progress | None = None


def seen_job(job: Manifest, pods: Sequence[Manifest], log_tail: str = "") -> SeenJob:
    """Read a Job with the Pods it made. `log_tail` is the newest output of its running Pod."""
    meta, spec, status = job["metadata"], job.get("spec", {}), job.get("status", {})
    pod = newest_pod(pods)
    terminated = _terminated(pod)
    finished = _finished(status)
    return SeenJob(
        name=meta["name"],
        uid=meta["uid"],
        stage=Stage(meta["labels"][labels.STAGE]),
        attempt=int(meta["labels"][labels.ATTEMPT]),
        state=_state(spec, status, pod),
        suspended=bool(spec.get("suspend")),
        created_at=parse_time(meta["creationTimestamp"]),
        finished_at=parse_time(finished) if finished else None,
        exit_code=terminated.get("exitCode"),
        result=StageResult.from_termination_message(terminated.get("message")),
        failure=_failure(status, pod, terminated),
        waiting=_waiting(pod),
        pod=pod["metadata"]["name"] if pod else None,
        progress=last_progress(log_tail),
    )


def newest_pod(pods: Sequence[Manifest]) -> Manifest | None:
    """The Pod that was created last: an earlier one was evicted or suspended."""
    return max(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), default=None)


def parse_time(text: str) -> datetime:
    """RFC 3339 with any offset."""
    return datetime.fromisoformat(text)


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any] | None:
    return next((c for c in status.get("conditions") or [] if c["type"] == kind and c["status"] == "True"), None)


def _finished(status: dict[str, Any]) -> str | None:
    if completed := status.get("completionTime"):
        return str(completed)
    failed = _condition(status, "Failed")
    return str(failed["lastTransitionTime"]) if failed else None


def _state(spec: dict[str, Any], status: dict[str, Any], pod: Manifest | None) -> JobState:
    if _condition(status, "Complete"):
        return JobState.SUCCEEDED
    if _condition(status, "Failed"):
        return JobState.FAILED
    if spec.get("suspend"):
        return JobState.SUSPENDED
    if pod and pod.get("status", {}).get("phase") == "Running":
        return JobState.RUNNING
    return JobState.PENDING


def _container(pod: Manifest | None) -> dict[str, Any]:
    statuses = (pod or {}).get("status", {}).get("containerStatuses") or [{}]
    return dict(next((s for s in statuses if s.get("name") == CONTAINER), statuses[0]))


def _terminated(pod: Manifest | None) -> dict[str, Any]:
    return dict(_container(pod).get("state", {}).get("terminated") or {})


def _waiting(pod: Manifest | None) -> str:
    """Why the Pod does not run yet, in the words users know from `kubectl describe pod`."""
    if pod is None:
        return ""
    state = _container(pod).get("state", {}).get("waiting") or {}
    if state.get("reason") and state["reason"] not in {"ContainerCreating", "PodInitializing"}:
        return f"{state['reason']}: {state.get('message', '')}".rstrip(": ")
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"{condition.get('reason', 'Unschedulable')}: {condition.get('message', '')}".rstrip(": ")
    return ""


def _failure(status: dict[str, Any], pod: Manifest | None, terminated: dict[str, Any]) -> str:
    if terminated.get("reason") and terminated.get("exitCode"):
        return str(terminated["reason"])
    if pod and pod.get("status", {}).get("reason"):
        return str(pod["status"]["reason"])
    failed = _condition(status, "Failed")
    return str(failed.get("reason", "")) if failed else ""
