"""Creating runs and tests, once whatever is lost on the way; ending tests; and what the API server refuses, in its own words."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from aiohttp import web

from kube_server import KubeServer, refusal
from rest_callers import Caller, bodies

TRAIN, TESTS = "/api/rag/models/train", "/api/rag/models/ab-test"


async def train(caller: Caller, key: str | None = None, **body: Any) -> httpx.Response:
    headers = {"idempotency-key": key} if key else {}
    return await caller.post(TRAIN, json=bodies()[TRAIN] | body, headers=headers)


def runs(server: KubeServer) -> list[str]:
    return [r["metadata"]["name"] for r in server.all("TrainingJob") if not r["metadata"]["name"].startswith("tune-")]


async def test_a_run_is_created_with_the_defaults_of_the_resource_and_the_callers_name(
    ada: Caller, server: KubeServer
) -> None:
    answer = await train(ada, name="mine", hyperparameters={"epochs": 2}, openai=None)
    assert answer.status_code == 202
    assert answer.headers["location"] == f"{TRAIN}/mine?namespace=team"
    assert answer.json() | {"createdAt": ""} == {
        "name": "mine",
        "namespace": "team",
        "retriever": "news",
        "type": "embedding",
        "phase": "Pending",
        "createdAt": "",
    }
    stored = server.get("TrainingJob", "mine")
    assert stored["spec"]["hyperparameters"]["epochs"] == 2
    assert stored["spec"]["hyperparameters"]["batchSize"] == 32
    assert "openai" not in stored["spec"]
    assert stored["metadata"]["annotations"]["attune.dev/requested-by"] == "ada"
    assert (await ada.get(answer.headers["location"])).json()["spec"] == stored["spec"]
    assert "mine" in [one["name"] for one in (await ada.get(TRAIN)).json()["items"]], "lists show it at once"


async def test_without_a_name_one_is_made_from_the_retrievers(ada: Caller, server: KubeServer) -> None:
    assert (await train(ada)).json()["name"].startswith("news-")
    assert (await train(ada)).status_code == 202
    assert len(runs(server)) == 2, "without a key every request is another one"


async def test_the_same_key_and_body_make_one_run_however_often_and_at_once_they_come(
    ada: Caller, server: KubeServer
) -> None:
    answers = await asyncio.gather(*(train(ada, "k-1") for _ in range(8)))
    answers.append(await train(ada, "k-1"))
    assert {a.status_code for a in answers} == {202}
    assert len({a.json()["name"] for a in answers}) == 1
    assert len(runs(server)) == 1
    assert answers[-1].headers["idempotency-replayed"] == "true"
    assert (await train(ada, "k-2")).json()["name"] != answers[0].json()["name"]


async def test_an_answer_that_is_lost_and_a_retry_make_one_run(ada: Caller, server: KubeServer) -> None:
    server.lose = 1
    lost = await train(ada, "k")
    assert (lost.status_code, lost.json()["reason"]) == (503, "ApiServerUnavailable")
    again = await train(ada, "k")
    assert again.headers["idempotency-replayed"] == "true"
    assert runs(server) == [again.json()["name"]]


@pytest.mark.parametrize("change", [{"type": "reranker"}, {"name": "other"}, {"hyperparameters": {"epochs": 9}}])
async def test_the_same_key_with_another_body_is_refused(
    ada: Caller, server: KubeServer, change: dict[str, Any]
) -> None:
    first = await train(ada, "k")
    answer = await train(ada, "k", **change)
    assert (answer.status_code, answer.json()["reason"]) == (422, "IdempotencyKeyReused")
    assert f"TrainingJob {first.json()['name']} with another body" in answer.json()["detail"]
    assert len(runs(server)) == 1


async def test_a_key_is_its_users_own(ada: Caller, noah: Caller, server: KubeServer) -> None:
    server.let("noah", "create", "get", "list", on="trainingjobs")
    assert (await train(ada, "k")).json()["name"] != (await train(noah, "k")).json()["name"]


async def test_a_key_works_for_who_may_only_create(noah: Caller, server: KubeServer) -> None:
    server.let("noah", "create", "get", on="trainingjobs")
    assert (await train(noah, "k")).json()["name"] == (await train(noah, "k")).json()["name"]
    server.grants = [g for g in server.grants if g.verb != "get"]
    again = await train(noah, "k")
    assert (again.status_code, again.json()["reason"]) == (409, "AlreadyExists")


async def test_a_name_that_is_taken_is_409(ada: Caller) -> None:
    for key in (None, "k"):
        answer = await train(ada, key, name="tune-7")
        assert (answer.status_code, answer.json()["reason"]) == (409, "AlreadyExists")
        assert 'trainingjobs.attune.dev "tune-7" already exists' in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"hyperparameters": {"epochs": 0}}, "hyperparameters.epochs", "greater than or equal to 1"),
        ({"hyperparameters": {"epoch": 3}}, "hyperparameters.epoch", "no such field"),
        ({"type": "both"}, "type", "'embedding' or 'reranker'"),
        ({"retriever": None}, "retriever", "string"),
        ({"evalThreshold": 2}, "evalThreshold", "less than or equal to 1"),
        ({"typo": 1}, "typo", "no such field"),
        ({"compute": {"nodes": "many"}}, "compute.nodes", "integer"),
    ],
)
async def test_a_field_that_is_wrong_is_named_as_the_body_names_it(
    ada: Caller, server: KubeServer, body: dict[str, Any], field: str, words: str
) -> None:
    answer = await train(ada, **body)
    problem = answer.json()
    assert (answer.status_code, problem["field"]) == (422, field)
    assert words in problem["errors"][0]["message"]
    assert field in problem["detail"]
    assert runs(server) == []


@pytest.mark.parametrize(
    ("content", "kind", "status", "reason"),
    [
        (b"{", "application/json", 422, "InvalidJson"),
        (b"", "application/json", 422, "Invalid"),
        (b"[]", "application/json", 422, "Invalid"),
        (b'"text"', "application/json; charset=utf-8", 422, "Invalid"),
        (b"{}", "text/plain", 415, "NoJson"),
        (b"{}", "", 415, "NoJson"),
        (b'{"retriever": "' + b"x" * 300_000 + b'"}', "application/json", 413, "TooLarge"),
        (b"\xff\xfe", "application/json", 422, "InvalidJson"),
    ],
)
async def test_a_body_that_is_none(ada: Caller, content: bytes, kind: str, status: int, reason: str) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = await ada.post(TRAIN, content=content, headers=headers)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason), answer.text


async def test_a_body_without_a_length_is_cut_off_where_it_is_too_long(ada: Caller) -> None:
    async def endless() -> Any:
        for _ in range(1000):
            yield b" " * 1000

    answer = await ada.post(TRAIN, content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


WEBHOOK = 'admission webhook "policy.team" denied the request: no training on Fridays'
CEL = "loss bce does not fit type embedding"
QUOTA = "trainingjobs is forbidden: exceeded quota: runs"
ENDING = "unable to create new content in namespace team because it is being terminated"


@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ((403, "Forbidden", WEBHOOK), 422, "AdmissionRefused"),
        ((422, "Invalid", CEL, [{"field": "spec.hyperparameters.loss", "message": CEL}]), 422, "Invalid"),
        ((403, "Forbidden", QUOTA), 409, "QuotaExceeded"),
        ((403, "Forbidden", ENDING), 409, "NamespaceTerminating"),
        ((404, "NotFound", 'namespaces "team" not found'), 404, "NotFound"),
        ((409, "Conflict", "the object has been modified"), 409, "Conflict"),
        ((413, "RequestEntityTooLarge", "limit is 3145728"), 413, "TooLarge"),
        ((429, "TooManyRequests", "try later"), 503, "ApiServerUnavailable"),
        ((500, "InternalError", "etcd is not well"), 503, "ApiServerUnavailable"),
        ((405, "MethodNotAllowed", "not supported on this resource"), 422, "Invalid"),
    ],
)
async def test_what_the_api_server_refuses_is_told_in_its_own_words(
    ada: Caller, server: KubeServer, said: tuple[Any, ...], status: int, reason: str
) -> None:
    def no(request: web.Request) -> web.Response | None:
        return refusal(*said) if request.method == "POST" and "review" not in request.path else None

    server.faults.extend([no] * 6)
    answer = await train(ada)
    problem = answer.json()
    assert (answer.status_code, problem["reason"]) == (status, reason)
    assert said[2] in problem["detail"]
    assert problem.get("field") == ("hyperparameters.loss" if said[2] == CEL else None)


# ---- tests


async def test_a_test_is_created_once_and_cancelled_once(ada: Caller, server: KubeServer) -> None:
    headers = {"idempotency-key": "k"}
    made = [await ada.post(TESTS, json=bodies()[TESTS], headers=headers) for _ in range(2)]
    assert {m.status_code for m in made} == {202}
    name = made[0].json()["name"]
    assert made[1].json()["name"] == name
    assert server.get("ABTest", name)["spec"]["analysis"]["method"] == "sequential"
    ended = [await ada.delete(f"{TESTS}/{name}") for _ in range(2)]
    assert {e.status_code for e in ended} == {202}
    assert server.get("ABTest", name)["spec"]["cancel"] is True
    assert "before" in ended[1].json()["message"]


async def test_a_test_that_has_ended_cannot_be_cancelled(ada: Caller, server: KubeServer) -> None:
    answer = await ada.delete(f"{TESTS}/news-v3")
    assert (answer.status_code, answer.json()["reason"]) == (409, "Finished")
    assert "news-v3 has ended already (Concluded, winner B" in answer.json()["detail"]
    assert "cancel" not in server.get("ABTest", "news-v3")["spec"]


async def test_a_running_test_is_cancelled_by_its_own_field_manager(ada: Caller, server: KubeServer) -> None:
    assert (await ada.delete(f"{TESTS}/news-v6")).json()["phase"] == "Running"
    stored = server.get("ABTest", "news-v6")
    assert stored["metadata"]["managedFields"] == [{"manager": "attune-api"}]
    assert stored["metadata"]["annotations"] == {"attune.dev/requested-by": "ada"}


async def test_a_run_is_cancelled_while_it_is_not_over(ada: Caller, server: KubeServer) -> None:
    assert (await ada.delete(f"{TRAIN}/tune-7")).status_code == 202
    assert (await ada.get(f"{TRAIN}/tune-7")).status_code == 404
    over = await ada.delete(f"{TRAIN}/tune-6")
    assert (over.status_code, over.json()["reason"]) == (409, "Finished")
    assert server.get("TrainingJob", "tune-6")
