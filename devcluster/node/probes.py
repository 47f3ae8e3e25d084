"""Startup, readiness and liveness probes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

Thing = dict[str, Any]
Execute = Callable[[list[str]], Awaitable[int]]
"""Runs a command inside the container; answers its exit code."""


@dataclass(slots=True)
class Tally:
    """Counts results in a row; flips after as many as the thresholds say."""

    success_threshold: int
    failure_threshold: int
    healthy: bool
    row: int = 0

    def count(self, ok: bool) -> bool:
        """The verdict after one more result."""
        if ok == self.healthy:
            self.row = 0
            return self.healthy
        self.row += 1
        if self.row >= (self.success_threshold if ok else self.failure_threshold):
            self.healthy, self.row = ok, 0
        return self.healthy


def tally(probe: Thing, healthy: bool) -> Tally:
    return Tally(probe.get("successThreshold", 1), probe.get("failureThreshold", 3), healthy)


def period(probe: Thing) -> float:
    return float(probe.get("periodSeconds", 10))


async def check(probe: Thing, container: Thing, address: str, execute: Execute) -> bool:
    """One try; anything but a clear success is a failure."""
    try:
        return await asyncio.wait_for(_try(probe, container, address, execute), probe.get("timeoutSeconds", 1))
    except (TimeoutError, OSError, aiohttp.ClientError):
        return False


async def started(probe: Thing, once: Callable[[], Awaitable[bool]]) -> bool:
    """Try until it succeeds; False after as many failures as the threshold allows."""
    await asyncio.sleep(probe.get("initialDelaySeconds", 0))
    for attempt in range(probe.get("failureThreshold", 3)):
        if attempt:
            await asyncio.sleep(period(probe))
        if await once():
            return True
    return False


async def _try(probe: Thing, container: Thing, address: str, execute: Execute) -> bool:
    if "httpGet" in probe:
        wanted = probe["httpGet"]
        host, number = wanted.get("host") or address, port(wanted["port"], container)
        url = f"{wanted.get('scheme', 'HTTP').lower()}://{host}:{number}{wanted.get('path', '/')}"
        headers = {h["name"]: h["value"] for h in wanted.get("httpHeaders") or []}
        async with aiohttp.ClientSession(headers=headers) as session, session.get(url, ssl=False) as answer:
            return 200 <= answer.status < 400
    if "tcpSocket" in probe:
        wanted = probe["tcpSocket"]
        _, writer = await asyncio.open_connection(wanted.get("host") or address, port(wanted["port"], container))
        writer.close()
        return True
    if "exec" in probe:
        return await execute(probe["exec"]["command"]) == 0
    raise OSError(f"this node does not know the probe {sorted(probe)}")


def port(wanted: int | str, container: Thing) -> int:
    """A number, or the name of one of the container's ports."""
    if isinstance(wanted, int) or str(wanted).isdigit():
        return int(wanted)
    for known in container.get("ports") or []:
        if known.get("name") == wanted:
            return int(known["containerPort"])
    raise OSError(f"no port named {wanted!r} in container {container['name']!r}")
