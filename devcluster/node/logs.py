"""The kubelet's HTTPS endpoint for `kubectl logs`. Anybody on this machine may ask: it listens on 127.0.0.1 only."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from devcluster.node.pod import Pod
from devcluster.node.run import Container

Find = Callable[[str, str], Pod | None]


async def serve(find: Find, folder: Path, port: int) -> web.AppRunner:
    """Start the server; `find(namespace, name)` gives the Pod."""
    app = web.Application()
    app["find"] = find
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", _logs)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(folder))
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    return runner


async def _logs(request: web.Request) -> web.StreamResponse:
    names = request.match_info
    pod: Pod | None = request.app["find"](names["namespace"], names["pod"])
    container = pod.container(names["container"]) if pod else None
    if container is None:
        return web.Response(status=404, text=f"no container {names['container']!r} of pod {names['pod']!r} here\n")
    previous = request.query.get("previous") == "true"
    path = container.log(previous)
    if path is None:
        why = "has no previous run" if previous else f"is waiting to start: {(container.state.waiting or ('',))[0]}"
        return web.Response(status=400, text=f"container {names['container']!r} in pod {names['pod']!r} {why}\n")
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    data = path.read_bytes()
    tail, limit = request.query.get("tailLines"), request.query.get("limitBytes")
    shown = last_lines(data, int(tail)) if tail else data
    await response.write(shown[: int(limit)] if limit else shown)
    if request.query.get("follow") == "true":
        await _follow(response, container, path, len(data))
    await response.write_eof()
    return response


def last_lines(data: bytes, count: int) -> bytes:
    """The last `count` lines, the unfinished one included."""
    return b"".join(data.splitlines(keepends=True)[-count:]) if count > 0 else b""


async def _follow(response: web.StreamResponse, container: Container, path: Path, offset: int) -> None:
    """What is added, until this run of the container has ended."""
    while True:
        ended = not container.state.running or container.log(previous=False) != path
        if path.exists():
            with path.open("rb") as handle:
                handle.seek(offset)
                added = handle.read()
            if added:
                offset += len(added)
                await response.write(added)
        if ended:
            return
        await asyncio.sleep(0.1)


def _certificate(folder: Path) -> Path:
    """A self-signed certificate; the API server does not verify kubelets here."""
    path = folder / "node.pem"
    if path.exists():
        return path
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "process-node")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.touch(mode=0o600)
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path
