"""Startup, readiness and liveness probes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import aiohttp

Thing = dict[str, Any]


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


async def check(probe: Thing, container: Thing, address: str, env: dict[str, str]) -> bool:
    """One try; anything but a clear success is a failure."""
    try:
        return await asyncio.wait_for(_try(probe, container, address, env), probe.get("timeoutSeconds", 1))
    except (TimeoutError, OSError, aiohttp.ClientError):
        return False


async def _try(probe: Thing, container: Thing, address: str, env: dict[str, str]) -> bool:
    if "httpGet" in probe:
        wanted = probe["httpGet"]
        url = f"{wanted.get('scheme', 'HTTP').lower()}://{wanted.get('host') or address}:{port(wanted['port'], container)}{wanted.get('path', '/')}"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=False) as answer:
            return 200 <= answer.status < 400
    if "tcpSocket" in probe:
        _, writer = await asyncio.open_connection(address, port(probe["tcpSocket"]["port"], container))
        writer.close()
        return True
    process = await asyncio.create_subprocess_exec(
        *probe["exec"]["command"],
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait() == 0


def port(wanted: int | str, container: Thing) -> int:
    """A number, or the name of one of the container's ports."""
    if isinstance(wanted, int) or str(wanted).isdigit():
        return int(wanted)
    return next(int(p["containerPort"]) for p in container.get("ports") or [] if p.get("name") == wanted)
