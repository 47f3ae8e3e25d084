"""Which objects an event wakes."""

from api_objects import SPECS
from attune import reach
from attune.api import ModelVersion, RetrieverStatus, VersionStage, kinds, labels
from attune.decide import retention
from attune.neighbours import Neighbours, phase_of
from attune.workqueue import Key


def body(kind, name, spec=None, status=None, **metadata):
    metadata = {"name": name, "namespace": "team", "uid": f"uid-{kind}-{name}", **metadata}
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": kind,
        "metadata": metadata,
        "spec": spec or {},
        "status": status or {},
    }


def names(keys):
    return sorted(f"{key.kind}/{key.name}" for key in keys)


def test_an_object_wakes_itself():
    woken = Neighbours().own("TrainingJob", body("TrainingJob", "tj", {"retriever": "news"}), deleted=False)
    assert woken == {Key("TrainingJob", "team", "tj")}


def test_a_retriever_wakes_everything_that_names_it_in_its_namespace():
    index = Neighbours()
    index.own("TrainingJob", body("TrainingJob", "tj", {"retriever": "news"}), deleted=False)
    index.own("ModelVersion", body("ModelVersion", "v1", {"retriever": "news"}), deleted=False)
    index.own("TrainingJob", body("TrainingJob", "other", {"retriever": "docs"}), deleted=False)
    elsewhere = body("TrainingJob", "far", {"retriever": "news"}, namespace="team-b")
    index.own("TrainingJob", elsewhere, deleted=False)
    woken = index.own("Retriever", body("Retriever", "news"), deleted=False)
    assert names(woken) == ["ModelVersion/v1", "Retriever/news", "TrainingJob/tj"]


def test_a_finished_or_deleted_run_is_not_woken_by_its_retriever():
    index = Neighbours()
    for name, phase in (("done", "Succeeded"), ("failed", "Failed"), ("runs", "Training"), ("gone", "Training")):
        index.own("TrainingJob", body("TrainingJob", name, {"retriever": "news"}, {"phase": phase}), deleted=False)
    index.own("TrainingJob", body("TrainingJob", "gone", {"retriever": "news"}, {"phase": "Training"}), deleted=True)
    assert names(index.own("Retriever", body("Retriever", "news"), deleted=False)) == [
        "Retriever/news",
        "TrainingJob/runs",
    ]


def served(*versions):
    """An index of versions, a run and a test of one Retriever, which was seen as it is with these versions."""
    index = Neighbours()
    for name in versions:
        index.own("ModelVersion", body("ModelVersion", name, {"retriever": "news"}, {"stage": "staged"}), deleted=False)
    index.own("TrainingJob", body("TrainingJob", "tj", {"retriever": "news"}), deleted=False)
    index.own("ABTest", body("ABTest", "ab", {"retriever": "news"}), deleted=False)
    index.own(
        "Retriever", body("Retriever", "news", None, {"embedding": {"active": "v1"}}, generation=1), deleted=False
    )
    return index


def woken_by(index, status, **metadata):
    metadata = {"generation": 1, **metadata}
    woken = names(
        index.own(
            "Retriever",
            body("Retriever", "news", None, {"embedding": {"active": "v1"}, **status}, **metadata),
            deleted=False,
        )
    )
    assert "Retriever/news" in woken
    return [name for name in woken if name != "Retriever/news"]


def test_what_a_retriever_only_says_of_itself_wakes_nobody_else():
    index = served("v1", "v2")
    quiet = {
        "conditions": [{"type": "Serving", "status": "True"}],
        "servingGeneration": 2,
        "handledAlerts": [{"fingerprint": "f"}],
        "pendingNotifications": ["ops/1"],
        "observedGeneration": 1,
        "summary": {"test": "v2 10%"},
    }
    assert woken_by(index, quiet, resourceVersion="2") == []
    assert woken_by(index, {}, resourceVersion="3") == []


def test_what_is_said_of_a_version_wakes_it_and_all_that_are_no_versions():
    index, rest = served("v1", "v2", "v3"), ["ABTest/ab", "TrainingJob/tj"]
    waits = {"version": "v2", "requestID": "r", "message": "loaded by 0 of 2"}
    for field in ("candidates", "outcomes", "testOutcomes", "quarantined", "changes"):
        assert woken_by(index, {field: [waits]}) == [rest[0], "ModelVersion/v2", rest[1]], field
        assert woken_by(index, {field: [waits]}) == [], field
        changed = [{**waits, "message": "loaded by 2 of 2"}]
        assert woken_by(index, {field: changed}) == [rest[0], "ModelVersion/v2", rest[1]], field
        assert woken_by(index, {field: [*changed, {"version": "v3"}]}) == [rest[0], "ModelVersion/v3", rest[1]], field
        gone = [rest[0], "ModelVersion/v2", "ModelVersion/v3", rest[1]]
        assert woken_by(index, {}) == gone, field


