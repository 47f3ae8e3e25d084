"""Callers of the REST API, and a body for each of its POSTs. Used by the tests of `attune.rest`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx


class Caller(httpx.AsyncClient):
    """An HTTP client with somebody's token."""

    def __init__(self, app: Any, token: str | None) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        super().__init__(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://api", headers=headers
        )


def every_route(routes: Any) -> Iterator[Any]:
    """Those of included routers too, however FastAPI keeps them."""
    for route in routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            yield from every_route(inner.routes)
        else:
            yield route


def bodies() -> dict[str, Any]:
    """By path; what is not here takes an empty body."""
    metrics = [{"name": "clicks", "role": "primary"}]
    return {
        "/api/rag/models/train": {"retriever": "news", "type": "embedding"},
        "/api/rag/models/ab-test": {"retriever": "news", "modelB": "emb-v6", "metrics": metrics},
    }
