"""An API server of a test's own, and a session with it. A test defines the fixture `server`, whose `url` is what `listen` gave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from attune.cli.session import Session
from attune.cluster.client import KubernetesCluster
from attune.cluster.connect import Connection
from attune.cluster.transport import Transport

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def listen() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    """`url = await listen(handler)`."""
    runners: list[web.ServerRunner] = []

    async def start(handler: Handler) -> str:
        runner = web.ServerRunner(web.Server(handler))
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def session(server: Any) -> AsyncIterator[Session]:
    transport = Transport(Connection(server.url))
    yield Session("team", transport, KubernetesCluster(transport))
    await transport.close()
