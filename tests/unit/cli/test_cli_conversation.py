"""How the command line talks to an API server and to servers behind it: paths, errors in one line, logs that go on."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import typer
from aiohttp import web

from attune.api import Retriever
from attune.cli import logs, registry, searching
from attune.cli.session import Problem, Session, guarded
from attune.cluster.connect import Connection
from attune.cluster.transport import Transport
from attune.errors import Forbidden, NotFound, StartError, Unavailable

Listen = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]
SERVING = {"attune.dev/retriever": "news", "attune.dev/component": "serving"}
PROXY = "/api/v1/namespaces/team/services/news-serving:http/proxy/v1/search"
FOUND = {"model": "emb-v1", "index": "news_1", "data": [{"id": "d1", "score": 1.0, "title": "t", "content": "c"}]}


class Server:
    """Pods, their logs, and one Service behind the proxy."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = []
        self.answers: list[web.Response] = []
        self.asked: list[tuple[str, Any]] = []
        self.log: list[bytes] = []
        self.starts_after = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/api/v1":
            return web.json_response({"resources": [{"name": "pods", "kind": "Pod", "namespaced": True}]})
        if request.path.endswith("/log"):
            return await self._log(request)
        if request.path.endswith("/pods"):
            return web.json_response({"items": self.pods})
        if "/pods/" in request.path:
            return web.json_response(self.pods[0])
        self.asked.append((request.path, await request.json()))
        return self.answers.pop(0)

    async def _log(self, request: web.Request) -> web.StreamResponse:
        if self.starts_after > 0:
            self.starts_after -= 1
            return web.json_response({"kind": "Status", "message": "waiting to start"}, status=400)
        response = web.StreamResponse()
        await response.prepare(request)
        for part in self.log:
            await response.write(part)
            await asyncio.sleep(0.01)
        return response


def a_pod(name: str = "p0", ip: str = "10.0.0.7", *, ready: bool = True) -> dict[str, Any]:
    metadata = {"name": name, "uid": name, "creationTimestamp": "2026-03-15T12:00:00Z", "labels": SERVING}
    container = {"name": "serving", "ports": [{"name": "http", "containerPort": 8000}]}
    waiting = {"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
    status = {
        "podIP": ip,
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [] if ready else [waiting],
    }
    return {"metadata": metadata, "spec": {"containers": [container]}, "status": status}


@pytest.fixture
async def server(listen: Listen) -> Server:
    made = Server()
    made.url = await listen(made.handle)
    return made


# ---- search


async def test_a_search_goes_through_the_proxy_of_the_api_server(session: Session, server: Server) -> None:
    server.pods, server.answers = [a_pod()], [web.json_response(FOUND)]
    assert await searching.search(session, "news", {"query": "x", "model": "active"}) == FOUND
    assert server.asked == [(PROXY, {"query": "x", "model": "active"})]


async def test_the_servers_own_words_come_through_the_proxy(session: Session, server: Server) -> None:
    refusal = {
        "error": {"message": "model: 'emb-v9' is not loaded; there are: emb-v1", "type": "invalid_request_error"}
    }
    server.pods, server.answers = [a_pod()], [web.json_response(refusal, status=404)]
    with pytest.raises(Problem, match=r"'emb-v9' is not loaded; there are: emb-v1 \(HTTP 404\)"):
        await searching.search(session, "news", {"query": "x"})


async def test_a_pod_on_a_loopback_address_is_asked_directly_at_its_http_port(session: Session, server: Server) -> None:
    pod = a_pod(ip="127.0.0.1")
    pod["spec"]["containers"][0]["ports"][0]["containerPort"] = int(server.url.rpartition(":")[2])
    server.pods, server.answers = [a_pod("p1", ready=False), pod], [web.json_response(FOUND)]
    assert await searching.search(session, "news", {"query": "x"}) == FOUND
    assert server.asked[0][0] == "/v1/search"


async def test_without_a_ready_pod_one_is_told_where_to_look(session: Session, server: Server) -> None:
    server.pods = [a_pod(ready=False), {**a_pod(), "metadata": {**a_pod()["metadata"], "deletionTimestamp": "now"}}]
    with pytest.raises(
        Problem, match="no serving Pod of Retriever news is ready; `kubectl attune status news` says why"
    ):
        await searching.search(session, "news", {"query": "x"})


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (web.json_response({"error": {"message": "query: give a text"}}, status=400), "query: give a text (HTTP 400)"),
        (web.Response(text="<html>a gateway</html>"), "did not answer well"),
        (web.json_response(["not", "an", "answer"]), "['not', 'an', 'answer'] (HTTP 200)"),
    ],
)
async def test_what_a_given_server_says_that_is_no_answer(server: Server, answer: web.Response, words: str) -> None:
    server.answers = [answer]
    with pytest.raises(Problem) as problem:
        await searching.ask(server.url, {"query": ""})
    assert words in str(problem.value)


# ---- logs


async def test_lines_are_whole_however_they_arrive(session: Session, server: Server) -> None:
    server.log = ["first\nsecönd".encode()[:10], "first\nsecönd".encode()[10:], b" line\n", b"no end"]
    found = [line async for line in session.transport.lines("/api/v1/namespaces/team/pods/p0/log")]
    assert found == ["first", "secönd line", "no end"]


async def test_a_log_that_cannot_be_reached_is_an_error_of_ours() -> None:
    transport = Transport(Connection("http://127.0.0.1:1"))
    with pytest.raises(Unavailable):
        _ = [line async for line in transport.lines("/log")]
    await transport.close()


