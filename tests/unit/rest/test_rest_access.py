"""Who may do what: no route forgets to ask, the answer is the API server's, and it is remembered for seconds and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from aiohttp import web
from fastapi import APIRouter
from starlette.routing import Mount

from attune.api.kinds import MODEL_VERSION
from attune.cluster.connect import Connection
from attune.cluster.reviews import Right
from attune.cluster.transport import Transport
from attune.rest.access import Remembered, Reviewer
from attune.rest.app import Api, application
from attune.rest.routing import GuardedRoute
from kube_server import KubeServer, refusal
from rest_callers import Caller, bodies, every_route
from rest_world import api_over, settings

OPEN = {"/healthz", "/readyz", "/metrics", "/openapi.json"}
REVIEWS = ("/tokenreviews", "/subjectaccessreviews")


def guarded() -> Iterator[tuple[str, GuardedRoute]]:
    for route in every_route(application().routes):
        if isinstance(route, GuardedRoute):
            (method,) = route.methods
            yield method, route


ROUTES = [pytest.param(method, route, id=f"{method} {route.path}") for method, route in guarded()]


def path_of(route: GuardedRoute) -> str:
    named = {"train": "tune-7", "ab-test": "news-v6", "retrievers": "news"}
    part = route.path.split("/{id}")[0].rsplit("/", 1)[-1]
    return route.path.replace("{id}", named.get(part, "emb-v6"))


async def ask(caller: Caller, method: str, route: GuardedRoute, **query: str) -> httpx.Response:
    body = bodies().get(route.path) if method == "POST" else None
    return await caller.request(method, path_of(route), json=body, params=query)


def test_every_route_but_probes_metrics_and_the_document_is_guarded(api: Api) -> None:
    others = [r for r in every_route(api.app.routes) if not isinstance(r, GuardedRoute | Mount)]
    assert {r.path for r in others} == OPEN
    assert len(ROUTES) == 19


def test_a_route_without_needs_cannot_be_made() -> None:
    async def endpoint() -> None: ...

    with pytest.raises(TypeError, match="/api/rag/leak declares no needs"):
        APIRouter(route_class=GuardedRoute).add_api_route("/api/rag/leak", endpoint)


@pytest.mark.parametrize(("method", "route"), ROUTES)
async def test_without_a_token_every_route_says_401_and_asks_nothing(
    api: Api, server: KubeServer, method: str, route: GuardedRoute
) -> None:
    asked = len(server.requests)
    async with Caller(api.app, None) as nobody:
        answer = await ask(nobody, method, route)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="attune"'
    assert answer.json()["reason"] == "NoToken"
    assert server.requests[asked:] == []


@pytest.mark.parametrize(("method", "route"), [p for p in ROUTES if p.values[1].needs])
async def test_without_rights_every_route_says_403_with_verb_resource_and_namespace_before_it_reads_anything(
    noah: Caller, server: KubeServer, method: str, route: GuardedRoute
) -> None:
    asked = len(server.requests)
    answer = await ask(noah, method, route)
    assert answer.status_code == 403
    problem, need = answer.json(), route.needs[0]
    assert problem["reason"] == "Forbidden"
    assert f"noah cannot {need.verb} {need.kind.plural}.attune.dev" in problem["detail"]
    assert "in namespace 'team'" in problem["detail"]
    assert all(path.endswith(REVIEWS) for _, path in server.requests[asked:])


@pytest.mark.parametrize(("method", "route"), [p for p in ROUTES if p.values[1].needs])
async def test_a_body_is_not_even_parsed_for_a_caller_without_rights(
    noah: Caller, method: str, route: GuardedRoute
) -> None:
    answer = await noah.request(method, path_of(route), content=b"{" * 300_000)
    assert answer.status_code == 403


@pytest.mark.parametrize(("method", "route"), [p for p in ROUTES if p.values[1].needs])
async def test_the_rights_that_a_route_declares_are_enough(
    noah: Caller, server: KubeServer, method: str, route: GuardedRoute
) -> None:
    for need in route.needs:
        server.let("noah", need.verb, on=need.kind.plural)
    if route.path.endswith(("/promote", "/rollback")):
        server.let("noah", "get", on="retrievers")
    if route.path.endswith("/events"):
        for run in ("tune-7",):
            server.status("TrainingJob", run, phase="Succeeded")
    answer = await ask(noah, method, route)
    assert answer.status_code in {200, 202, 409}, answer.text


@pytest.mark.parametrize(("method", "route"), [p for p in ROUTES if p.values[1].needs])
async def test_rights_in_one_namespace_are_none_in_another(
    ada: Caller, server: KubeServer, method: str, route: GuardedRoute
) -> None:
    answer = await ask(ada, method, route, namespace="other")
    assert answer.status_code == 403
    assert "in namespace 'other'" in answer.json()["detail"]


async def test_a_list_shows_its_own_namespace_only(ada: Caller, server: KubeServer) -> None:
    theirs = server.get("ModelVersion", "emb-v6")
    theirs["metadata"] |= {"namespace": "other", "name": "secret"}
    server.put(theirs)
    await asyncio.sleep(0.05)
    names = [v["name"] for v in (await ada.get("/api/rag/models")).json()["items"]]
    assert "emb-v6" in names
    assert "secret" not in names
    assert (await ada.get("/api/rag/models/secret")).status_code == 404


async def test_a_right_on_one_object_is_enough_for_it_and_for_no_other(noah: Caller, server: KubeServer) -> None:
    server.let("noah", "get", on="modelversions", name="emb-v6")
    assert (await noah.get("/api/rag/models/emb-v6")).status_code == 200
    refused = await noah.get("/api/rag/models/emb-v3")
    assert refused.status_code == 403
    assert "get modelversions.attune.dev 'emb-v3'" in refused.json()["detail"]
    assert (await noah.get("/api/rag/models")).status_code == 403


@pytest.mark.parametrize(
    "header",
    [
        "Basic YTpi",
        "Bearer",
        "Bearer ",
        "Bearer " + "x" * 20_000,
        "Bearer s3cr3t-unknown",
        "admin-token",
        "Bearer t\u00f6ken",
    ],
)
async def test_a_bad_token_is_401_and_says_how_to_send_one(api: Api, header: str) -> None:
    async with Caller(api.app, None) as nobody:
        answer = await nobody.get("/api/rag/models", headers={"authorization": header.encode()})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith('Bearer realm="attune", error=')
    assert header.removeprefix("Bearer ") not in answer.text or len(header) < 12


async def test_whoami_needs_no_right_and_tells_all_of_them(noah: Caller, vera: Caller, ada: Caller) -> None:
    mine = (await ada.get("/api/rag/whoami")).json()
    assert (mine["user"], mine["namespace"]) == ("ada", "team")
    assert all(mine["actions"].values())
    looks = (await vera.get("/api/rag/whoami")).json()
    assert looks["rights"]["modelversions"] == ["get", "list", "watch"]
    assert not any(looks["actions"].values())
    assert not any((await noah.get("/api/rag/whoami")).json()["rights"].values())


# ---- remembered


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def reviewer(server: KubeServer, clock: Hands, **given: str) -> tuple[Reviewer, Transport]:
    transport = Transport(Connection(server.url))
    return Reviewer(transport, settings(**given), clock), transport


async def test_answers_are_remembered_for_the_setting_and_refusals_more_briefly(server: KubeServer) -> None:
    clock = Hands()
    reviews, transport = await reviewer(server, clock, ATTUNE_API_REVIEW_SECONDS="10", ATTUNE_API_REFUSAL_SECONDS="2")
    right = Right("list", MODEL_VERSION.plural, "team")
    ada, noah = await reviews.caller("Bearer admin-token"), await reviews.caller("Bearer nobody-token")
    assert await reviews.allowed(ada, right)
    assert not await reviews.allowed(noah, right)
    server.grants.clear()
    server.let("noah", "*")
    clock.now = 1.9
    assert await reviews.allowed(ada, right)
    assert not await reviews.allowed(noah, right)
    clock.now = 2.0
    assert await reviews.allowed(noah, right), "a refusal holds for 2 s"
    clock.now = 9.9
    assert await reviews.allowed(ada, right)
    clock.now = 10.0
    assert not await reviews.allowed(ada, right), "a right holds for 10 s after it was taken away, and no longer"
    await transport.close()


async def test_the_time_counts_from_the_question_not_from_the_answer() -> None:
    clock = Hands()
    remembered: Remembered[str, bool] = Remembered(lambda _: 10.0, 8, clock)

    async def slow() -> bool:
        clock.now = 6.0
        return True

    async def no() -> bool:
        return False

    assert await remembered.get("k", slow)
    clock.now = 9.9
    assert await remembered.get("k", no)
    clock.now = 10.0
    assert not await remembered.get("k", no)


async def test_a_question_that_many_wait_for_is_asked_once_and_errors_are_not_remembered(server: KubeServer) -> None:
    reviews, transport = await reviewer(server, Hands())
    callers = await asyncio.gather(*(reviews.caller("Bearer admin-token") for _ in range(50)))
    assert {c.user.name for c in callers} == {"ada"}
    assert len([p for _, p in server.requests if p.endswith("/tokenreviews")]) == 1
    server.faults.append(lambda _: refusal(500, "InternalError", "oh"))
    with pytest.raises(Exception, match="oh"):
        await reviews.allowed(callers[0], Right("list", "modelversions", "team"))
    assert await reviews.allowed(callers[0], Right("list", "modelversions", "team"))
    await transport.close()


async def test_what_is_remembered_is_bounded() -> None:
    remembered: Remembered[int, int] = Remembered(lambda _: 1000.0, 100, Hands())
    for number in range(10_000):

        async def answer(number: int = number) -> int:
            return number

        await remembered.get(number, answer)
    assert len(remembered._known) == 100


async def test_a_token_for_another_audience_is_none(server: KubeServer) -> None:
    reviews, transport = await reviewer(server, Hands(), ATTUNE_API_AUDIENCES="attune")
    with pytest.raises(Exception, match="does not accept this token"):
        await reviews.caller("Bearer admin-token")
    await transport.close()


# ---- the API server is away


@pytest.mark.parametrize(("method", "route"), ROUTES)
async def test_while_the_api_server_is_away_every_route_says_503_and_when_to_come_again(
    ada: Caller, server: KubeServer, method: str, route: GuardedRoute
) -> None:
    server.broken = 503
    answer = await ask(ada, method, route)
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["reason"] == "ApiServerUnavailable"


async def test_an_api_server_that_is_gone_is_503_too(ada: Caller, server: KubeServer) -> None:
    def cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    server.faults.append(cut)
    answer = await ada.get("/api/rag/models")
    assert answer.status_code == 503
    assert answer.json()["reason"] == "ApiServerUnavailable"


async def test_an_account_of_the_api_that_lacks_rights_is_no_fault_of_the_caller(
    ada: Caller, server: KubeServer
) -> None:
    def no(_: object) -> web.Response:
        return refusal(403, "Forbidden", 'modelversions.attune.dev "emb-v6" is forbidden: User "x" cannot get resource')

    server.faults.extend([lambda _: None, lambda _: None, no])
    answer = await ada.get("/api/rag/models/emb-v6")
    assert answer.status_code == 503
    assert answer.json()["reason"] == "ApiLacksRights"


async def test_namespaces_that_are_not_served_are_named_to_those_who_have_rights_there(server: KubeServer) -> None:
    async with api_over(server, ATTUNE_API_NAMESPACES="team") as api, Caller(api.app, "other-token") as otto:
        answer = await otto.get("/api/rag/models", params={"namespace": "other"})
        assert answer.status_code == 404
        assert answer.json()["reason"] == "NamespaceNotServed"
        assert (await otto.get("/api/rag/models", params={"namespace": "team"})).status_code == 403


@pytest.mark.parametrize("namespace", ["Team", "a/b", "", "..", "x" * 64])
async def test_what_is_no_namespace_is_422(ada: Caller, namespace: str) -> None:
    answer = await ada.get("/api/rag/models", params={"namespace": namespace})
    assert answer.status_code == 422
    assert answer.json()["field"] == "namespace"
