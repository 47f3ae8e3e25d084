"""What screens and answers show of a Retriever and its versions, as plain values. Pure functions of stored objects.

The JSON of `kubectl attune -o json` and of the REST API, and what `cli.render` draws.
"""

from collections.abc import Sequence
from typing import Any

from attune.objects import Manifest

View = dict[str, Any]
TYPES = ("embedding", "reranker")
LIVE = {"Pending", "Preparing", "Training", "Evaluating", "Suspended"}
TEST_LIVE = {"Pending", "Running"}
METRICS = (
    "ndcgAt10",
    "mrrAt10",
    "recallAt10",
    "contextPrecision",
    "contextRecall",
    "faithfulness",
    "relevance",
)


def status_view(
    retriever: Manifest,
    versions: list[Manifest],
    jobs: list[Manifest],
    tests: list[Manifest],
    schedules: Sequence[Manifest] = (),
) -> View:
    """One Retriever: what serves of each type, what is on its way, what comes next, what is wrong."""
    name, status = retriever["metadata"]["name"], retriever.get("status") or {}
    mine = {v["metadata"]["name"]: v for v in versions if v["spec"]["retriever"] == name}
    return {
        "retriever": name,
        "generation": status.get("servingGeneration"),
        "models": {t: _model(t, retriever, mine) for t in TYPES if (retriever.get("spec") or {}).get(t)},
        "promoting": status.get("candidates") or [],
        "training": [_job(j) for j in jobs if j["spec"]["retriever"] == name and phase_of(j) in LIVE],
        "tests": [_test(t) for t in tests if t["spec"]["retriever"] == name and phase_of(t) in TEST_LIVE],
        "schedules": [_schedule(s) for s in schedules if s["spec"]["retriever"] == name],
        "quarantined": status.get("quarantined") or [],
        "serving": _said(status, "Serving"),
        "problems": [
            {"type": c["type"], "reason": c["reason"], "message": c["message"], "since": c["lastTransitionTime"]}
            for c in status.get("conditions") or []
            if _is_problem(c)
        ],
    }


def _is_problem(condition: View) -> bool:
    """A watch that is over is none; a rollback is one as long as it is said, and so is one that leads nowhere."""
    kind, reason = condition["type"], condition["reason"]
    true: bool = condition["status"] == "True"
    by_kind: dict[str, bool] = {
        "RolledBack": true or reason != "Promoted",
        "Guarded": true,
        "Watching": reason == "Blind",
    }
    return by_kind.get(kind, not true)


def _model(kind: str, retriever: Manifest, versions: dict[str, Manifest]) -> View:
    pointer = (retriever.get("status") or {}).get(kind) or {}
    active = versions.get(pointer.get("active") or "")
    staged = [
        n for n, v in versions.items() if v["spec"]["type"] == kind and (v.get("status") or {}).get("stage") == "staged"
    ]
    return {
        "active": pointer.get("active"),
        "since": pointer.get("promotedAt"),
        "previous": pointer.get("previous"),
        "split": pointer.get("split"),
        "metrics": metrics(active) if active else {},
        "improvementPercent": _evaluation(active or {}).get("improvementPercent"),
        "index": ((active or {}).get("status") or {}).get("index"),
        "staged": sorted(staged),
    }


def history_view(retriever: Manifest, versions: list[Manifest]) -> View:
    """Who served since when and why, and what became of each version."""
    name, status = retriever["metadata"]["name"], retriever.get("status") or {}
    mine = [v for v in versions if v["spec"]["retriever"] == name]
    ordered = sorted(mine, key=lambda v: (v["spec"]["type"], v["spec"]["version"]))
    return {
        "retriever": name,
        "changes": status.get("changes") or [],
        "versions": [version_view(v) for v in ordered],
    }


def version_view(version: Manifest) -> View:
    """One version in a history."""
    status = version.get("status") or {}
    return {
        "name": version["metadata"]["name"],
        "type": version["spec"]["type"],
        "version": version["spec"]["version"],
        "stage": status.get("stage"),
        "source": version["spec"]["source"],
        "metrics": metrics(version),
        "improvementPercent": _evaluation(version).get("improvementPercent"),
        "promotedAt": status.get("promotedAt"),
        "deprecatedAt": status.get("deprecatedAt"),
        "documents": (status.get("index") or {}).get("documents"),
        "retired": (status.get("retirement") or {}).get("state"),
        "notes": status.get("notes"),
        "promotion": status.get("promotion"),
    }


