"""Streams of events: states while something goes on, an end, heartbeats, coming back, rights that are taken away, and nothing left open."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse

from attune.rest.app import Api
from kube_server import KubeServer
from rest_world import api_over, listening

RUN, VERSION = "/api/rag/models/train/tune-7/events", "/api/rag/models/emb-v7/events"


@pytest.fixture
async def api(server: KubeServer) -> AsyncIterator[Api]:
    async with api_over(server, ATTUNE_API_REVIEW_SECONDS="0.1", ATTUNE_API_HEARTBEAT_SECONDS="0.2") as made:
        yield made


@pytest.fixture
async def url(api: Api) -> AsyncIterator[str]:
    async with listening(api) as found:
        yield found


@asynccontextmanager
async def client(url: str, token: str = "viewer-token") -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=10) as made:
        yield made


class Stream:
    """Events as they come."""

    def __init__(self, events: AsyncIterator[ServerSentEvent]) -> None:
        self._events = events
        self.last_id = ""

    async def next(self) -> tuple[str, dict[str, Any]]:
        while True:
            event = await asyncio.wait_for(anext(self._events), 5)
            if event.data:  # httpx-sse makes events without data of heartbeats
                self.last_id = event.id or self.last_id
                return event.event, json.loads(event.data)

    async def ended(self) -> bool:
        with pytest.raises(StopAsyncIteration):
            await self.next()
        return True


@asynccontextmanager
async def stream(caller: httpx.AsyncClient, path: str, last_id: str | None = None) -> AsyncIterator[Stream]:
    headers = {"last-event-id": last_id} if last_id else {}
    async with aconnect_sse(caller, "GET", path, headers=headers) as source:
        source.response.raise_for_status()
        yield Stream(source.aiter_sse())


async def test_a_run_is_told_state_by_state_until_it_has_ended(url: str, server: KubeServer) -> None:
    async with client(url) as vera, stream(vera, RUN) as events:
        name, state = await events.next()
        assert (name, state["phase"], state["progress"]["percent"]) == ("state", "Training", 43.0)
        server.status("TrainingJob", "tune-7", progress={"stage": "train", "percent": 60.0})
        assert (await events.next())[1]["progress"]["percent"] == 60.0
        server.status("TrainingJob", "tune-7", phase="Failed", reason="OutOfMemory", message="137")
        name, state = await events.next()
        assert (name, state["phase"], state["reason"]) == ("end", "Failed", "OutOfMemory")
        assert await events.ended()


async def test_a_version_in_training_is_told_with_the_progress_of_its_run_until_it_is_settled(
    url: str, server: KubeServer
) -> None:
    async with client(url) as vera, stream(vera, VERSION) as events:
        state = (await events.next())[1]
        assert (state["stage"], state["run"], state["progress"]["percent"]) == ("training", "tune-7", 43.0)
        server.status("TrainingJob", "tune-7", progress={"stage": "train", "percent": 60.0})
        assert (await events.next())[1]["progress"]["percent"] == 60.0
        server.status("ModelVersion", "emb-v7", stage="evaluating")
        assert (await events.next())[1]["stage"] == "evaluating"
        server.status("ModelVersion", "emb-v7", stage="staged")
        assert (await events.next())[0] == "end"
        assert await events.ended()


async def test_progress_of_a_run_that_may_not_be_watched_is_left_out(url: str, server: KubeServer) -> None:
    server.let("noah", "get", "watch", on="modelversions")
    async with client(url, "nobody-token") as noah, stream(noah, VERSION) as events:
        state = (await events.next())[1]
        assert state["run"] == "tune-7"
        assert not {"progress", "phase"} & set(state)


async def test_a_promotion_is_followed_until_it_is_answered(url: str, server: KubeServer) -> None:
    async with client(url, "admin-token") as ada:
        asked = (await ada.post("/api/rag/models/emb-v6/promote")).json()["requestID"]
        async with stream(ada, "/api/rag/models/emb-v6/events") as events:
            assert (await events.next())[1]["requestID"] == asked
            waits = {"result": "Pending", "message": "1 of 2 replicas: pod-1 is Loading"}
            server.status("ModelVersion", "emb-v6", promotion=waits)
            assert (await events.next())[1]["message"] == waits["message"]
            done = {"handledRequestID": asked, "result": "Promoted", "message": "verified by 2 replicas"}
            server.status("ModelVersion", "emb-v6", stage="active", promotion=done)
            name, state = await events.next()
            assert (name, state["active"], state["promotion"]["result"]) == ("end", True, "Promoted")


async def test_who_comes_back_gets_the_next_state_and_nothing_twice(url: str, server: KubeServer) -> None:
    async with client(url) as vera:
        async with stream(vera, RUN) as events:
            await events.next()
        seen = events.last_id
        async with stream(vera, RUN, seen) as events:
            server.status("TrainingJob", "tune-7", progress={"stage": "train", "percent": 70.0})
            assert (await events.next())[1]["progress"]["percent"] == 70.0
        server.status("TrainingJob", "tune-7", phase="Succeeded")
        async with stream(vera, RUN, events.last_id) as events:
            assert (await events.next())[0] == "end"
        over = await vera.get(RUN, headers={"last-event-id": events.last_id})
        assert over.status_code == 204, "nothing is to come: an EventSource stops asking"


async def test_what_is_over_is_told_once(url: str) -> None:
    async with client(url) as vera, stream(vera, "/api/rag/models/train/tune-6/events") as events:
        assert (await events.next())[0] == "end"
        assert await events.ended()


async def test_a_stream_with_nothing_to_say_says_so(url: str) -> None:
    async with client(url) as vera, vera.stream("GET", RUN) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        seen = ""
        async for text in answer.aiter_text():
            seen += text
            if seen.count(": still here") == 2:
                break
        assert seen.count("event: state") == 1


async def test_a_deleted_object_ends_its_stream(url: str, server: KubeServer) -> None:
    async with client(url) as vera, stream(vera, RUN) as events:
        await events.next()
        server.remove("TrainingJob", "tune-7")
        name, state = await events.next()
        assert (name, state["deleted"]) == ("end", True)


async def test_one_that_was_made_anew_under_the_same_name_is_another_one(url: str, server: KubeServer) -> None:
    old = server.get("TrainingJob", "tune-7")
    async with client(url) as vera, stream(vera, RUN) as events:
        await events.next()
        server.remove("TrainingJob", "tune-7")
        del old["metadata"]["uid"]
        server.put(old)
        name, state = await events.next()
        assert (name, state["deleted"]) == ("end", True)


async def test_a_right_that_is_taken_away_ends_the_stream_within_a_heartbeat_and_the_time_of_memory(
    url: str, server: KubeServer
) -> None:
    async with client(url) as vera, stream(vera, RUN) as events:
        await events.next()
        server.grants = [g for g in server.grants if g.user != "vera"]
        name, problem = await events.next()
        assert (name, problem["status"]) == ("problem", 403)
        assert await events.ended()


@pytest.mark.parametrize("lost", ["modelversions", "trainingjobs"])
async def test_a_right_that_is_taken_away_ends_a_stream_that_is_never_quiet_too(
    url: str, server: KubeServer, lost: str
) -> None:
    server.let("noah", "get", "watch", on="modelversions")
    server.let("noah", "get", "watch", on="trainingjobs")

    async def goes_on() -> None:
        for percent in range(1000):
            server.status("TrainingJob", "tune-7", progress={"stage": "train", "percent": percent / 10})
            await asyncio.sleep(0.02)

    async with client(url, "nobody-token") as noah, stream(noah, VERSION) as events:
        going = asyncio.create_task(goes_on())
        await events.next()
        server.grants = [g for g in server.grants if not (g.user == "noah" and g.resource == lost)]
        async with asyncio.timeout(5):
            while (await events.next())[0] != "problem":
                pass
        assert await events.ended()
        going.cancel()


async def test_an_api_server_that_is_away_for_a_while_ends_no_stream(url: str, server: KubeServer) -> None:
    async with client(url) as vera, stream(vera, RUN) as events:
        await events.next()
        server.broken = 503
        server.drop_watches()
        await asyncio.sleep(0.6)
        server.broken = 0
        server.status("TrainingJob", "tune-7", progress={"stage": "train", "percent": 99.0})
        assert (await events.next())[1]["progress"]["percent"] == 99.0


async def test_states_that_come_faster_than_they_are_read_are_skipped_and_the_last_one_is_told(
    url: str, server: KubeServer
) -> None:
    async with client(url) as vera, stream(vera, RUN) as events:
        await events.next()
        for percent in range(500):
            server.status("TrainingJob", "tune-7", progress={"stage": "train", "percent": percent / 10})
        count, seen = 0, 0.0
        while seen < 49.9:
            seen, count = (await events.next())[1]["progress"]["percent"], count + 1
        assert count <= 500


async def test_callers_that_leave_leave_nothing_behind(url: str, api: Api, server: KubeServer) -> None:
    for _ in range(20):
        async with client(url) as vera, stream(vera, RUN) as events:
            await events.next()
    async with asyncio.timeout(5):
        while api.streams.open:  # noqa: ASYNC110  the server notices by itself
            await asyncio.sleep(0.01)
    assert not api.mirrors["TrainingJob"]._waiting


async def test_no_request_of_ours_is_made_for_each_stream_and_change(url: str, server: KubeServer) -> None:
    async with client(url) as vera, stream(vera, RUN) as one, stream(vera, RUN) as other:
        await one.next()
        await other.next()
        before = len(server.requests)
        for percent in range(20):
            server.status("TrainingJob", "tune-7", progress={"stage": "train", "percent": float(percent)})
            await asyncio.gather(one.next(), other.next())
        assert [p for _, p in server.requests[before:] if "review" not in p] == []


async def test_streams_are_limited_in_number(server: KubeServer) -> None:
    async with (
        api_over(server, ATTUNE_API_MAX_STREAMS="1") as api,
        listening(api) as url,
        client(url) as vera,
        stream(vera, RUN) as events,
    ):
        await events.next()
        refused = await vera.get(RUN)
        assert (refused.status_code, refused.json()["reason"]) == (503, "TooManyStreams")
        assert refused.headers["retry-after"] == "5"


async def test_a_process_that_ends_ends_its_streams(server: KubeServer) -> None:
    async with api_over(server) as api, listening(api) as url, client(url) as vera, stream(vera, RUN) as events:
        await events.next()
        api.streams.ending.set()
        assert await events.ended()
