"""How `attune test cancel` asks for the end of an A/B test, and waits for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from ab_test_objects import running
from attune.cli.ab_tests import cancelling
from attune.cli.session import Problem, Session

Listen = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


class Server:
    """One ABTest that ends as `ends` says when it is patched."""

    def __init__(self) -> None:
        self.test: dict[str, Any] = running()
        self.ends: dict[str, Any] | None = {"phase": "Cancelled", "message": "cancelled: spec.cancel is true"}
        self.patches: list[Any] = []
        self.away = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/apis/attune.dev/v1alpha1":
            return web.json_response({"resources": [{"name": "abtests", "kind": "ABTest", "namespaced": True}]})
        if request.method == "PATCH":
            self.patches.append(await request.json())
            if self.ends is not None:
                self.test = {**self.test, "status": {**self.test["status"], **self.ends}}
            return web.json_response(self.test)
        if self.patches and self.away > 0:
            self.away -= 1
            return web.Response(status=503)
        return web.json_response(self.test)


@pytest.fixture
async def server(listen: Listen) -> Server:
    made = Server()
    made.url = await listen(made.handle)
    return made


async def test_a_test_is_cancelled_by_one_field_and_its_end_is_waited_for(session: Session, server: Server) -> None:
    said: list[str] = []
    server.away = 2
    answer = await cancelling.cancel(session, cancelling.Asked("news-v7"), said.append)
    assert server.patches == [{"spec": {"cancel": True}}]
    assert (answer["result"], answer["message"]) == ("Cancelled", "cancelled: spec.cancel is true")
    assert (answer["samplesA"], answer["samplesB"], answer["before"]) == (1204, 301, "Running")
    assert said == ["news-v7: asked for; it is Running"]
    assert cancelling.exit_code(answer) == 0


async def test_a_test_that_is_decided_meanwhile_is_told_so(session: Session, server: Server) -> None:
    server.ends = {"phase": "Concluded", "winner": "B", "message": "emb-v7 is better"}
    answer = await cancelling.cancel(session, cancelling.Asked("news-v7"), lambda _: None)
    assert (answer["result"], answer["message"]) == ("Concluded", "winner B, emb-v7 is better")
    assert cancelling.exit_code(answer) == 1


async def test_a_request_without_an_answer_stands(session: Session, server: Server) -> None:
    server.ends = None
    answer = await cancelling.cancel(session, cancelling.Asked("news-v7", timeout=0.1), lambda _: None)
    assert (answer["result"], cancelling.exit_code(answer)) == ("Timeout", 3)
    assert "no answer after 0.1 s, the request stands" in answer["message"]
    answer = await cancelling.cancel(session, cancelling.Asked("news-v7", wait=False), lambda _: None)
    assert (answer["result"], cancelling.exit_code(answer)) == ("Asked", 0)


async def test_what_has_ended_cannot_be_cancelled(session: Session, server: Server) -> None:
    server.test = running(phase="Concluded", winner="A", message="emb-v7 is worse")
    with pytest.raises(Problem, match=r"news-v7 has ended already \(Concluded: winner A, emb-v7 is worse\)"):
        await cancelling.cancel(session, cancelling.Asked("news-v7"), lambda _: None)
    server.test = running(phase="Cancelled", reason="CancelRequested")
    answer = await cancelling.cancel(session, cancelling.Asked("news-v7"), lambda _: None)
    assert (answer["result"], cancelling.exit_code(answer)) == ("Cancelled", 0)
    assert server.patches == []


def test_help_of_tests_loads_nothing_heavy() -> None:
    script = (
        "import sys; from attune.cli.app import app; app(['test', 'plan', '--help'], standalone_mode=False)\n"
        "heavy = {'scipy', 'numpy', 'matplotlib', 'jinja2', 'plotext', 'aiohttp', 'kubernetes'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--per-day" in done.stdout
