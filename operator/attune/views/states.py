"""The present state of a version and of a run, and whether anything is still to come: what streams of events say. Pure.

The forms are `attune.messages.events`. Called by the REST API.
"""

from attune.objects import Manifest
from attune.views import moving
from attune.views.retrievers import View, phase_of

ENDED = frozenset({"Succeeded", "Failed"})
SETTLED = frozenset({"staged", "active", "deprecated", "failed"})


def version_state(version: Manifest, run: Manifest | None) -> View:
    """`messages.events.VersionState`; `run` is the TrainingJob that makes it, where it may be seen."""
    status = version.get("status") or {}
    promotion = status.get("promotion") or {}
    ran = (run or {}).get("status") or {}
    goes_on = run is not None and phase_of(run) not in ENDED and status.get("stage") not in SETTLED
    indexing = status.get("indexing") or {}
    index_runs = bool(indexing) and not indexing.get("finishedAt")
    waits = promotion.get("message") if moving.pending(version) or promotion.get("result") == "Pending" else None
    state = {
        "kind": "ModelVersion",
        "name": version["metadata"]["name"],
        "stage": status.get("stage"),
        "run": version["spec"]["source"].get("trainingJob"),
        "phase": phase_of(run) if run is not None else None,
        "message": waits or (ran.get("message") if goes_on else None) or status.get("notes"),
        "progress": ran.get("progress") if goes_on else indexing.get("progress") if index_runs else None,
        "active": status.get("stage") == "active",
        "requestID": (version["spec"].get("promotion") or {}).get("requestID"),
        "promotion": promotion or None,
    }
    return {key: value for key, value in state.items() if value is not None}


def version_is_settled(version: Manifest) -> bool:
    """Its stages are done, and nobody waits for it to become active."""
    stage = (version.get("status") or {}).get("stage")
    return stage in SETTLED and moving.pending(version) is None


def run_state(job: Manifest) -> View:
    """`messages.events.RunState`."""
    status = job.get("status") or {}
    state = {
        "kind": "TrainingJob",
        "name": job["metadata"]["name"],
        "phase": phase_of(job),
        "reason": status.get("reason"),
        "message": status.get("message"),
        "modelVersion": status.get("modelVersion"),
        "progress": status.get("progress"),
    }
    return {key: value for key, value in state.items() if value is not None}


def run_has_ended(job: Manifest) -> bool:
    """Succeeded and Failed are final."""
    return phase_of(job) in ENDED
