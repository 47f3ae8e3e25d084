"""Promote and roll back: what is stored, what is refused and why, and that a retry asks for the same."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from kube_server import KubeServer
from rest_callers import Caller


async def move(caller: Caller, what: str, version: str, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {"idempotency-key": key} if key else {}
    return await caller.post(f"/api/rag/models/{version}/{what}", json=body or None, headers=headers)


def request_of(server: KubeServer, version: str) -> str | None:
    found: str | None = (server.get("ModelVersion", version)["spec"].get("promotion") or {}).get("requestID")
    return found


async def test_promotion_is_a_request_id_by_an_own_field_manager_and_nothing_else(
    ada: Caller, server: KubeServer
) -> None:
    before = server.get("ModelVersion", "emb-v6")
    answer = await move(ada, "promote", "emb-v6")
    asked = answer.json()
    assert answer.status_code == 202
    assert (asked["version"], asked["before"], asked["result"]) == ("emb-v6", "emb-v3", "Asked")
    after = server.get("ModelVersion", "emb-v6")
    assert after["spec"] == before["spec"] | {"promotion": {"requestID": asked["requestID"]}}
    assert after["status"] == before["status"]
    assert after["metadata"]["managedFields"] == [{"manager": "attune-api"}]
    assert after["metadata"]["annotations"] == {"attune.dev/requested-by": "ada"}


@pytest.mark.parametrize(
    ("what", "version", "status", "reason", "words"),
    [
        ("promote", "emb-v3", 409, "AlreadyActive", "emb-v3 is active already"),
        ("promote", "emb-v4", 409, "NotStaged", "emb-v4 is failed: nDCG@10 0.58 < 0.60"),
        ("promote", "emb-v7", 409, "NotStaged", "emb-v7 is training"),
        ("promote", "emb-v1", 409, "ArtifactDeleted", "its files are deleted"),
        ("promote", "emb-v2", 409, "OlderThanActive", "so this is a rollback: POST /api/rag/models/emb-v2/rollback"),
        ("promote", "emb-v5", 409, "Quarantined", "was taken back: ErrorRate: 4.2% of 310"),
        ("promote", "emb-v9", 404, "NotFound", "there is no ModelVersion 'emb-v9' in namespace 'team'"),
        ("rollback", "emb-v9", 404, "NotFound", "there is no ModelVersion 'emb-v9'"),
        ("rollback", "emb-v1", 410, "ArtifactDeleted", "its files are deleted"),
        ("rollback", "emb-v3", 409, "AlreadyActive", "is active already"),
        ("rollback", "emb-v6", 409, "NewerThanActive", "so this is no rollback: POST /api/rag/models/emb-v6/promote"),
        ("rollback", "emb-v5", 409, "Quarantined", '"force": true'),
    ],
)
async def test_what_cannot_be_is_refused_at_once_with_the_reason(
    ada: Caller, server: KubeServer, what: str, version: str, status: int, reason: str, words: str
) -> None:
    answer = await move(ada, what, version)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert words in answer.json()["detail"]
    assert not [p for m, p in server.requests if m == "PATCH"]


async def test_a_rollback_goes_to_any_kept_version(ada: Caller, server: KubeServer) -> None:
    answer = await move(ada, "rollback", "emb-v2")
    assert answer.status_code == 202
    assert request_of(server, "emb-v2") == answer.json()["requestID"]


async def test_force_asks_for_the_other_way_round_and_for_what_was_taken_back(ada: Caller, server: KubeServer) -> None:
    assert (await move(ada, "promote", "emb-v2", force=True)).status_code == 202
    still = await move(ada, "promote", "emb-v4", force=True)
    assert still.json()["reason"] == "NotStaged", "no force makes a failed version serve"
    taken_back = server.get("ModelVersion", "emb-v5")
    conditions = [
        {
            "type": "RolledBack",
            "status": "True",
            "reason": "ErrorRate",
            "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }
    ]
    server.put({**taken_back, "status": {**taken_back["status"], "conditions": conditions}})
    assert (await move(ada, "promote", "emb-v5", force=True)).status_code == 202


async def test_an_index_that_failed_and_a_foreign_space_refuse_as_the_operator_would(
    ada: Caller, server: KubeServer
) -> None:
    version = server.get("ModelVersion", "emb-v6")
    index = {**version["status"]["index"], "embeddingSpace": "sha256:" + "f" * 64}
    server.status("ModelVersion", "emb-v6", index=index)
    assert (await move(ada, "promote", "emb-v6")).json()["reason"] == "SpaceMismatch"
    run = {"run": 1, "finishedAt": "2026-01-01T00:00:00Z", "reason": "StoreUnavailable", "message": "down"}
    server.status("ModelVersion", "emb-v6", index=None, indexing=run)
    assert (await move(ada, "promote", "emb-v6")).json()["reason"] == "IndexIncomplete"


async def test_the_same_key_asks_once_and_tells_what_became_of_it(ada: Caller, server: KubeServer) -> None:
    first = await move(ada, "promote", "emb-v6", "k")
    request = first.json()["requestID"]
    again = await move(ada, "promote", "emb-v6", "k")
    assert (again.status_code, again.json()["requestID"], again.json()["result"]) == (202, request, "Pending")
    server.status(
        "ModelVersion", "emb-v6", promotion={"handledRequestID": request, "result": "Refused", "message": "why"}
    )
    over = await move(ada, "promote", "emb-v6", "k")
    assert (over.status_code, over.json()["result"], over.json()["message"]) == (202, "Refused", "why")
    assert len([m for m, _ in server.requests if m == "PATCH"]) == 1


@pytest.mark.parametrize(("what", "version"), [("promote", "emb-v2"), ("rollback", "emb-v2"), ("rollback", "emb-v6")])
async def test_a_key_stands_for_one_version_and_one_direction(
    ada: Caller, server: KubeServer, what: str, version: str
) -> None:
    await move(ada, "promote", "emb-v6", "k")
    answer = await move(ada, what, version, "k", force=True)
    assert (answer.status_code, answer.json()["reason"]) == (422, "IdempotencyKeyReused")


async def test_a_request_that_waits_is_not_replaced_by_a_second_click(ada: Caller, server: KubeServer) -> None:
    first = (await move(ada, "promote", "emb-v6")).json()
    second = (await move(ada, "promote", "emb-v6")).json()
    assert (second["requestID"], second["result"]) == (first["requestID"], "Pending")


async def test_a_request_id_of_the_callers_own_asks_once(ada: Caller, server: KubeServer) -> None:
    assert (await move(ada, "promote", "emb-v6", requestID="mine")).json()["requestID"] == "mine"
    promotion = {"handledRequestID": "later", "earlierRequestIDs": ["mine"], "result": "Promoted"}
    server.status("ModelVersion", "emb-v6", promotion=promotion)
    answer = await move(ada, "promote", "emb-v6", requestID="mine")
    assert (answer.status_code, answer.json()["reason"]) == (409, "AnsweredAlready")


async def test_a_version_without_its_retriever_cannot_move(ada: Caller, server: KubeServer) -> None:
    server.remove("Retriever", "news")
    answer = await move(ada, "promote", "emb-v6")
    assert (answer.status_code, answer.json()["reason"]) == (409, "NoRetriever")


async def test_a_version_that_was_deleted_and_made_anew_meanwhile_is_another_one(
    ada: Caller, server: KubeServer
) -> None:
    made_anew = server.get("ModelVersion", "emb-v6")

    def swap(request: Any) -> None:
        if request.method == "PATCH":
            server.remove("ModelVersion", "emb-v6")
            del made_anew["metadata"]["uid"]
            server.put(made_anew)

    server.faults.extend([swap] * 40)
    answer = await move(ada, "promote", "emb-v6")
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert request_of(server, "emb-v6") is None


async def test_a_body_that_is_wrong(ada: Caller) -> None:
    assert (await move(ada, "promote", "emb-v6", force="perhaps")).json()["field"] == "force"
    assert (await move(ada, "promote", "emb-v6", requestID="x" * 200)).json()["field"] == "requestID"
