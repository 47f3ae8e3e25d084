"""The life of the API process: connect, listen, serve, drain, end. Called by `__main__`."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Iterator

import structlog
import uvicorn

from attune.cluster.connect import Connection, NoClusterError, connect
from attune.cluster.transport import Transport
from attune.errors import StartError
from attune.rest.app import Api, build
from attune.rest.settings import ApiSettings

log = structlog.get_logger(__name__)

OK, FAILED = 0, 1
BACKLOG = 2048
SHUTDOWN_SECONDS = 10
KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep idle connections: who closes first loses no request."""


class _Server(uvicorn.Server):
    """Without uvicorn's own signals: a Pod that is asked to end first says that it is not ready, and goes on for a while."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(settings: ApiSettings) -> int:
    """Until SIGTERM or SIGINT; the exit code."""
    connection = await _connection(settings)
    listening = _listen(settings)
    transport = Transport(connection, timeout=settings.request_seconds)
    api = build(transport, settings)
    server = _Server(
        uvicorn.Config(
            api.app,
            log_config=None,
            access_log=False,
            lifespan="on",
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            backlog=BACKLOG,
            server_header=False,
            ssl_certfile=settings.tls_cert_file,
            ssl_keyfile=settings.tls_key_file,
        )
    )
    ending = asyncio.create_task(_until_told_to_end(server, api, settings))
    log.info(
        "attune api starts", port=listening.getsockname()[1], server=connection.server, namespace=settings.namespace
    )
    try:
        await server.serve(sockets=[listening])
        return OK if server.started else FAILED
    finally:
        ending.cancel()
        await transport.close()
        log.info("attune api ended")


async def _connection(settings: ApiSettings) -> Connection:
    try:
        return await connect(settings.kubeconfig, settings.kube_context)
    except NoClusterError as error:
        where = settings.kubeconfig or "KUBECONFIG, the pod's service account and ~/.kube/config"
        raise StartError(
            f"no cluster to talk to: {where}: {error.__cause__}; set ATTUNE_API_KUBECONFIG (and ATTUNE_API_CONTEXT), or run in a pod "
            "with a service account"
        ) from error


def _listen(settings: ApiSettings) -> socket.socket:
    """The socket, before anything is read: what is wrong with it is said at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StartError(
            f"cannot listen on {settings.host}:{settings.port} (ATTUNE_API_HOST, ATTUNE_API_PORT): {error.strerror}"
        ) from error


async def _until_told_to_end(server: uvicorn.Server, api: Api, settings: ApiSettings) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await told.wait()
    log.info("draining", seconds=settings.drain_seconds)
    api.draining = True
    await asyncio.sleep(settings.drain_seconds)
    api.streams.ending.set()
    server.should_exit = True