async def test_a_pod_that_has_not_started_is_waited_for_and_the_reason_is_said_once(
    session: Session, server: Server
) -> None:
    server.pods, server.log, server.starts_after = [a_pod(ready=False)], [b"hello\n"], 2
    said: list[str] = []
    await logs._serving(session, "news", logs.Shown(said.append, follow=True))
    assert said == ["has not started: ErrImagePull: no such image", "hello"]
    server.starts_after = 2
    await logs._serving(session, "news", logs.Shown(said.append))
    assert said[2:] == ["has not started: ErrImagePull: no such image"]


def test_progress_is_made_readable_and_other_lines_are_left() -> None:
    progress = {
        "stage": "train",
        "percent": 43.2,
        "epoch": 0.86,
        "loss": 0.51234,
        "examplesPerSecond": 12.3,
        "estimatedRemainingSeconds": 200,
    }
    line = json.dumps({"attuneProgress": progress})
    assert logs.readable(line) == "train 43%, epoch 0.86, loss 0.512, 12 examples/s, 3m20s left"
    assert logs.readable('{"attuneProgress": {"percent": 1}}') == '{"attuneProgress": {"percent": 1}}'
    assert logs.readable("Traceback") == "Traceback"
    said: list[str] = []
    logs.Shown(said.append, raw=True).line(line, "p0: ")
    assert said == [f"p0: {line}"]


# ---- rebuild


def an_entry(name: str | None, folder: str, **manifest: Any) -> dict[str, Any]:
    known = {"type": "embedding", "baseModel": "org/base", "source": "training"}
    told = known | ({"version": name} if name else {}) | manifest
    return {"uri": f"pvc://store/attune/team/news/versions/{folder}", "digest": "sha256:" + "a" * 64, "manifest": told}


RETRIEVER = {
    "apiVersion": "attune.dev/v1alpha1",
    "kind": "Retriever",
    "metadata": {"name": "news", "namespace": "team", "uid": "0a1b2c3d-0000-4000-8000-000000000000"},
    "spec": {
        "embedding": {"baseModel": "org/base"},
        "storage": {"uri": "pvc://store/attune", "secretRef": {"name": "keys"}},
    },
}


def test_a_version_is_made_from_what_its_manifest_says_and_nothing_else() -> None:
    config = {"baseModel": "org/base", "epochs": 1}
    entry = an_entry("emb-v7-20260101", "emb-v7-20260101-0a1b2c3d", config=config)
    made = registry.version_of(entry, RETRIEVER, 99)
    assert made["metadata"]["name"] == "emb-v7-20260101"
    assert made["metadata"]["labels"] == {"attune.dev/retriever": "news", "attune.dev/type": "embedding"}
    assert made["spec"] == {
        "retriever": "news",
        "type": "embedding",
        "version": 7,
        "baseModel": "org/base",
        "config": config,
        "artifact": {"uri": entry["uri"], "digest": entry["digest"]},
        "source": {"import": entry["uri"]},
    }
    assert "status" not in made, "status is the operator's"


def test_a_name_without_a_number_gets_a_spare_one_and_an_old_manifest_the_name_of_its_folder() -> None:
    by_hand = registry.version_of(an_entry("bge-by-hand", "bge"), RETRIEVER, 9)
    assert (by_hand["metadata"]["name"], by_hand["spec"]["version"]) == ("bge-by-hand", 9)
    old = registry.version_of(an_entry(None, "rer-v3-20260101-0a1b2c3d", type="reranker"), RETRIEVER, 9)
    assert (old["metadata"]["name"], old["spec"]["version"], old["spec"]["type"]) == ("rer-v3-20260101", 3, "reranker")


def test_the_job_that_reads_the_store_mounts_the_claim_to_read_and_has_no_rights() -> None:
    retriever = Retriever.model_validate(RETRIEVER)
    pod = registry.list_job(retriever, "pvc://store/attune/team/news/versions", "trainer:1")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert container["args"] == ["registry", "pvc://store/attune/team/news/versions"]
    assert {"name": "store", "mountPath": "/mnt/pvc/store", "readOnly": True} in container["volumeMounts"]
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert pod["automountServiceAccountToken"] is False
    remote = registry.list_job(retriever, "s3://bucket/team/news/versions", "trainer:1")["spec"]["template"]["spec"]
    assert [v["name"] for v in remote["volumes"]] == ["tmp"]


# ---- errors and start


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (Problem("no such thing"), 1, "attune: no such thing\n"),
        (StartError("no cluster"), 2, "attune: no cluster\n"),
        (Forbidden("cannot list"), 1, "attune: not allowed: cannot list; ask whoever gives rights in this namespace\n"),
        (NotFound("no kind X"), 1, "attune: no kind X\n"),
        (Unavailable("no answer in time"), 1, "attune: no answer in time\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_can_be_foreseen_is_one_line_and_an_exit_code(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail() -> None:
        raise error

    with pytest.raises(typer.Exit) as ended:
        guarded(fail)
    assert ended.value.exit_code == code
    assert capsys.readouterr().err == words


def test_help_needs_neither_cluster_nor_the_libraries_to_reach_one() -> None:
    script = (
        "import sys; from attune.cli.app import app; app(['--help'], standalone_mode=False)\n"
        "print(sorted({'kubernetes', 'aiohttp', 'kopf', 'torch', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "rollback" in done.stdout
