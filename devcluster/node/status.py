"""A Pod's status, as a kubelet would write it. Pure builders."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Thing = dict[str, Any]
LOST_EXIT_CODE, LOST_REASON = 137, "ContainerStatusUnknown"


@dataclass(slots=True)
class ContainerState:
    """One container: what it is doing, and what it did before."""

    name: str
    image: str
    waiting: tuple[str, str] | None = ("ContainerCreating", "")
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    restarts: int = 0
    ready: bool = False
    started: bool = False
    """Its startup probe has succeeded, or it has none."""
    last: Thing | None = None

    @property
    def running(self) -> bool:
        return self.started_at is not None and self.finished_at is None

    @property
    def finished(self) -> bool:
        return self.finished_at is not None and self.waiting is None

    def start(self, at: datetime, *, probed_first: bool, ready: bool) -> None:
        """It runs now."""
        self.waiting, self.finished_at, self.exit_code, self.message, self.reason = None, None, None, "", ""
        self.started_at, self.started, self.ready = at, not probed_first, ready

    def end(self, at: datetime, exit_code: int, reason: str, message: str) -> None:
        """It has ended, or never ran and never will."""
        self.waiting, self.exit_code, self.finished_at = None, exit_code, at
        self.reason, self.message, self.ready, self.started = reason, message, False, False

    def give_up(self, at: datetime, message: str) -> None:
        """It will not start again: its last end counts, if it ever ran."""
        if self.exit_code is None:
            self.end(at, LOST_EXIT_CODE, LOST_REASON, message)
        self.waiting = None

    def adopt(self, status: Thing, now: datetime) -> None:
        """Take over what an earlier node process reported. Its programs ended with it."""
        self.restarts = status.get("restartCount", 0)
        self.last = status.get("lastState", {}).get("terminated")
        state = status.get("state", {})
        if "running" in state:
            self.started_at = _time(state["running"].get("startedAt"))
            self.end(now, LOST_EXIT_CODE, LOST_REASON, "The node was restarted while the container ran")
        elif "terminated" in state:
            known = state["terminated"]
            self.started_at = _time(known.get("startedAt"))
            ended = _time(known.get("finishedAt")) or now
            self.end(ended, known["exitCode"], known.get("reason", ""), known.get("message", ""))
        elif self.last:  # it was about to be started again
            self.restarts += 1


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def stamp(at: datetime | None) -> str | None:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else None


def container_status(state: ContainerState) -> Thing:
    """An entry of containerStatuses."""
    return {
        "name": state.name,
        "image": state.image,
        "imageID": f"process://{state.image}",
        "ready": state.ready and state.running,
        "started": state.started and state.running,
        "restartCount": state.restarts,
        "state": _state(state),
        "lastState": {"terminated": state.last} if state.last else {},
    }


def terminated(state: ContainerState) -> Thing:
    """state.terminated of a container that ended. Exit codes above 128 are signals."""
    made: Thing = {
        "exitCode": state.exit_code,
        "reason": state.reason or ("Completed" if state.exit_code == 0 else "Error"),
        "startedAt": stamp(state.started_at or state.finished_at),
        "finishedAt": stamp(state.finished_at),
    }
    if state.exit_code is not None and state.exit_code > 128:
        made["signal"] = state.exit_code - 128
    if state.message:
        made["message"] = state.message
    return made


def _state(state: ContainerState) -> Thing:
    if state.waiting is not None:
        reason, message = state.waiting
        return {"waiting": {"reason": reason, **({"message": message} if message else {})}}
    if state.running:
        return {"running": {"startedAt": stamp(state.started_at)}}
    return {"terminated": terminated(state)}


def phase(containers: list[ContainerState], initialized: bool, restart_policy: str) -> str:
    """Pending until all started once; Succeeded or Failed when all ended and none will start again."""
    if not initialized:
        return "Pending"
    if all(c.finished for c in containers) and restart_policy != "Always":
        failed = any(c.exit_code != 0 for c in containers)
        if not failed:
            return "Succeeded"
        if restart_policy == "Never":
            return "Failed"
    return "Running" if any(c.started_at for c in containers) else "Pending"


def pod_status(
    pod: Thing,
    inits: list[ContainerState],
    containers: list[ContainerState],
    addresses: Thing,
    forced_phase: str | None = None,
) -> Thing:
    """The whole status; conditions that others set (DisruptionTarget) are kept."""
    now = datetime.now(UTC)
    initialized = all(c.finished and c.exit_code == 0 for c in inits)
    ready = initialized and all(c.ready and c.running for c in containers)
    reached = forced_phase or phase(containers, initialized, pod["spec"].get("restartPolicy", "Always"))
    if any(c.finished and c.exit_code != 0 for c in inits) and pod["spec"].get("restartPolicy") == "Never":
        reached = forced_phase or "Failed"
    values = {
        "PodReadyToStartContainers": True,
        "Initialized": initialized,
        "ContainersReady": ready,
        "Ready": ready,
        "PodScheduled": True,
    }
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or []}
    made = {kind: _condition(kind, value, old.get(kind), now) for kind, value in values.items()}
    status: Thing = {
        "phase": reached,
        "conditions": [*made.values(), *(c for kind, c in old.items() if kind not in made)],
        "containerStatuses": [container_status(c) for c in containers],
        "startTime": (pod.get("status") or {}).get("startTime") or stamp(now),
        **addresses,
    }
    if inits:
        status["initContainerStatuses"] = [container_status(c) for c in inits]
    return status


def _condition(kind: str, value: bool, old: Thing | None, now: datetime) -> Thing:
    status = "True" if value else "False"
    since = (
        old["lastTransitionTime"]
        if old and old.get("status") == status and old.get("lastTransitionTime")
        else stamp(now)
    )
    return {"type": kind, "status": status, "lastTransitionTime": since}
