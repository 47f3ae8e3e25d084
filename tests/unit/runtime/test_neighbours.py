"""Which objects an event wakes."""

from attune.api import kinds, labels
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
