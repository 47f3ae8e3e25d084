"""The node's connection to the API server: JSON over HTTP, list and watch."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import yaml

Thing = dict[str, Any]
MERGE_PATCH = "application/merge-patch+json"


class ApiError(Exception):
    """The API server said no. `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """Requests with the token of a kubeconfig. Transport errors are raised as they are: callers try again."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        known = config["clusters"][0]["cluster"]
        self.server: str = known["server"]
        self.certificate = Path(known["certificate-authority"])
        self._token = config["users"][0]["user"]["token"]
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Api:
        context = ssl.create_default_context(cafile=str(self.certificate))
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            headers={"Authorization": f"Bearer {self._token}"},
            timeout=aiohttp.ClientTimeout(total=30),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, path: str, **query: str) -> Thing:
        return await self._request("GET", path, query=query)

    async def find(self, path: str) -> Thing | None:
        """None where there is no such object."""
        try:
            return await self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def post(self, path: str, body: Thing) -> Thing:
        return await self._request("POST", path, body)

    async def patch(self, path: str, body: Thing) -> Thing:
        return await self._request("PATCH", path, body, kind=MERGE_PATCH)

    async def delete(self, path: str, body: Thing | None = None) -> None:
        try:
            await self._request("DELETE", path, body)
        except ApiError as error:
            if error.status not in {404, 409}:
                raise

    async def follow(self, path: str, **query: str) -> AsyncIterator[tuple[str, Thing]]:
        """First ("LIST", list), then (type, object) of each event; ends when the server ends the watch."""
        found = await self.get(path, **query)
        yield "LIST", found
        version = found["metadata"]["resourceVersion"]
        assert self._session is not None
        watch = {
            **query,
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "300",
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_read=330)
        async with self._session.get(self.server + path, params=watch, timeout=timeout) as answer:
            if answer.status != 200:
                raise ApiError(answer.status, await answer.text())
            while line := await _line(answer.content):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise ApiError(int(event["object"].get("code", 500)), str(event["object"].get("message")))
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]

    async def _request(
        self,
        verb: str,
        path: str,
        body: Thing | None = None,
        *,
        query: dict[str, str] | None = None,
        kind: str = "application/json",
    ) -> Thing:
        assert self._session is not None
        data = json.dumps(body).encode() if body is not None else None
        headers = {"Content-Type": kind} if data is not None else {}
        async with self._session.request(
            verb, self.server + path, params=query or {}, data=data, headers=headers
        ) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise ApiError(answer.status, text[:500])
            made: Thing = json.loads(text)
            return made


async def _line(content: aiohttp.StreamReader) -> bytes:
    """One line of any length; b"" at the end."""
    parts = []
    while True:
        try:
            part = await content.readuntil(b"\n")
        except ValueError:  # longer than the buffer
            part = await content.readany()
        parts.append(part)
        if not part or part.endswith(b"\n"):
            return b"".join(parts)


async def again(seconds: float = 0.5) -> None:
    """The pause before something is tried again."""
    await asyncio.sleep(seconds)
