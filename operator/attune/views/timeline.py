"""The past of a version as dated entries: data → run → version → test → promotion → rollback. A pure function of stored objects.

`messages.versions.Timeline` is its form. Only what is written down with a time appears, with the time that is written; what a
bounded list has dropped, or an object that was deleted would have told, is missing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from attune.api import labels
from attune.objects import Manifest
from attune.views.retrievers import View, metrics

_RANK = ("data", "run", "version", "test", "promotion", "rollback", "retirement")
_MOVES = {"Imported": "promotion", "Promoted": "promotion", "RolledBack": "rollback"}


@dataclass(frozen=True, slots=True)
class Past:
    """A version, and what else tells of it; None: not there, or not to be seen."""

    version: Manifest
    run: Manifest | None = None
    retriever: Manifest | None = None
    tests: tuple[Manifest, ...] = ()


def entries(past: Past) -> list[View]:
    """`messages.versions.Entry`, the oldest first; entries of one second in the order of a version's life."""
    parts = (_of_run, _of_version, _of_tests, _of_retriever)
    found = [entry for part in parts for entry in part(past) if entry["at"]]
    return sorted(found, key=lambda e: (e["at"], _RANK.index(e["kind"])))


def _entry(thing: Manifest, at: Any, kind: str, what: str, message: str) -> View:
    subject = {"kind": thing["kind"], "name": thing["metadata"]["name"]}
    return {"at": at, "kind": kind, "what": what, "message": message, "object": subject}


def _conditions(thing: Manifest) -> dict[str, View]:
    return {c["type"]: c for c in (thing.get("status") or {}).get("conditions") or []}


# ---- data and run


def _of_run(past: Past) -> Iterator[View]:
    run = past.run
    if run is None:
        return
    status, known = run.get("status") or {}, _conditions(run)
    asked = run["metadata"].get("annotations") or {}
    by = f" by {asked[labels.REQUESTED_BY]}" if labels.REQUESTED_BY in asked else ""
    yield _entry(run, run["metadata"].get("creationTimestamp"), "run", "Created", f"TrainingJob created{by}")
    yield _entry(run, status.get("startTime"), "run", "Started", "the first stage began")
    for condition, kind in (("DataPrepared", "data"), ("Trained", "run"), ("Evaluated", "run")):
        found = known.get(condition)
        if found is not None and found["status"] == "True":
            yield _entry(run, found["lastTransitionTime"], kind, condition, found["message"])
    if status.get("completionTime"):
        yield _entry(
            run, status["completionTime"], "run", str(status.get("phase")), str(status.get("message") or "it ended")
        )


# ---- the version itself


def _of_version(past: Past) -> Iterator[View]:
    version, status = past.version, past.version.get("status") or {}
    source = version["spec"]["source"]
    origin = f"imported from {source['import']}" if source.get("import") else f"made by {source.get('trainingJob')}"
    yield _entry(version, version["metadata"].get("creationTimestamp"), "version", "Created", f"version {origin}")
    known = _conditions(version)
    for condition in ("Trained", "Evaluated", "ArtifactVerified", "IndexReady"):
        found = known.get(condition)
        if found is not None and found["status"] == "True":
            message = found["message"] or found["reason"]
            yield _entry(
                version, found["lastTransitionTime"], "version", condition, _with_metrics(message, version, condition)
            )
    index = status.get("index") or {}
    if index.get("builtAt"):
        message = f"collection {index['collection']} with {index['documents']:,} documents"
        yield _entry(version, index["builtAt"], "version", "Indexed", message)
    if status.get("deprecatedAt"):
        yield _entry(
            version, status["deprecatedAt"], "version", "Deprecated", "it ceased to be active or was superseded"
        )
    retirement = status.get("retirement")
    if retirement:
        yield _entry(version, retirement["at"], "retirement", retirement["state"], retirement["cause"])


def _with_metrics(message: str, version: Manifest, condition: str) -> str:
    measured = metrics(version) if condition == "Evaluated" else {}
    numbers = ", ".join(f"{name} {value:.3f}" for name, value in measured.items())
    return f"{message} ({numbers})" if numbers and numbers not in message else message


# ---- its tests


def _of_tests(past: Past) -> Iterator[View]:
    name = past.version["metadata"]["name"]
    for test in past.tests:
        spec, status = test["spec"], test.get("status") or {}
        a, b = status.get("modelA") or spec.get("modelA"), spec["modelB"]
        if name not in {a, b}:
            continue
        arm, other = ("B", a) if name == b else ("A", b)
        against = f"as {arm} against {other or 'the active version'}"
        yield _entry(test, test["metadata"].get("creationTimestamp"), "test", "Created", f"ABTest created, {against}")
        share = f"{100 * spec.get('trafficSplit', 0.2):g}% of the queries to B"
        yield _entry(test, status.get("startedAt"), "test", "Started", f"{against}, {share}")
        told = status.get("recommendation") or status.get("message") or "it ended"
        yield _entry(test, status.get("concludedAt"), "test", str(status.get("phase")), str(told))


# ---- who served


def _of_retriever(past: Past) -> Iterator[View]:
    retriever, name = past.retriever, past.version["metadata"]["name"]
    if retriever is None:
        return
    status = retriever.get("status") or {}
    for change in status.get("changes") or []:
        why = f": {change['cause']}" if change.get("cause") else ""
        if change["version"] == name:
            instead = f" instead of {change['previous']}" if change.get("previous") else ""
            message = f"{name} serves{instead}{why}"
            yield _entry(retriever, change["at"], _MOVES[change["action"]], change["action"], message)
        elif change.get("previous") == name:
            back = change["action"] == "RolledBack"
            message = f"{change['version']} serves instead of {name}{why}"
            yield _entry(
                retriever,
                change["at"],
                "rollback" if back else "promotion",
                "TakenBack" if back else "Replaced",
                message,
            )
    for outcome in status.get("outcomes") or []:
        if outcome["version"] == name and outcome["result"] == "Refused":
            message = f"request {outcome['requestID']}: {outcome.get('message') or 'refused'}"
            yield _entry(retriever, outcome["at"], "promotion", "Refused", message)
