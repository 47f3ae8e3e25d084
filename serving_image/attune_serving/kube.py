"""One ConfigMap, read and watched through the API server: plain HTTP with the Pod's token, no client library. Used by `source`."""

import asyncio
import json
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any

import httpx

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
WATCH_SECONDS = 60
"""A watch is asked to end after so long. One that says nothing for a quarter longer is dead, whatever the socket says."""
SHORTEST_WATCH_SECONDS = 1.0
"""A server (or a proxy) that ends every watch at once is not asked more often than this."""
CONNECT_SECONDS = 3.0
GONE = 410
KEEP_ALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]
"""A peer that vanished without a word is noticed in 20 seconds: a rollback must not wait for a timeout."""


class ConfigMapGone(Exception):
    """The API server answers, and there is no such ConfigMap, or it lacks the key."""


class WatchEnded(Exception):
    """The stream is over. `healthy`: the server ended it, as it does now and then."""

    def __init__(self, message: str, *, healthy: bool = False) -> None:
        super().__init__(message)
        self.healthy = healthy


class ApiServer:
    """One namespace of one API server."""

    def __init__(self, address: str, namespace: str, *, token_file: Path | None, ca_file: Path | None) -> None:
        self._token_file = token_file
        self._ca_file = ca_file
        self._root = f"{address.rstrip('/')}/api/v1/namespaces/{namespace}/configmaps"

    async def config_map(self, name: str, key: str) -> AsyncIterator[dict[str, str]]:
        """Its data now, and after each change; `key` is in it. Raises ConfigMapGone, or WatchEnded for everything else."""
        try:
            async with self._client() as client:
                version, data = await self._now(client, name, key)
                yield data
                while True:
                    began = monotonic()
                    async for changed, version_ in self._changes(client, name, version):
                        version = version_
                        if changed is not None:
                            yield _data(changed, name, key)
                    await asyncio.sleep(max(0.0, SHORTEST_WATCH_SECONDS - (monotonic() - began)))
        except (httpx.HTTPError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            # The last four: JSON that is none, or not what an API server sends; a proxy's page, say.
            raise WatchEnded(f"{self._root}/{name}: {type(error).__name__}: {error}") from error

    def _client(self) -> httpx.AsyncClient:
        """A client for one list and its watches. The authority is read each time, as it may be renewed."""
        verify: ssl.SSLContext | bool = (
            ssl.create_default_context(cafile=str(self._ca_file)) if self._ca_file is not None else True
        )
        transport = httpx.AsyncHTTPTransport(verify=verify, trust_env=False, socket_options=KEEP_ALIVE)
        timeout = httpx.Timeout(CONNECT_SECONDS, read=1.25 * WATCH_SECONDS)
        return httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False)

    async def _now(self, client: httpx.AsyncClient, name: str, key: str) -> tuple[str, dict[str, str]]:
        answer = await client.get(f"{self._root}/{name}", headers=self._headers(), timeout=10)
        if answer.status_code == 404:
            raise ConfigMapGone(f"ConfigMap {name}")
        if answer.status_code != 200:
            raise WatchEnded(f"{self._root}/{name}: HTTP {answer.status_code}: {answer.text[:200]}")
        found = answer.json()
        return found["metadata"]["resourceVersion"], _data(found, name, key)

    async def _changes(
        self, client: httpx.AsyncClient, name: str, version: str
    ) -> AsyncIterator[tuple[dict[str, Any] | None, str]]:
        """(changed object or None for a bookmark, resourceVersion) until the server ends the stream."""
        query = {
            "watch": "1",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async with client.stream("GET", self._root, params=query, headers=self._headers()) as lines:
            if lines.status_code != 200:
                text = (await lines.aread()).decode(errors="replace")[:200]
                raise WatchEnded(
                    f"watch of {name}: HTTP {lines.status_code}: {text}", healthy=lines.status_code == GONE
                )
            async for line in lines.aiter_lines():
                if not line.strip():
                    continue
                event = json.loads(line)
                kind, thing = event["type"], event["object"]
                if kind == "ERROR":
                    raise WatchEnded(f"watch of {name}: {thing.get('message')}", healthy=thing.get("code") == GONE)
                if kind == "DELETED":
                    raise ConfigMapGone(f"ConfigMap {name} was deleted")
                yield (None if kind == "BOOKMARK" else thing), thing["metadata"]["resourceVersion"]

    def _headers(self) -> dict[str, str]:
        """The token is read each time: kubelet renews it."""
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        except OSError as error:
            raise WatchEnded(f"{self._token_file}: {error.strerror}") from error


def _data(thing: dict[str, Any], name: str, key: str) -> dict[str, str]:
    data = {str(k): str(v) for k, v in (thing.get("data") or {}).items()}
    if key not in data:
        raise ConfigMapGone(f"ConfigMap {name} has no key {key}")
    return data


def in_cluster(namespace: str | None, address: str | None) -> ApiServer | None:
    """The API server that this Pod belongs to, or the one at `address`; None outside of a cluster."""
    host = os.environ.get("KUBERNETES_SERVICE_HOST")
    if address is None and host is None:
        return None
    if address is None and host is not None:
        shown = f"[{host}]" if ":" in host else host
        address = f"https://{shown}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}"
    token, ca = ACCOUNT / "token", ACCOUNT / "ca.crt"
    own = ACCOUNT / "namespace"
    space = namespace or (own.read_text().strip() if own.is_file() else "default")
    return ApiServer(
        str(address), space, token_file=token if token.is_file() else None, ca_file=ca if ca.is_file() else None
    )
