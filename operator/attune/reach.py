"""Whom a change concerns. Pure; called by `neighbours`.

A Retriever writes its status several times for one promotion, and may have hundreds of versions. So what it only says of itself wakes
nobody, what it says of a version wakes that one, and everything is woken by a moved pointer, another spec, and whatever is not known here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from attune.objects import Manifest

OF_ITSELF = frozenset(
    {"conditions", "servingGeneration", "handledAlerts", "observedGeneration", "summary", "pendingNotifications"}
)
"""Fields of Retriever.status that no other object's decision reads."""
OF_VERSIONS = frozenset({"candidates", "outcomes", "testOutcomes", "quarantined", "changes"})
"""Lists whose entries name a version. Tests, runs and schedules read them, too; other versions do not."""
IDENTITY = ("uid", "generation", "deletionTimestamp", "labels", "annotations")


@dataclass(frozen=True, slots=True)
class Reach:
    """Everything that names the Retriever; or else the versions of these names and, if there are any, all that are no versions."""

    everything: bool = False
    versions: frozenset[str] = frozenset()


def reach(before: Manifest | None, after: Manifest) -> Reach:
    """Whom it concerns that a Retriever is like `after`, having been like `before` (None: not known)."""
    if before is None or any(before["metadata"].get(k) != after["metadata"].get(k) for k in IDENTITY):
        return Reach(everything=True)
    old, new = before.get("status") or {}, after.get("status") or {}
    changed = {field for field in old.keys() | new.keys() if old.get(field) != new.get(field)} - OF_ITSELF
    if changed - OF_VERSIONS:
        return Reach(everything=True)
    return Reach(versions=frozenset(name for field in changed for name in _named(old.get(field), new.get(field))))


def remembered(body: Manifest) -> Manifest:
    """What `reach` looks at, of a Retriever: all that has to be remembered."""
    return {
        "metadata": {k: v for k, v in body["metadata"].items() if k in IDENTITY},
        "status": body.get("status") or {},
    }


def could_serve(version: Manifest) -> bool:
    """Whether a ModelVersion, as it is stored, counts among the kept ones (`decide.retention.could_serve`)."""
    status = version.get("status") or {}
    going = status.get("retirement") or version["metadata"].get("deletionTimestamp")
    return status.get("stage") in {"staged", "active", "deprecated"} and not going


def _named(old: Any, new: Any) -> Iterator[str]:
    """The versions of entries that are in one of the lists only."""
    before: list[Mapping[str, Any]] = old or []
    after: list[Mapping[str, Any]] = new or []
    for entry in (*before, *after):
        if entry not in before or entry not in after:
            yield str(entry["version"])
