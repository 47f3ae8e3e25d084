"""`attune-serving`: the process of a serving Pod. Settings from the environment; by hand: `attune-serving --config FILE`."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import stamina
import structlog
import uvicorn

from attune_serving.answering import Answering
from attune_serving.app import App
from attune_serving.asking import Asking
from attune_serving.attempts import Attempts
from attune_serving.batching import BatchLimits
from attune_serving.cache import Cache
from attune_serving.counting import Collected, Counter, Journal, Peers
from attune_serving.guarding import Guarding, Guards
from attune_serving.kube import in_cluster
from attune_serving.metrics import Metrics
from attune_serving.probing import Asker, Prober
from attune_serving.replica import Replica
from attune_serving.settings import Settings, SettingsError, load_settings
from attune_serving.shelf import Shelf
from attune_serving.source import Source

log = structlog.get_logger("attune_serving")
OK, BAD_SETTINGS, FAILED = 0, 2, 1
SHUTDOWN_SECONDS = 20
THREAD_SECONDS = 2.0
BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep idle connections (httpx 5 s, many proxies 60 s): who closes first loses no request."""


class Server(uvicorn.Server):
    """uvicorn without its own signals: a Pod that is asked to end first says that it is not ready, and goes on for a while."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; returns the exit code."""
    options = _options(arguments)
    try:
        settings = load_settings()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return BAD_SETTINGS
    if options.config is not None and not options.config.is_file():
        sys.stderr.write(f"--config {options.config}: there is no such file; give a ServingConfig as JSON\n")
        return BAD_SETTINGS
    _logs(settings.log_level)
    with contextlib.ExitStack() as stack:
        if options.config is not None:
            cache = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="attune-serving-")))
            chosen = {"config_file": options.config.absolute(), "config_map": None}
            settings = settings.model_copy(
                update=chosen | ({} if "cache" in settings.model_fields_set else {"cache": cache})
            )
        if options.port is not None:
            settings = settings.model_copy(update={"http_port": options.port})
        try:
            listening = _listen(settings)
        except OSError as error:
            sys.stderr.write(
                f"cannot listen on ATTUNE_HTTP_HOST={settings.http_host} ATTUNE_HTTP_PORT={settings.http_port}: "
                f"{error.strerror}; give another port, or the address of an interface of this machine\n"
            )
            return FAILED
        code = _run(_serve(settings, listening))
    if _threads_hang():
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    return code


def _listen(settings: Settings) -> socket.socket:
    """The socket, before anything is loaded: what is wrong with it is said at once."""
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    return socket.create_server((settings.http_host, settings.http_port), family=family, backlog=BACKLOG)


def _threads_hang() -> bool:
    """Whether a thread waits for a store that does not answer. All requests are answered, so nobody is to wait for it."""
    until = monotonic() + THREAD_SECONDS
    others = [t for t in threading.enumerate() if t is not threading.main_thread() and not t.daemon]
    for thread in others:
        thread.join(max(0.0, until - monotonic()))
    return any(thread.is_alive() for thread in others)


def _run(work: Coroutine[Any, Any, int]) -> int:
    """Run it on the fastest event loop there is."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


async def _serve(settings: Settings, listening: socket.socket) -> int:
    metrics = Metrics()
    cache = Cache(settings.cache)
    limits = BatchLimits(settings.max_batch_tokens, settings.max_batch_texts, settings.max_queue_tokens)
    shelf = Shelf(cache, metrics, limits, settings.retry_seconds, settings.precision)
    replica = Replica(settings.replica, shelf, cache, metrics)
    asking, attempts = Asking(settings), Attempts(metrics.registry, replica.process)
    guards = Guards(attempts)
    prober = Prober(replica, Asker(asking), attempts, settings.probe_seconds)
    answering = Answering(replica, settings, asking, guards, Guarding(attempts, settings.guard_seconds))
    api = in_cluster(settings.namespace, settings.api_server) if settings.config_map else None
    peers = Peers(replica.name, settings.peers or None, told_later=api is not None)
    counter = Counter(peers, Journal(settings.cache / "counting"), replica.process, settings.max_test_units)
    replica.guards, replica.probes = guards.reports, prober.reports
    replica.on_serving = (guards.configured, counter.configured, prober.configured)
    metrics.registry.register(Collected(replica.process, counter.runs))
    app = App(replica, answering, metrics, counter)
    background = [asyncio.create_task(work) for work in (counter.run(), app.sampler.run(), prober.run())]
    source = asyncio.create_task(Source(replica, api, settings.config_map, settings.config_file, peers.told).run())
    server = Server(
        uvicorn.Config(
            app.asgi,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            backlog=BACKLOG,
            server_header=False,
        )
    )
    port = listening.getsockname()[1]
    ending = asyncio.create_task(_until_told_to_end(server, replica, port, settings.drain_seconds))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await asyncio.wait([serving, source], return_when=asyncio.FIRST_COMPLETED)
        if source.done() and not serving.done():
            log.error("the source of the configuration ended", problem=repr(source.exception()))
            server.should_exit = True
            await serving
            return FAILED
        return OK if server.started else FAILED
    finally:
        for task in (source, ending, *background):
            task.cancel()
        await peers.close()
        await asking.close()
        await shelf.close()
        log.info("attune serving ended")


async def _until_told_to_end(server: Server, replica: Replica, port: int, drain_seconds: float) -> None:
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    await server.up.wait()
    log.info("attune serving starts", replica=replica.name, port=port)
    await told.wait()
    replica.draining = True
    log.info("draining", seconds=drain_seconds)
    await asyncio.sleep(drain_seconds)
    server.should_exit = True


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="attune-serving",
        description="Serves a Retriever's embedding model, reranker and index. In a Pod it is told by ATTUNE_* variables.",
    )
    parser.add_argument("--config", type=Path, help="a ServingConfig as a file, to serve by hand without Kubernetes")
    parser.add_argument("--port", type=int, help="port to listen on; 0: any free one, named in the log")
    return parser.parse_args(arguments)


def _logs(level: str) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    stamina.instrumentation.set_on_retry_hooks([])
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


if __name__ == "__main__":
    sys.exit(main())