def diff_view(one: Manifest, other: Manifest, *, everything: bool = False) -> View:
    """Configuration, data, metrics, index and artifact of two versions, field by field; without `everything` what differs.

    `interval` of a metric is b's: of its difference to the version that was active when it was measured.
    """
    parts = {"config": _config, "data": _data, "metrics": _measured, "index": _index, "artifact": _artifact}
    found: View = {"a": one["metadata"]["name"], "b": other["metadata"]["name"]}
    for part, read in parts.items():
        left, right = read(one), read(other)
        names = [n for n in dict.fromkeys([*left, *right]) if everything or left.get(n) != right.get(n)]
        found[part] = {n: {"a": left.get(n), "b": right.get(n)} for n in names}
    intervals = _evaluation(other).get("intervals") or {}
    for name, values in found["metrics"].items():
        if name in intervals:
            values["interval"] = intervals[name]
    return found


def _measured(version: Manifest) -> View:
    evaluation = _evaluation(version)
    more = {k: evaluation.get(k) for k in ("improvementPercent", "verdict", "queries", "documents")}
    return metrics(version) | {k: v for k, v in more.items() if v is not None}


def _config(version: Manifest) -> View:
    return _flat((version["spec"].get("config") or {}) | {"baseModel": version["spec"]["baseModel"]})


def _data(version: Manifest) -> View:
    return _flat((version.get("status") or {}).get("dataset") or {})


def _index(version: Manifest) -> View:
    return _flat((version.get("status") or {}).get("index") or {})


def _artifact(version: Manifest) -> View:
    status = version.get("status") or {}
    artifact = status.get("artifact") or {}
    return {k: artifact.get(k) for k in ("uri", "digest", "dimensions", "embeddingSpace") if artifact.get(k)}


def metrics(version: Manifest) -> View:
    """What was measured; what was not is absent."""
    evaluation = _evaluation(version)
    return {name: evaluation[name] for name in METRICS if evaluation.get(name) is not None}


def _evaluation(version: Manifest) -> View:
    found: View = (version.get("status") or {}).get("evaluationMetrics") or {}
    return found


def _flat(value: View, prefix: str = "") -> View:
    """Nested fields as `hardNegatives.perQuery`."""
    found: View = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        found |= _flat(inner, name + ".") if isinstance(inner, dict) else {name: inner}
    return found


def _job(job: Manifest) -> View:
    status = job.get("status") or {}
    progress = status.get("progress") or {}
    return {
        "name": job["metadata"]["name"],
        "type": job["spec"]["type"],
        "phase": status.get("phase"),
        "percent": progress.get("percent"),
        "remainingSeconds": progress.get("estimatedRemainingSeconds"),
        "message": status.get("message"),
    }


def _test(test: Manifest) -> View:
    status = test.get("status") or {}
    return {
        "name": test["metadata"]["name"],
        "phase": status.get("phase"),
        "a": status.get("modelA") or test["spec"].get("modelA"),
        "b": test["spec"]["modelB"],
        "fraction": test["spec"].get("trafficSplit", 0.2),
        "startedAt": status.get("startedAt"),
        "message": status.get("message"),
        "samplesA": status.get("samplesA"),
        "samplesB": status.get("samplesB"),
    }


def _schedule(schedule: Manifest) -> View:
    status = schedule.get("status") or {}
    said = {c["type"]: c for c in status.get("conditions") or []}
    training, ready = said.get("TrainingStarted"), said.get("Ready")
    return {
        "name": schedule["metadata"]["name"],
        "type": schedule["spec"]["template"]["type"],
        "nextPreparation": status.get("nextPreparation"),
        "nextTraining": status.get("nextTraining"),
        "newPairs": status.get("newPairs"),
        "minNewPairs": (schedule["spec"].get("training") or {}).get("minNewPairs", 500),
        "lastTraining": status.get("lastTraining"),
        "notReady": f"{ready['reason']}: {ready['message']}" if ready and ready["status"] != "True" else None,
        "skipped": training["message"] if training and training["status"] != "True" else None,
    }


def phase_of(thing: Manifest) -> str:
    """Pending until the operator has said another."""
    return str((thing.get("status") or {}).get("phase") or "Pending")


def _said(status: View, kind: str) -> str | None:
    return next((c["message"] for c in status.get("conditions") or [] if c["type"] == kind), None)
