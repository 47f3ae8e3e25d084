"""GET /v1/versions of serving Pods: no token, no retry, little patience. Used by `client`, and thus by `observe`."""

import asyncio
from typing import Any

import aiohttp

_LONGEST = 1 << 20
_AT_ONCE = 64


class Replicas:
    """One pool of connections to serving Pods. Made lazily, on the event loop that uses it; `close` it at the end."""

    def __init__(self, *, seconds: float = 1.0, connect_seconds: float = 0.5) -> None:
        self._timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=connect_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def report(self, address: str) -> dict[str, Any] | None:
        """The report of the replica at `host:port`; None for silence, an error, or something that is not a report."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=_AT_ONCE, keepalive_timeout=30)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, trust_env=False)
        try:
            async with self._session.get(f"http://{address}/v1/versions", allow_redirects=False) as response:
                if response.status != 200 or (response.content_length or 0) > _LONGEST:
                    return None
                found = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, asyncio.IncompleteReadError, OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    async def close(self) -> None:
        """Close the pool."""
        if self._session is not None:
            await self._session.close()
            self._session = None
