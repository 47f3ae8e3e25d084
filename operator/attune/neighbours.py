"""Which objects to look at again when something happened. A small index that `handlers` fills from the watch streams.

An event concerns its own object, and those whose decisions read it: a stage Job or Pod its owner; a ModelVersion its
TrainingJob, its Retriever and the tests of that, and the other versions where it begins or ceases to be one that could serve; a
TrainingJob its ModelVersion and the TrainingSchedule that made it; an ABTest its Retriever and its other tests; a TrainingSchedule
its Retriever and the other schedules of that; a Retriever those that its change concerns (`reach`).
The index may lag behind or miss an object: then that object's own first event, or the resync, wakes it.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from attune.api import kinds, labels
from attune.objects import Manifest
from attune.reach import Reach, could_serve, reach, remembered
from attune.workqueue import Key

_TERMINAL = {"Succeeded", "Failed", "Concluded", "Cancelled"}


class Neighbours:
    """Remembers of each object of ours its uid, its Retriever and whether it is done; of a Retriever how it was,
    of a version whether it could serve."""

    def __init__(self) -> None:
        self._by_uid: dict[str, Key] = {}
        self._of_retriever: dict[tuple[str, str], set[Key]] = defaultdict(set)
        self._seen: dict[tuple[str, str], Manifest] = {}
        self._able: set[Key] = set()

    def own(self, kind: str, body: Manifest, *, deleted: bool) -> set[Key]:
        """An object of ours was seen or deleted: who is concerned."""
        metadata, spec = body["metadata"], body.get("spec") or {}
        key = Key(kind, metadata["namespace"], metadata["name"])
        if kind == "Retriever":
            return {key, *self._concerned(key, body, deleted=deleted)}
        self._remember(key, body, deleted=deleted)
        related = {key, *_makers(body), *self._related(key, spec, body.get("status") or {})}
        if kind == "ModelVersion" and self._begins_or_ceases(key, able=not deleted and could_serve(body)):
            related |= set(self._others(key.namespace, spec.get("retriever", ""), kind))
        return related

    def child(self, body: Manifest) -> set[Key]:
        """A Job, Pod or ConfigMap of ours was seen or deleted: its owner, by label or by owner reference."""
        metadata = body["metadata"]
        uid = (metadata.get("labels") or {}).get(labels.OWNER_UID)
        if uid in self._by_uid:
            return {self._by_uid[uid]}
        return _owners(metadata)

    def known(self) -> list[Key]:
        """Every object of ours that is there."""
        return list(self._by_uid.values())

    @property
    def retrievers(self) -> set[tuple[str, str]]:
        """Namespace and name of every Retriever that is there."""
        return set(self._seen)

    def _concerned(self, key: Key, body: Manifest, *, deleted: bool) -> Iterator[Key]:
        """Those that the change of a Retriever concerns."""
        place = key.namespace, key.name
        found = Reach(everything=True) if deleted else reach(self._seen.get(place), body)
        if deleted:
            self._seen.pop(place, None)
        else:
            self._seen[place] = remembered(body)
        self._note_uid(key, body, deleted=deleted)
        yield from (Key("ModelVersion", key.namespace, name) for name in found.versions)
        for one in self._of_retriever.get(place, ()):
            if found.everything or (found.versions and one.kind != "ModelVersion"):
                yield one

    def _begins_or_ceases(self, key: Key, *, able: bool) -> bool:
        """Whether a version begins or ceases to be one that could serve."""
        turned = able != (key in self._able)
        self._able.add(key) if able else self._able.discard(key)
        return turned

    def _related(self, key: Key, spec: dict[str, Any], status: dict[str, Any]) -> Iterator[Key]:
        if key.kind == "ModelVersion":
            if retriever := spec.get("retriever"):
                yield Key("Retriever", key.namespace, retriever)
                yield from self._others(key.namespace, retriever, "ABTest")
            if run := (spec.get("source") or {}).get("trainingJob"):
                yield Key("TrainingJob", key.namespace, run)
        elif key.kind in {"ABTest", "TrainingSchedule"} and (retriever := spec.get("retriever")):
            yield Key("Retriever", key.namespace, retriever)
            yield from self._others(key.namespace, retriever, key.kind)
        elif key.kind == "TrainingJob" and (version := status.get("modelVersion")):
            yield Key("ModelVersion", key.namespace, version)

    def _others(self, namespace: str, retriever: str, kind: str) -> Iterator[Key]:
        """Tests of one Retriever wait for each other, and end with the versions they name; a default schedule goes for one of a user;
        an old version goes for a new one."""
        yield from (k for k in self._of_retriever.get((namespace, retriever), ()) if k.kind == kind)

    def _remember(self, key: Key, body: Manifest, *, deleted: bool) -> None:
        self._note_uid(key, body, deleted=deleted)
        retriever = (body.get("spec") or {}).get("retriever")
        if not retriever:
            return
        group = self._of_retriever[key.namespace, retriever]
        if deleted or _is_over(body.get("status") or {}):
            group.discard(key)
        else:
            group.add(key)
        if not group:
            del self._of_retriever[key.namespace, retriever]

    def _note_uid(self, key: Key, body: Manifest, *, deleted: bool) -> None:
        if uid := body["metadata"].get("uid"):
            self._by_uid.pop(uid, None) if deleted else self._by_uid.update({uid: key})


def _makers(body: Manifest) -> set[Key]:
    """The schedule that made a TrainingJob. Other owners of ours are Retrievers, which look at what names them anyway."""
    return {key for key in _owners(body["metadata"]) if key.kind == "TrainingSchedule"}


def _owners(metadata: dict[str, Any]) -> set[Key]:
    return {
        Key(owner["kind"], metadata["namespace"], owner["name"])
        for owner in metadata.get("ownerReferences") or ()
        if owner["apiVersion"] == kinds.API_VERSION
    }


def _is_over(status: dict[str, Any]) -> bool:
    """Nothing of its Retriever concerns it any more. A test that was won waits until the winner is promoted, and somebody to be told."""
    if (status.get("retirement") or {}).get("state") == "Retired":
        return True
    waits = (status.get("promotion") or {}).get("result") == "Pending" or bool(status.get("pendingNotifications"))
    return status.get("phase") in _TERMINAL and not waits


def phase_of(kind: str, body: Manifest) -> str:
    """The one word for the metric of objects by phase."""
    status = body.get("status") or {}
    if kind in {"Retriever", "TrainingSchedule"}:
        ready: dict[str, Any] = next((c for c in status.get("conditions") or () if c.get("type") == "Ready"), {})
        if ready.get("reason") == "Suspended":
            return "Suspended"
        return {"True": "Ready", "False": "NotReady"}.get(ready.get("status", ""), "Pending")
    return str(status.get("phase") or status.get("stage") or "Pending")
