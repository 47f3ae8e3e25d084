"""Attune from Python: `Attune` for the REST API, `Serving` for what a Retriever's Pods answer, both also as `Async…`.

    with Attune("http://attune-api.attune-system:8090", token=..., namespace="team") as attune:
        run = attune.train(retriever="news", type="embedding")
        for state in attune.run_events(run.name):
            print(state.phase, state.message)

Needs `pip install 'attune[client]'`: httpx and pydantic, nothing of Kubernetes.
"""

from attune.client.asynchronous import AsyncAttune, AsyncServing
from attune.client.errors import (
    ApiError,
    BadRequest,
    ClientError,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    Refused,
    Unauthorized,
    Unavailable,
    Unreachable,
)
from attune.client.synchronous import Attune, Serving

__all__ = [
    "ApiError",
    "AsyncAttune",
    "AsyncServing",
    "Attune",
    "BadRequest",
    "ClientError",
    "Conflict",
    "Forbidden",
    "Gone",
    "NotFound",
    "Refused",
    "Serving",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
]
