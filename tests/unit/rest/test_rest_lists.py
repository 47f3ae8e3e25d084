"""Lists: filters, pages that neither repeat nor miss, ETags, and that they are what the API server has."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from aiohttp import web

from attune.cluster.connect import Connection
from attune.cluster.transport import Transport
from attune.rest.app import Api, build
from kube_server import KubeServer, refusal
from rest_callers import Caller
from rest_world import a_run, a_version, an_object, api_over, settings

MODELS = "/api/rag/models"


async def names(caller: Caller, path: str = MODELS, **query: Any) -> list[str]:
    answer = await caller.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return [one["name"] for one in answer.json()["items"]]


async def soon(check: Any) -> None:
    """Until a watch has brought it."""
    async with asyncio.timeout(5):
        while not await check():  # noqa: ASYNC110  a watch brings it
            await asyncio.sleep(0.01)


async def test_versions_come_newest_first_and_are_filtered_by_retriever_type_and_stages(vera: Caller) -> None:
    assert await names(vera) == ["emb-v7", "emb-v6", "emb-v5", "emb-v4", "emb-v3", "emb-v2", "emb-v1", "rer-v1"]
    assert await names(vera, type="reranker") == ["rer-v1"]
    assert await names(vera, stage=["staged", "active"]) == ["emb-v6", "emb-v3", "rer-v1"]
    assert await names(vera, stage="active", type="embedding", retriever="news") == ["emb-v3"]
    assert await names(vera, retriever="sports") == []


async def test_runs_and_tests_are_filtered_by_phase(vera: Caller) -> None:
    assert await names(vera, f"{MODELS}/train", phase=["Training", "Pending"]) == ["tune-8", "tune-7"]
    assert await names(vera, f"{MODELS}/ab-test", phase="Running") == ["news-v6"]
    assert await names(vera, "/api/rag/schedules", retriever="news") == ["monthly"]


async def test_pages_give_everything_once_whatever_is_created_and_deleted_meanwhile(
    vera: Caller, server: KubeServer
) -> None:
    for number in range(100, 157):
        thing = a_version(number, "deprecated", 50)
        thing["metadata"]["creationTimestamp"] = f"2026-01-01T00:00:{number % 7:02}Z"  # many of one second
        server.put(thing)
    await soon(lambda: has(vera, 65))
    whole, seen, cursor = await names(vera, limit=1000), [], None
    while True:
        answer = (await vera.get(MODELS, params={"limit": 9} | ({"cursor": cursor} if cursor else {}))).json()
        assert len(answer["items"]) <= 9
        seen += [one["name"] for one in answer["items"]]
        server.put(a_version(200 + len(seen), "training", 0))
        if len(seen) == 18:
            server.remove("ModelVersion", seen[17])
        await asyncio.sleep(0.02)
        cursor = answer.get("nextCursor")
        if cursor is None:
            break
    assert seen == whole


async def has(caller: Caller, count: int) -> bool:
    return len(await names(caller, limit=1000)) == count


@pytest.mark.parametrize(
    ("query", "reason", "field"),
    [
        ({"cursor": "nonsense!"}, "BadCursor", "cursor"),
        ({"cursor": base64.urlsafe_b64encode(b"[1]").decode()}, "BadCursor", "cursor"),
        (
            {"cursor": base64.urlsafe_b64encode(json.dumps(["x", "y", "z"]).encode()).decode()},
            "CursorOfAnotherList",
            "cursor",
        ),
        ({"limit": "0"}, "Invalid", "limit"),
        ({"limit": "1001"}, "Invalid", "limit"),
        ({"limit": "many"}, "Invalid", "limit"),
        ({"stage": "great"}, "Invalid", "stage.0"),
        ({"type": "both"}, "Invalid", "type"),
    ],
)
async def test_a_parameter_that_is_wrong_is_named(vera: Caller, query: dict[str, str], reason: str, field: str) -> None:
    answer = await vera.get(MODELS, params=query)
    problem = answer.json()
    assert (answer.status_code, problem["reason"], problem["field"]) == (422, reason, field)


async def test_a_cursor_belongs_to_its_filters(vera: Caller) -> None:
    cursor = (await vera.get(MODELS, params={"limit": 2})).json()["nextCursor"]
    assert (await vera.get(MODELS, params={"limit": 3, "cursor": cursor})).status_code == 200
    refused = await vera.get(MODELS, params={"limit": 2, "cursor": cursor, "stage": "active"})
    assert refused.json()["reason"] == "CursorOfAnotherList"


async def test_a_page_that_has_not_changed_is_not_sent_again(vera: Caller, server: KubeServer) -> None:
    first = await vera.get(MODELS)
    again = await vera.get(MODELS, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    server.status("ModelVersion", "emb-v6", notes="something")

    async def changed() -> bool:
        return (await vera.get(MODELS, headers={"if-none-match": first.headers["etag"]})).status_code == 200

    await soon(changed)


async def test_one_object_has_an_etag_too(vera: Caller, server: KubeServer) -> None:
    for path in (f"{MODELS}/emb-v6", f"{MODELS}/train/tune-6", f"{MODELS}/ab-test/news-v6", "/api/rag/retrievers/news"):
        etag = (await vera.get(path)).headers["etag"]
        assert (await vera.get(path, headers={"if-none-match": f'W/{etag}, "x"'})).status_code == 304


async def test_what_changes_or_goes_is_soon_in_the_list(vera: Caller, server: KubeServer) -> None:
    server.remove("ModelVersion", "emb-v4")
    server.put(a_run("tune-9", "Pending", 0))

    async def both() -> bool:
        return "emb-v4" not in await names(vera) and "tune-9" in await names(vera, f"{MODELS}/train")

    await soon(both)
    assert "emb-v3" in await names(vera), "and nothing else went"


async def test_watches_that_end_or_are_too_old_lose_nothing(vera: Caller, server: KubeServer) -> None:
    server.drop_watches()
    server.put(a_run("while-away", "Pending", 0))
    await soon(lambda: contains(vera, "while-away"))
    server.forget_log()
    server.drop_watches()
    server.remove("TrainingJob", "while-away")
    server.put(a_run("later", "Pending", 0))
    await soon(lambda: contains(vera, "later"))
    assert not await contains(vera, "while-away")


async def contains(caller: Caller, name: str) -> bool:
    return name in await names(caller, f"{MODELS}/train")


async def test_large_collections_are_read_page_by_page(server: KubeServer) -> None:
    server.page = 3
    async with api_over(server) as api, Caller(api.app, "viewer-token") as vera:
        assert len(await names(vera)) == 8


async def test_a_collection_that_expires_between_two_pages_is_read_anew(server: KubeServer) -> None:
    server.page, expired = 3, 0

    def too_old(request: web.Request) -> web.Response | None:
        nonlocal expired
        if "continue" in request.query and expired < 2:
            expired += 1
            return refusal(410, "Expired", "The provided continue parameter is too old")
        return None

    server.faults.extend([too_old] * 60)
    async with api_over(server) as api, Caller(api.app, "viewer-token") as vera:
        assert expired == 2
        server.faults.clear()
        assert len(await names(vera)) == 8


async def test_a_list_that_cannot_be_fresh_is_503(server: KubeServer) -> None:
    given = {"ATTUNE_API_STALE_SECONDS": "0.1", "ATTUNE_API_REVIEW_SECONDS": "60"}
    async with api_over(server, **given) as api, Caller(api.app, "viewer-token") as vera:
        assert await names(vera)
        server.broken = 503
        server.drop_watches()

        async def stale() -> bool:
            answer = await vera.get(MODELS)
            return answer.status_code == 503 and answer.json()["reason"] == "Stale"

        await soon(stale)
        server.broken = 0

        async def back() -> bool:
            return (await vera.get(MODELS)).status_code == 200

        await soon(back)


async def test_before_everything_was_read_lists_are_503_and_readyz_says_what_is_missing(server: KubeServer) -> None:
    server.broken = 503
    transport = Transport(Connection(server.url))
    api = build(transport, settings(ATTUNE_API_REVIEW_SECONDS="60"))
    async with api.app.router.lifespan_context(api.app), Caller(api.app, "viewer-token") as vera:
        ready = await vera.get("/readyz")
        assert (ready.status_code, ready.text.startswith("not read yet: retrievers")) == (503, True)
        assert (await vera.get("/healthz")).status_code == 200
    await transport.close()


async def test_an_object_that_another_version_stored_does_not_break_the_list(vera: Caller, server: KubeServer) -> None:
    server.put(an_object("ModelVersion", "odd", 0, {"unheard": "of"}))
    server.put(a_version(90, "staged", 0))
    await soon(lambda: among(vera, "emb-v90"))
    assert "odd" not in await names(vera)


async def among(caller: Caller, name: str) -> bool:
    return name in await names(caller)


async def test_a_retriever_is_told_as_far_as_its_parts_may_be_listed(noah: Caller, server: KubeServer) -> None:
    server.let("noah", "get", "list", on="retrievers")
    view = (await noah.get("/api/rag/retrievers/news")).json()
    assert view["hidden"] == ["modelversions", "trainingjobs", "abtests", "trainingschedules"]
    assert view["models"]["embedding"]["active"] == "emb-v3"
    assert "metrics" not in view["models"]["embedding"]
    assert not {"training", "tests"} & set(view)
    listed = (await noah.get("/api/rag/retrievers")).json()["items"]
    assert listed == [view]


async def test_a_retriever_is_told_whole_to_who_may_list_everything(vera: Caller) -> None:
    view = (await vera.get("/api/rag/retrievers/news")).json()
    assert view["hidden"] == []
    assert view["models"]["embedding"]["staged"] == ["emb-v6"]
    assert [run["name"] for run in view["training"]] == ["tune-8", "tune-7"]
    assert [test["name"] for test in view["tests"]] == ["news-v6"]
    assert view["problems"][0]["reason"] == "ErrorRate"


async def test_unknown_objects_are_404_and_unknown_paths_and_methods_say_so(ada: Caller, api: Api) -> None:
    for path in ("models/nothing", "models/train/nothing", "models/ab-test/nothing", "retrievers/nothing"):
        answer = await ada.get(f"/api/rag/{path}")
        assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")
        assert "'nothing' in namespace 'team'" in answer.json()["detail"]
    gone = await ada.get("/api/rag/nowhere")
    assert (gone.status_code, gone.json()["reason"]) == (404, "NoSuchPath")
    wrong = await ada.put("/api/rag/models/emb-v6")
    assert (wrong.status_code, wrong.json()["reason"]) == (405, "NoSuchMethod")
    assert (await ada.get(f"{MODELS}/Not_A_Name")).status_code == 422
