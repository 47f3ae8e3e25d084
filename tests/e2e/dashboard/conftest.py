"""A real Chromium, the real application, an API server in memory; somebody who looks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from chromium import browser
from dashboard_visit import Visit
from dashboard_world import DashboardWorld


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def world() -> Iterator[DashboardWorld]:
    with DashboardWorld(ATTUNE_API_HEARTBEAT_SECONDS="0.5") as made:
        yield made


@pytest.fixture
def visit(chromium: Browser, world: DashboardWorld) -> Iterator[Visit]:
    """Nobody has signed in yet."""
    with Visit(chromium, world.url) as made:
        yield made


@pytest.fixture
def ada(visit: Visit) -> Visit:
    """May do everything."""
    visit.sign_in("admin-token")
    return visit


@pytest.fixture
def vera(visit: Visit) -> Visit:
    """May look."""
    visit.sign_in("viewer-token")
    return visit
