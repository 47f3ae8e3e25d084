"""The REST API on the real control plane: real tokens, real RBAC, real refusals, and no more rights than the caller has."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
import yaml

from attune.rest.app import application
from attune.rest.routing import GuardedRoute
from devcluster import Cluster
from rest_callers import bodies, every_route
from rest_process import USE, VIEW, RestWorld

pytestmark = pytest.mark.cluster
ROUTES = [r for r in every_route(application().routes) if isinstance(r, GuardedRoute)]
REMEMBERED = 1.0


@pytest.fixture(scope="module")
def world(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestWorld]:
    settings = {"ATTUNE_API_REVIEW_SECONDS": str(REMEMBERED), "ATTUNE_API_REFUSAL_SECONDS": "0.2"}
    made = RestWorld(cluster, tmp_path_factory.mktemp("rest-access"), **settings)
    yield made
    made.close()


@pytest.fixture(scope="module")
def nobody(world: RestWorld) -> str:
    return world.user("nobody")


@pytest.fixture(scope="module")
def viewer(world: RestWorld) -> str:
    return world.user("viewer", VIEW)


@pytest.fixture(scope="module")
def elsewhere(world: RestWorld) -> str:
    return world.user("elsewhere", USE, world.other)


def ask(world: RestWorld, token: str | None, route: GuardedRoute, namespace: str | None = None) -> httpx.Response:
    (method,) = route.methods
    names = {"train": "tune-7", "ab-test": "news-v6", "retrievers": "news"}
    path = route.path.replace("{id}", names.get(route.path.split("/{id}")[0].rsplit("/", 1)[-1], "emb-v6"))
    params = {"namespace": namespace} if namespace else {}
    with world.client(token) as client:
        return client.request(method, path, json=bodies().get(route.path) if method == "POST" else None, params=params)


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: f"{next(iter(r.methods))} {r.path}")
def test_no_token_is_401_no_rights_403_and_rights_elsewhere_403(
    world: RestWorld, nobody: str, elsewhere: str, route: GuardedRoute
) -> None:
    assert ask(world, None, route).status_code == 401
    assert ask(world, "nonsense", route).status_code == 401
    for token in (nobody, elsewhere):
        answer = ask(world, token, route)
        if not route.needs:
            assert answer.status_code == 200
            assert not any(answer.json()["rights"].values())
            continue
        assert answer.status_code == 403
        need = route.needs[0]
        assert f"cannot {need.verb} {need.kind.plural}.attune.dev" in answer.json()["detail"]
        assert f"in namespace '{world.namespace}'" in answer.json()["detail"]


@pytest.mark.parametrize(
    "route", [r for r in ROUTES if r.methods == {"GET"} and not r.path.endswith("/events")], ids=lambda r: r.path
)
def test_whoever_may_view_the_namespace_reads_everything_and_writes_nothing(
    world: RestWorld, viewer: str, route: GuardedRoute
) -> None:
    assert ask(world, viewer, route).status_code == 200, ask(world, viewer, route).text
    refused = ask(world, viewer, next(r for r in ROUTES if r.path.endswith("/promote")))
    assert refused.status_code == 403
    assert "cannot patch modelversions.attune.dev 'emb-v6'" in refused.json()["detail"]


def test_lists_are_of_one_namespace_and_are_what_kubectl_lists(world: RestWorld, viewer: str) -> None:
    with world.client(viewer) as client:
        names = [v["name"] for v in client.get("/api/rag/models", params={"limit": 1000}).json()["items"]]
    listed = world.cluster.get("mv", "-n", world.namespace)["items"]
    assert sorted(names) == sorted(v["metadata"]["name"] for v in listed)


def test_a_right_that_is_given_and_taken_away_counts_within_the_time_of_memory(world: RestWorld) -> None:
    token = world.user("passing")
    with world.client(token) as client:
        assert client.get("/api/rag/models").status_code == 403
        world.bind("passing", VIEW)
        time.sleep(1.0)
        assert client.get("/api/rag/models").status_code == 200
        world.unbind("passing", VIEW)
        end = time.monotonic() + REMEMBERED + 2  # the API server's own authorizer watches, too
        while client.get("/api/rag/models").status_code == 200:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_an_account_that_is_deleted_is_401(world: RestWorld) -> None:
    token = world.user("leaving", VIEW)
    with world.client(token) as client:
        assert client.get("/api/rag/models").status_code == 200
        world.cluster.kubectl("delete", "serviceaccount", "leaving", "-n", world.namespace)
        end = time.monotonic() + 20
        while client.get("/api/rag/models").status_code != 401:
            assert time.monotonic() < end
            time.sleep(0.2)


def test_the_accounts_own_rights_are_of_no_use_to_a_caller(world: RestWorld, nobody: str) -> None:
    """The API itself may list everything; nobody gets anything of it, whatever namespace is named."""
    with world.client(nobody) as client:
        for namespace in (world.namespace, world.other, "kube-system", "default"):
            answer = client.get("/api/rag/models", params={"namespace": namespace})
            assert answer.status_code == 403
            assert "emb-v" not in answer.text


def test_a_right_on_one_object_by_name_is_enough(world: RestWorld) -> None:
    token = world.user("narrow")
    rule = ("--verb=get", "--resource=modelversions.attune.dev", "--resource-name=emb-v6")
    world.cluster.kubectl("create", "role", "narrow", *rule, "-n", world.namespace)
    account = f"--serviceaccount={world.namespace}:narrow"
    world.cluster.kubectl("create", "rolebinding", "narrow", "--role=narrow", account, "-n", world.namespace)
    time.sleep(1.0)
    with world.client(token) as client:
        assert client.get("/api/rag/models/emb-v6").status_code == 200
        assert client.get("/api/rag/models/emb-v3").status_code == 403
        assert client.get("/api/rag/models").status_code == 403


def test_the_manifests_start_an_api_that_answers(world: RestWorld, viewer: str) -> None:
    """As a Deployment, with its probes, from the image's other command."""
    things = yaml.safe_dump_all(world.manifests())
    world.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=things)
    world.cluster.kubectl("rollout", "status", "deployment/attune-api", "-n", world.namespace, "--timeout=180s")
    pods = world.cluster.get("pods", "-n", world.namespace, "-l", "app.kubernetes.io/name=attune-api")["items"]
    assert len(pods) == 2
    for pod in pods:
        url = f"http://{pod['status']['podIP']}:8090/api/rag/models"
        answer = httpx.get(url, headers={"authorization": f"Bearer {viewer}"}, trust_env=False, timeout=30)
        assert len(answer.json()["items"]) == 8
    world.cluster.kubectl("delete", "deployment", "attune-api", "-n", world.namespace)


def test_the_log_has_the_user_and_no_token(world: RestWorld, viewer: str) -> None:
    with world.client(viewer) as client:
        client.get("/api/rag/models", headers={"x-request-id": "looked-for"})
    world.process.until(lambda: "looked-for" in world.process.log)  # the line is written after the answer
    assert f"system:serviceaccount:{world.namespace}:viewer" in world.process.log
    assert viewer not in world.process.log
