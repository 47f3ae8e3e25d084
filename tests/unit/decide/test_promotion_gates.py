"""Each gate of a promotion, alone, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from attune.contract import ModelType
from attune.decide.promotion import AUTO, REFUSALS, WAITS, Request, next_request, problem_of, unanswered, wait_of
from versions import a_replica, a_request, a_retriever, a_version, seen

V1 = a_version(1, "active")
READY = a_replica(emb_v2="Ready")


def taken_back(**status: Any) -> Any:
    condition = {
        "type": "RolledBack",
        "status": "True",
        "reason": "RolledBack",
        "message": "errors",
        "lastTransitionTime": "2026-03-15T12:00:00Z",
    }
    return a_version(2, "failed", conditions=[condition], **status)


def failed_index(**more: Any) -> Any:
    run = {"run": 1, "finishedAt": "2026-03-15T12:00:00Z", "reason": "DiskFull", "message": "no room left", **more}
    return a_version(2, index=None, indexing=run)


@pytest.mark.parametrize(
    ("request_", "reason", "words"),
    [
        (a_request(a_version(2, "training"), V1), "NotStaged", "emb-v2 is training"),
        (a_request(a_version(2, "failed", notes="BelowThreshold: 0.2"), V1), "NotStaged", "BelowThreshold: 0.2"),
        (a_request(a_version(2, artifact=None), V1), "NotStaged", "only a staged version"),
        (
            a_request(a_version(2, retirement={"state": "Retiring", "cause": "old", "at": "2026-03-15T12:00:00Z"}), V1),
            "ArtifactDeleted",
            "promote one of: emb-v1",
        ),
        (a_request(a_version(2, embeddingSpace="another"), V1), "SpaceMismatch", "needs an index of its own"),
        (a_request(failed_index(), V1), "IndexIncomplete", "DiskFull: no room left"),
        (
            a_request(a_version(2), V1, a_replica(emb_v2="Failed:ArtifactCorrupt")),
            "ArtifactCorrupt",
            "pod-0 cannot serve",
        ),
        (a_request(a_version(2), V1, a_replica(emb_v2="Failed:DimensionMismatch")), "DimensionMismatch", "pod-0"),
        (a_request(taken_back(), V1, READY, request_id=AUTO), "Quarantined", "only a request of somebody"),
        (a_request(a_version(2), a_version(3, "active"), request_id=AUTO), "Superseded", "emb-v3 is newer"),
    ],
)
def test_a_gate_that_is_closed_says_its_reason_and_the_way_out(request_: Request, reason: str, words: str) -> None:
    problem = problem_of(request_)
    assert problem is not None
    assert problem.reason == reason
    assert words in problem.message


@pytest.mark.parametrize("gate", REFUSALS, ids=lambda gate: gate.__name__)
def test_every_gate_is_open_for_a_staged_version_with_its_collection(gate: Any) -> None:
    assert gate(a_request(a_version(2), V1, READY)) is None


@pytest.mark.parametrize(
    "request_",
    [
        a_request(taken_back(), V1, READY),
        a_request(a_version(2), V1, a_replica(emb_v2="Failed:StoreUnavailable")),
        a_request(failed_index(reason=None), V1),
        a_request(a_version(2, "deprecated"), V1),
        a_request(a_version(2, index=None), V1, data=None),
    ],
    ids=["by request after a rollback", "store away", "index running again", "older, kept", "no archive"],
)
def test_what_passes_by_itself_or_was_asked_for_refuses_nothing(request_: Request) -> None:
    assert problem_of(request_) is None


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (a_request(a_version(2, index=None), V1, READY), "its index is being built"),
        (
            a_request(
                a_version(2, index=None, indexing={"run": 1, "progress": {"stage": "index", "percent": 41.7}}), V1
            ),
            "its index is being built, 42%",
        ),
        (a_request(a_version(2), V1), "there is no serving Pod yet"),
        (a_request(a_version(2), V1, a_replica(emb_v2="Loading")), "1 of 1 replicas: pod-0 is Loading"),
        (a_request(a_version(2), V1, READY, a_replica("pod-1")), "1 of 2 replicas: pod-1 has not heard of it yet"),
        (
            a_request(a_version(2), V1, a_replica(emb_v2="Failed:StoreUnavailable")),
            "pod-0 is Failed (StoreUnavailable: because of Failed:StoreUnavailable)",
        ),
        (
            a_request(a_version(2, artifact={"uri": "pvc://x", "digest": "sha256:other"}), V1, READY),
            "1 of 1 replicas",
        ),
    ],
)
def test_what_is_waited_for_is_said(request_: Request, words: str) -> None:
    waiting = wait_of(request_)
    assert waiting is not None
    assert words in waiting


@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.__name__)
def test_a_version_that_every_replica_has_ready_waits_for_nothing(wait: Any) -> None:
    assert wait(a_request(a_version(2), V1, READY)) is None


def test_a_rollback_waits_for_no_replica() -> None:
    assert wait_of(a_request(a_version(1, "deprecated"), a_version(2, "active"), a_replica("pod-1"))) is None


def test_a_replica_with_another_collection_is_not_ready() -> None:
    moved = a_version(2).status.index
    assert moved is not None
    version = a_version(2, index={**moved.model_dump(by_alias=True, exclude_none=True), "collection": "news_new"})
    assert wait_of(a_request(version, V1, READY)) is not None


def test_a_rollback_comes_before_what_is_under_way_and_that_before_others() -> None:
    candidate = {"type": "embedding", "version": "emb-v4", "requestID": "r4", "since": "2026-03-15T12:00:00Z"}
    status = {"embedding": {"active": "emb-v2"}, "candidates": [candidate]}
    versions = [
        a_version(1, "deprecated", "back"),
        a_version(2, "active"),
        a_version(3, request="r3"),
        a_version(4, request="r4"),
    ]
    first = next_request(seen(a_retriever(status), *versions), ModelType.EMBEDDING)
    second = next_request(seen(a_retriever(status), *versions[1:]), ModelType.EMBEDDING)
    third = next_request(seen(a_retriever({**status, "candidates": None}), *versions[1:]), ModelType.EMBEDDING)
    assert [r.name for r in (first, second, third) if r] == ["emb-v1", "emb-v4", "emb-v3"]


def test_a_request_is_answered_by_the_version_or_by_the_retriever() -> None:
    version = a_version(2, request="r1")
    outcome = {"version": "emb-v2", "requestID": "r1", "result": "Promoted", "at": "2026-03-15T12:00:00Z"}
    assert unanswered(version, a_retriever().status) == "r1"
    assert unanswered(version, a_retriever({"outcomes": [outcome]}).status) is None
    assert unanswered(a_version(2, request="r1", promotion={"handledRequestID": "r1"}), a_retriever().status) is None
    assert unanswered(a_version(2, request="r2", promotion={"handledRequestID": "r1"}), a_retriever().status) == "r2"
    before = {"handledRequestID": "r2", "earlierRequestIDs": ["r0", "r1"]}
    assert unanswered(a_version(2, request="r1", promotion=before), a_retriever().status) is None
    assert unanswered(a_version(2, promotion={"auto": True}), a_retriever().status) == AUTO