def test_a_moved_pointer_wakes_everything_and_so_does_what_is_not_known_here():
    everything = ["ABTest/ab", "ModelVersion/v1", "ModelVersion/v2", "TrainingJob/tj"]
    index = served("v1", "v2")
    assert woken_by(index, {"embedding": {"active": "v2", "previous": "v1"}}) == everything
    assert (
        woken_by(index, {"embedding": {"active": "v2", "previous": "v1"}, "reranker": {"active": "r1"}}) == everything
    )
    assert woken_by(served("v1", "v2"), {"fieldOfALaterRelease": 1}) == everything
    assert woken_by(served("v1", "v2"), {}, generation=2) == everything
    assert woken_by(served("v1", "v2"), {}, uid="another") == everything
    assert woken_by(served("v1", "v2"), {}, deletionTimestamp="2026-01-01T00:00:00Z") == everything
    assert woken_by(served("v1", "v2"), {}, labels={"a": "b"}) == everything


def test_a_retired_version_is_woken_only_where_it_is_named():
    index = served("v1")
    retired = {"stage": "deprecated", "retirement": {"state": "Retired"}}
    index.own("ModelVersion", body("ModelVersion", "v0", {"retriever": "news"}, retired), deleted=False)
    assert "ModelVersion/v0" not in woken_by(index, {"embedding": {"active": "v2"}})
    refused = {"embedding": {"active": "v2"}, "outcomes": [{"version": "v0", "result": "Refused"}]}
    assert "ModelVersion/v0" in woken_by(index, refused)


def test_a_retriever_that_was_deleted_and_made_again_wakes_everything():
    index = served("v1")
    gone = body("Retriever", "news", None, {"embedding": {"active": "v1"}}, generation=1)
    everything = ["ABTest/ab", "ModelVersion/v1", "Retriever/news", "TrainingJob/tj"]
    assert names(index.own("Retriever", gone, deleted=True)) == everything
    assert names(index.own("Retriever", gone, deleted=False)) == everything


def test_a_version_that_begins_or_ceases_to_be_able_to_serve_wakes_the_others():
    index = served("v1", "v2")

    def version(stage, **status):
        return body("ModelVersion", "v3", {"retriever": "news"}, {"stage": stage, **status})

    alone = ["ABTest/ab", "ModelVersion/v3", "Retriever/news"]
    everyone = ["ABTest/ab", "ModelVersion/v1", "ModelVersion/v2", "ModelVersion/v3", "Retriever/news"]
    for stage, woken in [
        (None, alone),
        ("training", alone),
        ("evaluating", alone),
        ("staged", everyone),
        ("staged", alone),
        ("active", alone),
        ("deprecated", alone),
        ("failed", everyone),
        ("active", everyone),
    ]:
        assert names(index.own("ModelVersion", version(stage), deleted=False)) == woken, stage
    assert (
        names(index.own("ModelVersion", version("active", retirement={"state": "Retiring"}), deleted=False)) == everyone
    )
    assert names(index.own("ModelVersion", version("active"), deleted=False)) == everyone
    assert names(index.own("ModelVersion", version("active"), deleted=True)) == everyone


def test_could_serve_means_the_same_here_as_in_the_decisions():
    for stage in [*VersionStage, None]:
        for more in ({}, {"retirement": {"state": "Retiring", "cause": "old", "at": "2026-01-01T00:00:00Z"}}):
            for meta in ({}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}):
                status = {**({"stage": stage.value} if stage else {}), **more}
                raw = body("ModelVersion", "v", SPECS["ModelVersion"], status, **meta)
                assert reach.could_serve(raw) == retention.could_serve(ModelVersion.model_validate(raw)), raw


def test_every_field_of_the_status_is_sorted_by_whom_it_concerns():
    """A new one is read by everything until somebody has thought about it, and says so here."""
    known = {field.alias or name for name, field in RetrieverStatus.model_fields.items()} | {"summary"}
    assert known == reach.OF_ITSELF | reach.OF_VERSIONS | {"embedding", "reranker"}


def test_a_version_wakes_its_run_and_its_retriever():
    version = body("ModelVersion", "emb-v2", {"retriever": "news", "source": {"trainingJob": "tj"}})
    woken = Neighbours().own("ModelVersion", version, deleted=True)
    assert names(woken) == ["ModelVersion/emb-v2", "Retriever/news", "TrainingJob/tj"]


