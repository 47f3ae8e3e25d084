"""Closed-loop load: so many clients, each sends its next request when the last one is answered. Raw sockets, so that little is lost
to the client. The same for every peer."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """What a load found."""

    requests: int
    seconds: float
    p50: float
    p99: float
    failed: int

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds


async def _client(
    host: str, port: int, bodies: Sequence[bytes], until: float, latencies: list[float], failed: list[int]
) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    number = 0
    try:
        while time.monotonic() < until:
            body = bodies[number % len(bodies)]
            number += 1
            began = time.monotonic()
            head = f"POST /v1/embeddings HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            status = (await reader.readline()).split()[1]
            length, chunked = 0, False
            while (line := await reader.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
                chunked = chunked or (name.lower() == b"transfer-encoding" and b"chunked" in value)
            if chunked:
                while (size := int(await reader.readline(), 16)) > 0:
                    await reader.readexactly(size + 2)
                await reader.readline()
            else:
                await reader.readexactly(length)
            latencies.append(time.monotonic() - began)
            if status != b"200":
                failed[0] += 1
    finally:
        writer.close()


async def _run(port: int, clients: int, texts: Sequence[str], seconds: float, model: str) -> Measured:
    bodies = [json.dumps({"model": model, "input": text}).encode() for text in texts]
    latencies: list[float] = []
    failed = [0]
    began = time.monotonic()
    shares = [bodies[n * 7 % len(bodies) :] + bodies[: n * 7 % len(bodies)] for n in range(clients)]
    await asyncio.gather(*(_client("127.0.0.1", port, share, began + seconds, latencies, failed) for share in shares))
    took = time.monotonic() - began
    ordered = sorted(latencies)
    return Measured(len(ordered), took, _quantile(ordered, 0.5), _quantile(ordered, 0.99), failed[0])


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(port: int, clients: int, texts: Sequence[str], *, seconds: float, model: str) -> Measured:
    """Load on a server that is warm already."""
    return asyncio.run(_run(port, clients, texts, seconds, model))
