"""The REST API on the real control plane: what it writes is what kubectl would have written, and CRD rules refuse in their own words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import yaml
from httpx_sse import connect_sse

from api_objects import manifest
from devcluster import Cluster
from malformed_runs import TRAINING_JOBS
from recording_proxy import RecordingProxy
from rest_process import USE, RestProcess, RestWorld

pytestmark = pytest.mark.cluster
TRAIN, TESTS = "/api/rag/models/train", "/api/rag/models/ab-test"
BODY = {"retriever": "news", "type": "embedding"}


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestWorld]:
    made = RestWorld(cluster, tmp_path_factory.mktemp("rest-writes"), ATTUNE_API_HEARTBEAT_SECONDS="1")
    yield made
    made.close()


@pytest.fixture(scope="module")
def ada(world: RestWorld) -> Iterator[httpx.Client]:
    with world.client(world.user("ada", USE)) as client:
        yield client


def test_the_same_key_makes_one_training_job_also_at_the_same_time(world: RestWorld, ada: httpx.Client) -> None:
    headers = {"idempotency-key": "key-1"}
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: ada.post(TRAIN, json=BODY, headers=headers), range(6)))
    assert {a.status_code for a in answers} == {202}, answers[0].text
    (name,) = {a.json()["name"] for a in answers}
    stored = world.get("tj", name)
    made = world.cluster.get("tj", "-n", world.namespace, "-l", "attune.dev/idempotency-key")["items"]
    assert [t["metadata"]["name"] for t in made] == [name]
    assert stored["spec"]["hyperparameters"]["epochs"] == 3, "the CRD's defaults"
    assert (
        stored["metadata"]["annotations"]["attune.dev/requested-by"] == f"system:serviceaccount:{world.namespace}:ada"
    )
    other = ada.post(TRAIN, json={**BODY, "type": "reranker"}, headers=headers)
    assert (other.status_code, other.json()["reason"]) == (422, "IdempotencyKeyReused")


@pytest.mark.parametrize("row", TRAINING_JOBS, ids=lambda row: row.name)
def test_what_kubectl_would_refuse_is_422_with_the_field_and_the_rules_own_words(
    world: RestWorld, ada: httpx.Client, row: Any
) -> None:
    answer = ada.post(TRAIN, json=manifest("TrainingJob", row.change)["spec"])
    problem = answer.json()
    assert answer.status_code == 422, answer.text
    last = row.field.rsplit(".", 1)[-1].partition("[")[0]
    assert any(last in error["field"] for error in problem["errors"]), (row.field, problem)


def test_an_unknown_field_is_refused_as_kubectl_refuses_it(ada: httpx.Client) -> None:
    answer = ada.post(TRAIN, json={**BODY, "hyperparameters": {"epoch": 3}})
    assert (answer.status_code, answer.json()["field"]) == (422, "hyperparameters.epoch")


def test_promotion_sets_one_field_by_an_own_field_manager(world: RestWorld, ada: httpx.Client) -> None:
    answer = ada.post("/api/rag/models/emb-v6/promote")
    assert answer.status_code == 202, answer.text
    stored = world.cluster.get("mv", "emb-v6", "-n", world.namespace, "--show-managed-fields")
    assert stored["spec"]["promotion"] == {"requestID": answer.json()["requestID"]}
    mine = [m["fieldsV1"] for m in stored["metadata"]["managedFields"] if m["manager"] == "attune-api"]
    assert mine[0]["f:spec"] == {"f:promotion": {".": {}, "f:requestID": {}}}


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("POST", "/api/rag/models/emb-v4/promote", 409, "NotStaged"),
        ("POST", "/api/rag/models/emb-v3/promote", 409, "AlreadyActive"),
        ("POST", "/api/rag/models/emb-v5/promote", 409, "Quarantined"),
        ("POST", "/api/rag/models/emb-v1/rollback", 410, "ArtifactDeleted"),
        ("POST", "/api/rag/models/emb-v99/rollback", 404, "NotFound"),
        ("DELETE", f"{TESTS}/news-v3", 409, "Finished"),
        ("DELETE", f"{TESTS}/nothing", 404, "NotFound"),
        ("DELETE", f"{TRAIN}/tune-6", 409, "Finished"),
    ],
)
def test_what_cannot_be_done_is_refused_with_the_reason(
    ada: httpx.Client, method: str, path: str, status: int, reason: str
) -> None:
    answer = ada.request(method, path)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text


def test_a_test_is_created_and_cancelled(world: RestWorld, ada: httpx.Client) -> None:
    metrics = [{"name": "clicks", "role": "primary"}]
    made = ada.post(TESTS, json={"name": "mine", "retriever": "news", "modelB": "emb-v6", "metrics": metrics})
    assert made.status_code == 202, made.text
    twice = ada.post(TESTS, json={"name": "mine", "retriever": "news", "modelB": "emb-v6", "metrics": metrics})
    assert (twice.status_code, twice.json()["reason"]) == (409, "AlreadyExists")
    bad = ada.post(TESTS, json={"retriever": "news", "modelB": "emb-v6", "metrics": [{"name": "clicks"}]})
    assert bad.status_code == 422
    assert "exactly one metric must have role primary" in bad.json()["detail"]
    assert ada.delete(f"{TESTS}/mine").status_code == 202
    assert world.get("abt", "mine")["spec"]["cancel"] is True


def test_events_follow_what_the_operator_writes(world: RestWorld, ada: httpx.Client) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []
    began = threading.Event()

    def follow() -> None:
        with connect_sse(ada, "GET", "/api/rag/models/emb-v7/events") as source:
            for event in source.iter_sse():
                if event.data:
                    seen.append((event.event, json.loads(event.data)))
                    began.set()

    following = threading.Thread(target=follow)
    following.start()
    assert began.wait(10)
    world.status("TrainingJob", "tune-7", progress={"stage": "train", "percent": 77.0})
    world.status("ModelVersion", "emb-v7", stage="evaluating")
    world.status("ModelVersion", "emb-v7", stage="failed", notes="0.58 < 0.60")
    following.join(20)
    assert not following.is_alive()
    assert seen[0][1]["stage"] == "training"
    assert any((state.get("progress") or {}).get("percent") == 77.0 for _, state in seen)
    assert seen[-1][0] == "end"
    assert seen[-1][1]["message"] == "0.58 < 0.60"


def test_many_versions_are_listed_once_each_while_they_change(world: RestWorld, ada: httpx.Client) -> None:
    names, cursor = [], None
    while True:
        answer = ada.get("/api/rag/models", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        names += [v["name"] for v in answer["items"]]
        cursor = answer.get("nextCursor")
        if cursor is None:
            break
    assert len(names) == len(set(names)) == 8


def test_an_api_server_that_is_away_is_503(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    known = yaml.safe_load(cluster.kubeconfig.read_text())
    place = known["clusters"][0]["cluster"]
    proxy = RecordingProxy(place["server"], place["certificate-authority"]).start()
    folder = tmp_path_factory.mktemp("rest-away")
    known["clusters"][0]["cluster"] = {"server": proxy.url}
    (folder / "kubeconfig").write_text(yaml.safe_dump(known))
    process = RestProcess(folder / "kubeconfig", "default", folder, ATTUNE_API_REVIEW_SECONDS="0").start()
    token = known["users"][0]["user"]["token"]
    headers = {"authorization": f"Bearer {token}"}
    try:
        assert httpx.get(f"{process.url}/api/rag/models", headers=headers, trust_env=False).status_code == 200
        proxy.stop()
        away = httpx.get(f"{process.url}/api/rag/models", headers=headers, trust_env=False, timeout=30)
        assert away.status_code == 503
        assert away.json()["reason"] == "ApiServerUnavailable"
        assert int(away.headers["retry-after"]) >= 1
        assert process.stop() == 0
    finally:
        process.kill()
