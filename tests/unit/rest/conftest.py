"""The REST API over an API server in memory, and callers with other rights."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from attune.rest.app import Api
from kube_server import KubeServer
from rest_callers import Caller
from rest_world import a_server, api_over, sample_objects


@pytest.fixture
async def server() -> AsyncIterator[KubeServer]:
    """With the sample objects of `rest_world`."""
    made = a_server()
    for thing in sample_objects():
        made.put(thing)
    async with made.serving():
        yield made


@pytest.fixture
async def api(server: KubeServer) -> AsyncIterator[Api]:
    """Nothing is remembered, so that rights count at once."""
    async with api_over(server, ATTUNE_API_REVIEW_SECONDS="0") as made:
        yield made


@pytest.fixture
async def ada(api: Api) -> AsyncIterator[Caller]:
    """May do everything in `team`."""
    async with Caller(api.app, "admin-token") as made:
        yield made


@pytest.fixture
async def vera(api: Api) -> AsyncIterator[Caller]:
    """May look at everything in `team`."""
    async with Caller(api.app, "viewer-token") as made:
        yield made


@pytest.fixture
async def noah(api: Api) -> AsyncIterator[Caller]:
    """Is known, and may do nothing."""
    async with Caller(api.app, "nobody-token") as made:
        yield made