def test_a_run_wakes_the_version_it_fills():
    run = body("TrainingJob", "tj", {"retriever": "news"}, {"modelVersion": "emb-v2"})
    assert names(Neighbours().own("TrainingJob", run, deleted=False)) == ["ModelVersion/emb-v2", "TrainingJob/tj"]


def test_a_pod_wakes_the_object_its_label_points_to():
    index = Neighbours()
    index.own("TrainingJob", body("TrainingJob", "tj"), deleted=False)
    pod = {"metadata": {"name": "p", "namespace": "team", "labels": {labels.OWNER_UID: "uid-TrainingJob-tj"}}}
    assert names(index.child(pod)) == ["TrainingJob/tj"]


def test_a_job_seen_before_its_owner_wakes_it_by_owner_reference():
    job = {
        "metadata": {
            "name": "j",
            "namespace": "team",
            "labels": {labels.OWNER_UID: "unseen"},
            "ownerReferences": [
                {"apiVersion": kinds.API_VERSION, "kind": "TrainingJob", "name": "tj", "uid": "unseen"}
            ],
        }
    }
    assert names(Neighbours().child(job)) == ["TrainingJob/tj"]


def test_a_child_of_somebody_else_wakes_nobody():
    pod = {
        "metadata": {
            "name": "p",
            "namespace": "team",
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "X", "name": "x"}],
        }
    }
    assert Neighbours().child(pod) == set()


def test_what_was_deleted_is_forgotten():
    index = Neighbours()
    for kind in ("Retriever", "TrainingJob", "ModelVersion"):
        index.own(kind, body(kind, "a", {"retriever": "news"}), deleted=False)
    assert len(index.known()) == 3
    for kind in ("Retriever", "TrainingJob", "ModelVersion"):
        index.own(kind, body(kind, "a", {"retriever": "news"}), deleted=True)
    assert index.known() == []
    assert not index._of_retriever


def test_the_phase_is_the_phase_the_stage_or_whether_a_retriever_is_ready():
    assert phase_of("TrainingJob", body("TrainingJob", "a", None, {"phase": "Training"})) == "Training"
    assert phase_of("ModelVersion", body("ModelVersion", "a", None, {"stage": "active"})) == "active"
    assert phase_of("TrainingJob", body("TrainingJob", "a")) == "Pending"
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert phase_of("Retriever", body("Retriever", "a", None, ready)) == "Ready"


def test_a_training_job_wakes_the_schedule_that_made_it():
    owner = {"apiVersion": kinds.API_VERSION, "kind": "TrainingSchedule", "name": "monthly", "uid": "u"}
    run = body("TrainingJob", "tj", {"retriever": "news"}, {"phase": "Succeeded"}, ownerReferences=[owner])
    assert names(Neighbours().own("TrainingJob", run, deleted=False)) == ["TrainingJob/tj", "TrainingSchedule/monthly"]


def test_a_schedule_wakes_its_retriever_and_the_other_schedules_of_that_and_is_woken_by_it():
    index = Neighbours()
    for name in ("monthly", "news-default-weekly"):
        index.own("TrainingSchedule", body("TrainingSchedule", name, {"retriever": "news"}), deleted=False)
    index.own("TrainingJob", body("TrainingJob", "tj", {"retriever": "news"}), deleted=False)
    gone = index.own("TrainingSchedule", body("TrainingSchedule", "monthly", {"retriever": "news"}), deleted=True)
    assert names(gone) == ["Retriever/news", "TrainingSchedule/monthly", "TrainingSchedule/news-default-weekly"]
    woken = index.own("Retriever", body("Retriever", "news"), deleted=False)
    assert names(woken) == ["Retriever/news", "TrainingJob/tj", "TrainingSchedule/news-default-weekly"]


def test_the_job_of_a_preparation_wakes_its_schedule():
    index = Neighbours()
    index.own("TrainingSchedule", body("TrainingSchedule", "monthly", {"retriever": "news"}), deleted=False)
    job = {"metadata": {"name": "j", "namespace": "team", "labels": {labels.OWNER_UID: "uid-TrainingSchedule-monthly"}}}
    assert names(index.child(job)) == ["TrainingSchedule/monthly"]


def test_the_phase_of_a_schedule_is_whether_it_is_ready_or_suspended():
    def phase(**condition):
        return phase_of("TrainingSchedule", body("TrainingSchedule", "a", None, {"conditions": [condition]}))

    assert phase(type="Ready", status="True", reason="Scheduled") == "Ready"
    assert phase(type="Ready", status="False", reason="Suspended") == "Suspended"
    assert phase(type="Ready", status="False", reason="NoDataSource") == "NotReady"
    assert phase_of("TrainingSchedule", body("TrainingSchedule", "a")) == "Pending"
