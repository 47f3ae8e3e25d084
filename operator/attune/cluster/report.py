"""Step four of the loop: one write to /status, only if it changed, at the observed resourceVersion; then what follows; then events."""

import hashlib
from datetime import datetime
from typing import Any

from attune.cluster.apply import follow
from attune.cluster.protocol import Cluster, Manifest
from attune.decide import Decision, Event

REPORTER = "attune-operator"


async def report(cluster: Cluster, raw: Manifest, decision: Decision, now: datetime) -> bool:
    """Write the status that was decided; True when it was written. Events follow only a write that succeeded."""
    changed = False
    if decision.status is not None:
        status = decision.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        changed = status != (raw.get("status") or {})
        if changed:
            await cluster.replace_status({**raw, "status": status})
    await follow(cluster, decision)
    for event in decision.events:
        await cluster.emit(event_manifest(raw, event, now))
    return changed


def event_manifest(raw: Manifest, event: Event, now: datetime) -> Manifest:
    """A core/v1 Event. Its name is a function of the object's state and the words, so a repeated report is no second event."""
    meta: dict[str, Any] = raw["metadata"]
    seed = f"{meta['uid']}/{meta.get('resourceVersion')}/{event.reason}/{event.message}"
    stamp = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{meta['name'][:200]}.{hashlib.sha256(seed.encode()).hexdigest()[:16]}",
            "namespace": meta["namespace"],
        },
        "involvedObject": {
            "apiVersion": raw["apiVersion"],
            "kind": raw["kind"],
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "resourceVersion": meta.get("resourceVersion"),
        },
        "reason": event.reason,
        "message": event.message[:1024],
        "type": "Warning" if event.warning else "Normal",
        "source": {"component": REPORTER},
        "reportingComponent": REPORTER,
        "reportingInstance": REPORTER,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }
