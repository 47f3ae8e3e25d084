"""The client against a server that speaks HTTP: what it sends, and which error each answer becomes."""

import asyncio
import socket

import pytest
from aiohttp import web

from attune.cluster.client import KubernetesCluster
from attune.cluster.connect import Connection
from attune.cluster.protocol import Cluster, Ref
from attune.cluster.transport import Transport
from attune.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound, NotLeader, Unavailable

JOB = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a", "namespace": "team"}, "spec": {"x": 1}}
REF = Ref("batch/v1", "Job", "team", "a")
PATH = "/apis/batch/v1/namespaces/team/jobs/a"


def job(name, **labels):
    return {**JOB, "metadata": {"name": name, "namespace": "team", "labels": labels}}


def test_it_is_a_cluster(cluster):
    checked: Cluster = cluster
    assert checked is cluster


async def test_what_was_created_can_be_read_and_what_was_not_is_none(cluster, api):
    assert await cluster.get(REF) is None
    created = await cluster.create(JOB)
    assert created["metadata"]["uid"]
    assert (await cluster.get(REF))["spec"] == {"x": 1}
    assert api.queries[1] == {"fieldManager": "attune"}


async def test_a_later_object_of_the_same_name_is_not_the_one_with_the_uid(cluster):
    made = await cluster.create(JOB)
    assert await cluster.get(Ref(*REF_PARTS, uid=made["metadata"]["uid"]))
    assert await cluster.get(Ref(*REF_PARTS, uid="another")) is None


REF_PARTS = ("batch/v1", "Job", "team", "a")


async def test_creating_twice_says_already_exists(cluster):
    await cluster.create(JOB)
    with pytest.raises(AlreadyExists, match="already exists"):
        await cluster.create(JOB)


async def test_list_reads_every_page_filters_by_label_and_names_the_kind(cluster, api):
    for n in range(7):
        await cluster.create(job(f"j{n}", team="red" if n % 2 else "blue"))
    api.page = 2
    found = await cluster.list("batch/v1", "Job", "team", {"team": "blue"})
    assert [o["metadata"]["name"] for o in found] == ["j0", "j2", "j4", "j6"]
    assert {(o["apiVersion"], o["kind"]) for o in found} == {("batch/v1", "Job")}
    assert len(await cluster.list("batch/v1", "Job", None)) == 7


async def test_a_list_that_expires_between_two_pages_starts_again(cluster, api, refuse):
    for n in range(3):
        await cluster.create(job(f"j{n}"))
    api.page = 2
    api.faults = [lambda _: None, lambda _: refuse(410, "Expired", "the continue token is too old")]
    assert len(await cluster.list("batch/v1", "Job", "team")) == 3


async def test_apply_never_sends_managed_fields(cluster, api):
    await cluster.apply({**JOB, "metadata": {**JOB["metadata"], "managedFields": [{"manager": "kopf"}]}})
    assert "managedFields" not in api.objects[PATH]["metadata"]


async def test_deleting_what_is_absent_is_fine(cluster, api):
    await cluster.delete(REF)
    assert PATH not in api.objects


async def test_deleting_with_a_uid_leaves_a_later_object_of_that_name(cluster, api):
    await cluster.create(JOB)
    await cluster.delete(Ref(*REF_PARTS, uid="an older one"))
    assert PATH in api.objects
    await cluster.delete(Ref(*REF_PARTS, uid=api.objects[PATH]["metadata"]["uid"]))
    assert PATH not in api.objects


async def test_status_is_only_written_at_the_version_that_was_read(cluster):
    seen = await cluster.create(JOB)
    await cluster.replace_status({**seen, "status": {"active": 1}})
    with pytest.raises(Conflict):
        await cluster.replace_status({**seen, "status": {"active": 2}})
    assert (await cluster.get(REF))["status"] == {"active": 1}
    await cluster.delete(REF)
    with pytest.raises(NotFound):
        await cluster.replace_status({**seen, "status": {}})


async def test_log_tail_is_text_or_empty(cluster, api):
    assert await cluster.log_tail("team", "p") == ""
    api.logs["/api/v1/namespaces/team/pods/p/log"] = "one\ntwo\n"
    assert await cluster.log_tail("team", "p", lines=2) == "one\ntwo\n"
    assert api.queries[-1]["tailLines"] == "2"


@pytest.mark.parametrize(
    ("status", "reason", "error"),
    [
        (400, "BadRequest", Invalid),
        (401, "Unauthorized", Forbidden),
        (403, "Forbidden", Forbidden),
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (409, "AlreadyExists", AlreadyExists),
        (413, "RequestEntityTooLarge", Invalid),
        (422, "Invalid", Invalid),
        (429, "TooManyRequests", Unavailable),
        (500, "InternalError", Unavailable),
        (503, "ServiceUnavailable", Unavailable),
        (504, "Timeout", Unavailable),
    ],
)
async def test_every_refusal_becomes_its_error_with_the_servers_words(cluster, api, refuse, status, reason, error):
    api.faults = [lambda _: refuse(status, reason, "spec.epochs: must be at least 1")]
    with pytest.raises(
        error, match=r"POST /apis/batch/v1/namespaces/team/jobs: spec.epochs: must be at least 1 \(HTTP"
    ) as e:
        await cluster.create(JOB)
    assert type(e.value) is error
    assert e.value.status == status


async def test_the_time_the_server_asks_to_wait_is_kept(cluster, api, refuse):
    api.faults = [lambda _: refuse(429, "TooManyRequests", "later", {"Retry-After": "7"})]
    with pytest.raises(Unavailable) as e:
        await cluster.create(JOB)
    assert e.value.retry_after == 7


async def test_a_server_that_is_not_there_is_unavailable_and_named():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{s.getsockname()[1]}"
    transport = Transport(Connection(url), timeout=1)
    with pytest.raises(Unavailable, match=url):
        await KubernetesCluster(transport).list("batch/v1", "Job", None)
    await transport.close()


async def test_a_server_that_never_answers_is_unavailable_after_the_timeout(api):
    async def hang(_: web.Request) -> None:
        await asyncio.sleep(5)

    transport = Transport(Connection(api.url), timeout=0.2)
    api.faults = [hang]
    with pytest.raises(Unavailable, match="no answer in time"):
        await KubernetesCluster(transport).create(JOB)
    await transport.close()


async def test_a_connection_that_breaks_in_the_middle_is_unavailable(cluster, api):
    def cut(request: web.Request) -> None:
        request.transport.close()

    api.faults = [cut]
    with pytest.raises(Unavailable):
        await cluster.create(JOB)


async def test_a_page_of_a_proxy_is_unavailable_not_an_object(cluster, api):
    api.faults = [lambda _: web.Response(text="<html>login</html>")]
    with pytest.raises(Unavailable, match="not JSON"):
        await cluster.get(REF)


async def test_an_unknown_kind_says_what_to_install_and_is_found_once_it_is_there(cluster, api):
    with pytest.raises(NotFound, match="kubectl apply --server-side -k crds/"):
        await cluster.get(Ref("attune.dev/v1alpha1", "Retriever", "team", "a"))
    api.groups["/apis/attune.dev/v1alpha1"] = {"Retriever": "retrievers"}
    assert await cluster.get(Ref("attune.dev/v1alpha1", "Retriever", "team", "a")) is None


async def test_a_lost_event_never_fails_a_reconcile(cluster, api, refuse):
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "team"}}
    await cluster.emit(event)
    await cluster.emit(event)
    for code in (403, 404, 500):
        api.faults = [lambda _, code=code: refuse(code, "x", "no")]
        await cluster.emit(event)
    assert [method for method, path in api.requests if path.endswith("/events")] == ["POST"] * 5


async def test_no_write_leaves_a_process_that_does_not_lead(transport, api):
    def closed() -> None:
        raise NotLeader("deposed")

    cluster = KubernetesCluster(transport, fence=closed)
    for write in (cluster.create(JOB), cluster.apply(JOB), cluster.delete(REF), cluster.replace(JOB)):
        with pytest.raises(NotLeader):
            await write
    with pytest.raises(NotLeader):
        await cluster.replace_status({**JOB, "status": {}})
    await cluster.emit({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "team"}})
    assert await cluster.get(REF) is None
    assert {method for method, _ in api.requests} == {"GET"}


@pytest.mark.parametrize("warm", [True, False])
async def test_a_process_that_was_paused_while_it_connected_does_not_write(transport, api, warm):
    """The fence is open when the write begins, and closed when the connection (new or pooled) stands."""
    answers = iter([None, NotLeader("deposed")])

    def fence() -> None:
        if (error := next(answers)) is not None:
            raise error

    cluster = KubernetesCluster(transport, fence=fence)
    await cluster.discovery.resource("batch/v1", "Job")
    if not warm:
        transport._session.connector._conns.clear()
    with pytest.raises(NotLeader):
        await cluster.create(JOB)
    assert api.requests == []


async def test_an_old_token_is_renewed_once_and_the_request_sent_again(api, refuse):
    tokens = []

    async def token(fresh: bool) -> str:
        tokens.append(fresh)
        return "Bearer new" if fresh else "Bearer old"

    transport = Transport(Connection(api.url, authorization=token), timeout=2)
    api.faults = [lambda _: refuse(401, "Unauthorized", "expired")]
    await KubernetesCluster(transport).create(JOB)
    assert tokens[-1] is True
    assert [h["Authorization"] for h in api.headers] == ["Bearer old", "Bearer new"]
    assert PATH in api.objects
    await transport.close()


async def test_requests_are_counted_by_verb_and_code(api):
    counted = []
    transport = Transport(Connection(api.url), timeout=2, on_request=lambda verb, code: counted.append((verb, code)))
    cluster = KubernetesCluster(transport)
    await cluster.get(REF)
    await cluster.create(JOB)
    assert counted == [("GET", "200"), ("GET", "404"), ("POST", "201")]
    await transport.close()
