"""attune.client over the real REST API: every operation of the document, both kinds of client, retries that do nothing twice."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, get_args

import httpx
import pytest

from attune.client import (
    AsyncAttune,
    Attune,
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    Unauthorized,
    Unavailable,
    Unreachable,
    calls,
    errors,
)
from attune.client.core import Again, Call, Events, Pages
from attune.messages.asked import TrainRequest
from kube_server import KubeServer, refusal
from rest_world import a_run, api_over, listening

DOCUMENT = json.loads((Path(__file__).parents[3] / "docs/openapi.json").read_text())
METRICS = [{"name": "clicks", "role": "primary"}]
MADE: dict[str, Any] = {
    "list_versions": calls.versions(),
    "get_version": calls.version("x"),
    "get_timeline": calls.timeline("x"),
    "version_events": calls.version_events("x"),
    "promote": calls.promote("x"),
    "roll_back": calls.rollback("x"),
    "train": calls.train(retriever="r", type="embedding"),
    "list_runs": calls.runs(),
    "get_run": calls.run("x"),
    "delete_run": calls.cancel_run("x"),
    "run_events": calls.run_events("x"),
    "start_test": calls.start_ab_test(retriever="r", model_b="b", metrics=METRICS),
    "list_tests": calls.ab_tests(),
    "get_test": calls.ab_test("x"),
    "cancel_test": calls.cancel_ab_test("x"),
    "list_retrievers": calls.retrievers(),
    "get_retriever": calls.retriever("x"),
    "list_schedules": calls.schedules(),
    "whoami": calls.whoami(),
}


def operations() -> dict[str, tuple[str, str, dict[str, Any]]]:
    return {o["operationId"]: (m.upper(), p, o) for p, ops in DOCUMENT["paths"].items() for m, o in ops.items()}


def test_the_client_has_every_operation_of_the_document_at_its_path_with_its_model_and_parameters() -> None:
    assert set(MADE) == set(operations())
    for name, (method, path, operation) in operations().items():
        call = MADE[name]
        if isinstance(call, Events):
            assert (method, path) == ("GET", call.path.replace("/x/", "/{id}/"))
            assert call.state.__name__ in DOCUMENT["components"]["schemas"]
            continue
        one: Call[Any] = call.page("c") if isinstance(call, Pages) else call
        assert (method, path) == (one.method, re.sub("/x(/|$)", r"/{id}\1", one.path)), name
        (done,) = [r for code, r in operation["responses"].items() if int(code) < 300]
        (media,) = done["content"].values()
        assert media["schema"] == {"$ref": f"#/components/schemas/{one.read.model.__name__}"}, name  # type: ignore[attr-defined]
        documented = {p["name"] for p in operation.get("parameters", []) if p["in"] == "query"} - {"namespace"}
        assert set(one.params) == documented, name


@pytest.mark.parametrize("kind", [Attune, AsyncAttune])
def test_both_clients_have_every_call_with_its_arguments(kind: type) -> None:
    made = {
        n: f for n, f in vars(calls).items() if inspect.isfunction(f) and f.__module__ == calls.__name__ and n[0] != "_"
    }
    methods = {n: f for n, f in vars(kind).items() if n[0] != "_"}
    assert set(methods) == set(made)
    for name, function in made.items():
        method = methods[name]
        assert method.__doc__ == function.__doc__
        assert list(inspect.signature(method).parameters) == list(inspect.signature(function).parameters)


def test_models_of_the_client_and_of_the_document_are_equal() -> None:
    from pydantic.json_schema import models_json_schema

    from attune.rest.openapi import _plain  # what the document leaves out

    models = {c.read.model for c in MADE.values() if isinstance(c, Call)} | {
        c.state for c in MADE.values() if isinstance(c, Events)
    }
    models |= {p.page(None).read.model for p in MADE.values() if isinstance(p, Pages)}  # type: ignore[attr-defined]
    forms = [(m, "validation") for m in sorted(models, key=lambda m: m.__name__)]
    made = models_json_schema(forms, ref_template="#/components/schemas/{model}")[1]["$defs"]  # type: ignore[arg-type]
    assert {n: DOCUMENT["components"]["schemas"][n] for n in made} == _plain(made)


def test_the_client_needs_httpx_and_pydantic_alone() -> None:
    code = (
        "import sys, attune.client\n"
        "unwanted = {'kopf', 'kubernetes', 'aiohttp', 'fastapi', 'starlette', 'scipy', 'numpy', 'yaml', 'typer'}\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & unwanted))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ---- over the real API


@pytest.fixture
async def url(server: KubeServer) -> AsyncIterator[str]:
    async with api_over(server, ATTUNE_API_REVIEW_SECONDS="0") as api, listening(api) as found:
        yield found


@pytest.fixture
async def ada(url: str) -> AsyncIterator[AsyncAttune]:
    async with AsyncAttune(url, token="admin-token", attempts=3, trust_env=False) as made:
        yield made


async def waited(url: str, work: Callable[[Attune], Any], token: str = "admin-token") -> Any:
    """What the client that waits gives, in a thread."""

    def run() -> Any:
        with Attune(url, token=token, attempts=3, trust_env=False) as attune:
            return work(attune)

    return await asyncio.to_thread(run)


async def test_every_read_gives_the_same_to_both_clients(url: str, ada: AsyncAttune) -> None:
    for name, arguments in {
        "version": ["emb-v3"],
        "timeline": ["emb-v5"],
        "run": ["tune-7"],
        "ab_test": ["news-v3"],
        "retriever": ["news"],
        "whoami": [],
    }.items():
        one = await getattr(ada, name)(*arguments)
        assert one == await waited(url, lambda a, n=name, g=arguments: getattr(a, n)(*g)), name  # type: ignore[misc]
    assert (await ada.version("emb-v3")).metrics["ndcgAt10"] == 0.66
    assert (await ada.retriever("news")).models["embedding"].active == "emb-v3"  # type: ignore[index]


async def test_lists_are_walked_page_by_page(url: str, ada: AsyncAttune, server: KubeServer) -> None:
    names = ["emb-v7", "emb-v6", "emb-v5", "emb-v4", "emb-v3", "emb-v2", "emb-v1", "rer-v1"]
    before = len(server.requests)
    assert [v.name async for v in ada.versions(limit=3)] == names
    assert before < len(server.requests)
    assert await waited(url, lambda a: [v.name for v in a.versions(limit=3)]) == names
    assert [v.name async for v in ada.versions(stage=["staged", "active"], type="embedding")] == ["emb-v6", "emb-v3"]
    assert [r.name async for r in ada.runs(phase="Training")] == ["tune-7"]
    assert [t.name async for t in ada.ab_tests(retriever="news", phase="Running")] == ["news-v6"]
    assert [s.name async for s in ada.schedules()] == ["monthly"]
    assert [r.retriever async for r in ada.retrievers()] == ["news"]


async def test_a_run_is_started_by_fields_or_by_a_request_and_only_what_was_given_is_sent(
    url: str, ada: AsyncAttune, server: KubeServer
) -> None:
    one = await ada.train(
        retriever="news", type="embedding", eval_threshold=0.6, hyperparameters={"epochs": 1}, name="one"
    )
    assert server.get("TrainingJob", "one")["spec"]["evalThreshold"] == 0.6
    request = TrainRequest.model_validate({"name": "two", "retriever": "news", "type": "reranker"})
    two = await waited(url, lambda a: a.train(request))
    assert (one.phase.value, two.type.value) == ("Pending", "reranker")
    with pytest.raises(TypeError, match=r"TrainRequest has no field epochs; there are: .*hyperparameters"):
        await ada.train(retriever="news", type="embedding", epochs=3)
    with pytest.raises(TypeError, match="give a TrainRequest, or its fields: type"):
        await ada.train(request, type="embedding")
    with pytest.raises(BadRequest) as wrong:
        await ada.train(retriever="news", type="embedding", hyperparameters={"epoch": 3})
    assert wrong.value.problem is not None
    assert wrong.value.problem.field == "hyperparameters.epoch"


async def test_moves_and_tests(ada: AsyncAttune, server: KubeServer) -> None:
    asked = await ada.promote("emb-v6")
    assert server.get("ModelVersion", "emb-v6")["spec"]["promotion"]["requestID"] == asked.request_id
    assert (await ada.rollback("emb-v2", request_id="mine")).request_id == "mine"
    test = await ada.start_ab_test(retriever="news", modelB="emb-v6", metrics=METRICS)
    assert (await ada.cancel_ab_test(test.name)).phase.value == "Pending"
    assert (await ada.cancel_run("tune-7")).name == "tune-7"


@pytest.mark.parametrize(
    ("work", "kind", "reason"),
    [
        (lambda a: a.promote("emb-v4"), Conflict, "NotStaged"),
        (lambda a: a.rollback("emb-v1"), Gone, "ArtifactDeleted"),
        (lambda a: a.version("nothing"), NotFound, "NotFound"),
        (lambda a: a.cancel_ab_test("news-v3"), Conflict, "Finished"),
    ],
)
async def test_a_refusal_is_an_error_with_the_problem(
    url: str, ada: AsyncAttune, work: Callable[[Any], Any], kind: type[errors.ApiError], reason: str
) -> None:
    with pytest.raises(kind) as one:
        await work(ada)
    with pytest.raises(kind) as other:
        await waited(url, work)
    assert one.value.reason == other.value.reason == reason
    assert str(one.value).startswith(one.value.detail)
    assert "(HTTP 4" in str(one.value)


async def test_tokens(url: str) -> None:
    with pytest.raises(Unauthorized, match="does not accept this token"):
        await waited(url, lambda a: a.whoami(), "nonsense")
    with pytest.raises(Forbidden, match="noah cannot list modelversions"):
        await waited(url, lambda a: list(a.versions()), "nobody-token")
    tokens = iter(["nonsense", "admin-token\n"])
    async with AsyncAttune(url, token=lambda: next(tokens), attempts=1, trust_env=False) as attune:
        with pytest.raises(Unauthorized):
            await attune.whoami()
        assert (await attune.whoami()).user == "ada"
    async with AsyncAttune(url, token="other-token", namespace="other", trust_env=False) as otto:
        assert (await otto.whoami()).namespace == "other"


# ---- retries


async def test_an_answer_that_is_lost_is_asked_for_again_and_makes_one_run(
    ada: AsyncAttune, server: KubeServer
) -> None:
    server.lose = 1
    made = await ada.train(retriever="news", type="embedding")
    mine = [r["metadata"]["name"] for r in server.all("TrainingJob") if r["metadata"]["name"].startswith("news-")]
    assert mine == [made.name]


async def test_an_api_server_that_is_away_for_a_moment_is_waited_for(ada: AsyncAttune, server: KubeServer) -> None:
    server.faults.append(lambda _: refusal(503, "ServiceUnavailable", "starting"))
    assert (await ada.version("emb-v3")).name == "emb-v3"


async def test_what_stays_away_is_an_error_after_so_many_attempts(ada: AsyncAttune, server: KubeServer) -> None:
    server.broken = 503
    began = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable) as error:
        await ada.version("emb-v3")
    assert error.value.retry_after == 2
    assert asyncio.get_running_loop().time() - began >= 3.5, "it waits as long as it was asked to"


def answers(*given: Any) -> tuple[httpx.MockTransport, list[httpx.Request]]:
    """A network that does as it is told: a status, or an error of httpx."""
    seen: list[httpx.Request] = []
    left = list(given)

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return httpx.Response(one, json={"accepted": True, "version": "v"}, headers={"retry-after": "0"})

    return httpx.MockTransport(answer), seen


@pytest.mark.parametrize(
    ("again", "first", "tries"),
    [
        (Again.ALWAYS, httpx.ReadTimeout("late"), 2),
        (Again.ALWAYS, httpx.ConnectError("refused"), 2),
        (Again.ALWAYS, 429, 2),
        (Again.UNSEEN, httpx.ConnectError("refused"), 2),
        (Again.UNSEEN, 503, 2),
        (Again.UNSEEN, httpx.ReadTimeout("late"), 1),
        (Again.ALWAYS, 500, 1),
        (Again.ALWAYS, 409, 1),
    ],
)
def test_only_what_is_safe_is_sent_again(again: Again, first: Any, tries: int) -> None:
    transport, seen = answers(first, 200)
    call: Call[int] = Call("POST", "/x", lambda answer: answer.status_code, again=again)
    with Attune("http://api", attempts=3, transport=transport) as attune:
        if tries == 2:
            assert attune.send(call) == 200
        else:
            with pytest.raises((Unreachable, errors.ApiError)):
                attune.send(call)
    assert len(seen) == tries


def test_a_retry_has_the_same_key_and_two_calls_have_two() -> None:
    transport, seen = answers(503, 503, 200, 200)
    with Attune("http://api", attempts=3, transport=transport) as attune:
        for _ in range(2):
            with pytest.raises(Exception, match="validation error"):
                attune.promote("emb-v6")
    keys = [request.headers["idempotency-key"] for request in seen]
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]
    assert calls.promote("v", key="own").headers == {"idempotency-key": "own"}


# ---- events


async def test_events_are_followed_to_the_end_over_lost_connections(server: KubeServer) -> None:
    async with api_over(server) as api:
        async with listening(api) as url:
            port = int(url.rpartition(":")[2])
            attune = AsyncAttune(url, token="viewer-token", attempts=8, trust_env=False)
            states = attune.run_events("tune-7")
            assert (await anext(states)).progress.percent == 43.0  # type: ignore[union-attr]
        api.streams.ending.clear()  # the process is gone, and another one comes
        server.status("TrainingJob", "tune-7", progress={"stage": "train", "percent": 80.0})
        coming = asyncio.create_task(anext(states))
        await asyncio.sleep(0.3)
        async with listening(api, port):
            assert (await coming).progress.percent == 80.0
            server.status("TrainingJob", "tune-7", phase="Succeeded")
            assert [s.phase.value async for s in states] == ["Succeeded"]
            await attune.close()


async def test_a_client_that_waits_follows_too_and_heartbeats_are_no_states(url: str, server: KubeServer) -> None:
    server.put(a_run("short", "Training", 0))

    def follow(attune: Attune) -> list[str]:
        return [state.phase.value for state in attune.run_events("short")]

    following = asyncio.create_task(waited(url, follow))
    await asyncio.sleep(1.0)
    server.status("TrainingJob", "short", phase="Failed")
    assert await following == ["Training", "Failed"]


async def test_events_of_what_is_not_there_and_of_what_may_not_be_seen_are_errors(url: str) -> None:
    with pytest.raises(NotFound):
        await waited(url, lambda a: list(a.version_events("nothing")))
    with pytest.raises(Forbidden):
        await waited(url, lambda a: list(a.run_events("tune-7")), "nobody-token")


async def test_a_right_that_is_taken_away_is_told_to_who_follows(url: str, server: KubeServer) -> None:
    async with AsyncAttune(url, token="viewer-token", trust_env=False) as attune:
        states = attune.run_events("tune-7")
        await anext(states)
        server.grants = [g for g in server.grants if g.user != "vera"]
        with pytest.raises(Forbidden, match="was taken away"):
            await anext(states)


def test_the_errors_are_the_tree_that_is_drawn() -> None:
    drawn = set(re.findall(r"[├└]── (\w+)", errors.__doc__ or ""))
    classes = {n for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, errors.ClientError)}
    assert drawn | {"ClientError"} == classes
    assert get_args(calls.Kind) == ("embedding", "reranker")
