"""A stage's Job and its Pods, read into one frozen value. Pure: called by `cluster.observe` with the raw objects."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from attune.api import labels
from attune.contract import IndexSummary, Progress, Stage, StageResult, combine_digests, last_progress
from attune.objects import Manifest

CONTAINER = "trainer"
"""The container of a stage's Pod; others may have been put beside it (compute.podTemplate, a mesh)."""
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
PEER_LOST = "PeerLost"
"""Reason of a trainer that ended because another one had."""


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
    run: int = 1
    """Which run of a stage that runs again and again; 1 for the others."""


def seen_job(job: Manifest, pods: Sequence[Manifest], log_tail: str = "") -> SeenJob:
    """Read a Job with the Pods it made. `log_tail` is the newest output of its running Pod."""
    meta, spec, status = job["metadata"], job.get("spec", {}), job.get("status", {})
    indexed, together = spec.get("completionMode") == "Indexed", _trains_together(job)
    pod = _of_those_together(pods) if together else _telling_pod(pods) if indexed else newest_pod(pods)
    terminated = _terminated(pod)
    finished = _finished(status)
    own = StageResult.from_termination_message(terminated.get("message"))
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
        result=_of_all_shards(int(spec.get("completions", 1)), pods, own) if indexed and not together else own,
        failure=_failure(status, pod, terminated),
        waiting=_waiting(pod),
        pod=pod["metadata"]["name"] if pod else None,
        progress=last_progress(log_tail),
        run=int(meta["labels"].get(labels.RUN, 1)),
    )


def reporting_pod(job: Manifest, pods: Sequence[Manifest]) -> Manifest | None:
    """Whose log says how far a Job is: of Pods that train together the first one's, else the newest one's."""
    return newest_pod([p for p in pods if _index(p) == 0] if _trains_together(job) else pods)


def _trains_together(job: Manifest) -> bool:
    mode, stage = job.get("spec", {}).get("completionMode"), job["metadata"]["labels"][labels.STAGE]
    return (mode, stage) == ("Indexed", Stage.TRAIN.value)


def _index(pod: Manifest) -> int:
    return int((pod["metadata"].get("annotations") or {}).get(COMPLETION_INDEX, 0))


def _of_those_together(pods: Sequence[Manifest]) -> Manifest | None:
    """Of Pods that train together: the one that failed of itself, not for want of another; else one that all wait for; else the first."""
    phases = {phase: [p for p in pods if p.get("status", {}).get("phase") == phase] for phase in ("Failed", "Pending")}
    failed = sorted(phases["Failed"], key=lambda pod: (_lost_a_peer(pod), _index(pod)))
    if failed:
        return failed[0]
    return newest_pod(phases["Pending"]) or newest_pod([p for p in pods if _index(p) == 0])


def _lost_a_peer(pod: Manifest) -> bool:
    told = StageResult.from_termination_message(_terminated(pod).get("message"))
    return told is not None and told.reason == PEER_LOST


def _telling_pod(pods: Sequence[Manifest]) -> Manifest | None:
    """Of an Indexed Job's Pods: one that failed tells why the Job did; else the newest that still runs, or ran."""
    phases = {phase: [p for p in pods if p.get("status", {}).get("phase") == phase] for phase in ("Failed", "Running")}
    return newest_pod(phases["Failed"]) or newest_pod(phases["Running"]) or newest_pod(pods)


def _of_all_shards(completions: int, pods: Sequence[Manifest], told: StageResult | None) -> StageResult | None:
    """The shards' results as one; what the telling Pod said as long as not all of them are there."""
    done: dict[str, StageResult] = {}
    for pod in pods:
        result = StageResult.from_termination_message(_terminated(pod).get("message"))
        if result is not None and result.succeeded and result.index is not None:
            done[(pod["metadata"].get("annotations") or {}).get(COMPLETION_INDEX, "")] = result
    if len(done) < completions or not done:
        return None if told is not None and told.succeeded else told
    shards = [result.index for _, result in sorted(done.items()) if result.index is not None]
    first = next(iter(done.values()))
    merged = IndexSummary(
        collection=shards[0].collection,
        documents=sum(s.documents for s in shards),
        embedded=sum(s.embedded for s in shards),
        removed=sum(s.removed for s in shards),
        digest=combine_digests([s.digest for s in shards]),
        sampled=sum(s.sampled for s in shards),
    )
    message = (
        f"{merged.documents:,} documents in {merged.collection} by {len(shards)} shards: {merged.embedded:,} embedded, "
        f"{merged.removed:,} removed."
    )
    return first.model_copy(update={"index": merged, "message": message})


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
