"""Objects as rows of lists, and whole: the JSON of the REST API, whose form is `attune.messages`. Pure functions of stored objects."""

from typing import Any

from attune.api import labels
from attune.objects import Manifest
from attune.views import ab_tests, retrievers
from attune.views.retrievers import View


def version_row(version: Manifest) -> View:
    """`messages.versions.Version`."""
    view, status = retrievers.version_view(version), version.get("status") or {}
    asked = (version["spec"].get("promotion") or {}).get("requestID")
    evaluation = status.get("evaluationMetrics") or {}
    return _present(
        {
            **_origin(version),
            "baseModel": version["spec"].get("baseModel"),
            **view,
            **{name: evaluation.get(name) for name in ("verdict", "queries", "intervals", "baseline")},
            "requestID": asked,
        }
    )


def run_row(job: Manifest) -> View:
    """`messages.runs.Run`."""
    spec, status = job["spec"], job.get("status") or {}
    measured = (status.get("evaluation") or {}).get("metrics") or {}
    return _present(
        {
            **_origin(job),
            "type": spec["type"],
            "phase": retrievers.phase_of(job),
            "reason": status.get("reason"),
            "message": status.get("message"),
            "modelVersion": status.get("modelVersion"),
            "progress": status.get("progress"),
            "score": measured.get("score"),
            "examples": (status.get("dataset") or {}).get("examples"),
            "failures": status.get("failures"),
            "schedule": (job["metadata"].get("labels") or {}).get(labels.TRAINING_SCHEDULE),
            "startedAt": status.get("startTime"),
            "completedAt": status.get("completionTime"),
        }
    )


def test_row(test: Manifest) -> View:
    """`messages.ab_tests.TestRow`."""
    (row,) = ab_tests.list_view([test])
    return _present({**_origin(test), **{k: v for k, v in row.items() if k != "test"}})


def test_detail(test: Manifest) -> View:
    """`messages.ab_tests.TestDetail`."""
    shown = ab_tests.show_view(test)
    return test_row(test) | _present({k: v for k, v in shown.items() if k != "test"}) | _stored(test)


def schedule_row(schedule: Manifest) -> View:
    """`messages.runs.Schedule`."""
    return _present(_origin(schedule)) | _stored(schedule)


def version_detail(version: Manifest) -> View:
    """`messages.versions.VersionDetail`."""
    return version_row(version) | _stored(version)


def run_detail(job: Manifest) -> View:
    """`messages.runs.RunDetail`."""
    return run_row(job) | _stored(job)


def _origin(thing: Manifest) -> View:
    metadata = thing["metadata"]
    return {
        "name": metadata["name"],
        "namespace": metadata.get("namespace"),
        "retriever": thing["spec"]["retriever"],
        "createdAt": metadata.get("creationTimestamp"),
    }


def _stored(thing: Manifest) -> View:
    return {"spec": thing["spec"], "status": thing.get("status") or {}}


def _present(view: dict[str, Any]) -> View:
    """What is not known is absent."""
    return {key: value for key, value in view.items() if value is not None}
