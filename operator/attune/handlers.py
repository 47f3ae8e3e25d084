"""kopf as the source of events: watch streams in, keys out. kopf itself never writes anything.

Only low-level `on.event` handlers: they need no finalizer, no annotation and no patch. kopf runs on a thread and an
event loop of its own, because at its end it cancels every task of its loop that it did not know before it started;
keys cross over by `call_soon_threadsafe`. Made and stopped by `runtime`.

Two facts about kopf 1.45 that this module answers:
- a watch task that failed is not always restarted: so every stream must show itself (`Pulse`), or /healthz fails;
- a request that fails often enough ends its watch task: so requests are tried for ever (`_Forever`).
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any

import aiohttp
import kopf
import structlog

from attune.api import kinds, labels
from attune.cluster.connect import Connection
from attune.neighbours import Neighbours, phase_of
from attune.objects import Manifest
from attune.settings import Settings
from attune.telemetry.metrics import Metrics
from attune.workqueue import Key

log = structlog.get_logger(__name__)

CHILDREN = (("batch", "v1", "jobs"), ("", "v1", "pods"), ("", "v1", "configmaps"))
"""What we own and watch; only objects with our label, filtered by the server."""


class Pulse:
    """When each watch stream last made a request. The server ends every watch after a while, so a live one does."""

    def __init__(self, paths: Iterable[str], clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self.last = dict.fromkeys(paths, clock())

    def observe(self, request: aiohttp.ClientRequest) -> None:
        """Called for every request kopf makes, on kopf's thread."""
        if request.url.path in self.last:
            self.last[request.url.path] = self._clock()

    def stale(self, seconds: float) -> list[str]:
        """Streams without a sign of life for longer than that."""
        now = self._clock()
        return sorted(path for path, at in self.last.items() if now - at > seconds)


class EventSource:
    """Watches our kinds and what they own; calls `on_key` on the loop that started it."""

    def __init__(
        self, connection: Connection, settings: Settings, on_key: Callable[[Key], None], metrics: Metrics
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._on_key = on_key
        self._metrics = metrics
        self._neighbours = Neighbours()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kopf", daemon=True)
        self.ended: asyncio.Future[BaseException | None] | None = None
        self.pulse = Pulse(stream_paths(settings.namespaces))

    def start(self) -> None:
        """Begin to watch; `ended` is resolved when kopf ends, with the error if it is known."""
        self._loop = asyncio.get_running_loop()
        self.ended = self._loop.create_future()
        self._metrics.watch_streams(self.pulse.last)
        self._thread.start()

    def known(self) -> list[Key]:
        """Every object of ours that was seen and not deleted."""
        return self._neighbours.known()

    def retrievers(self) -> set[tuple[str, str]]:
        """Namespace and name of every Retriever that is there."""
        return self._neighbours.retrievers

    async def stop(self) -> None:
        """End the watches; returns when the thread has ended, or after some seconds (it is a daemon thread)."""
        self._stop.set()
        if self.ended is not None:
            await asyncio.wait([self.ended], timeout=5)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(
                kopf.operator(
                    registry=self._registry(),
                    settings=_kopf_settings(self._settings),
                    standalone=True,
                    clusterwide=not self._settings.namespaces,
                    namespaces=self._settings.namespaces,
                    stop_flag=self._stop,
                )
            )
        except BaseException as e:
            error = e
        self._to_loop(self._ended, error)

    def _ended(self, error: BaseException | None) -> None:
        if self.ended is not None and not self.ended.done():
            self.ended.set_result(error)

    def _registry(self) -> kopf.OperatorRegistry:
        """All handlers. The registry is our own: no import of this module registers anything."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self._login)
        kopf.on.cleanup(registry=registry)(self._cleanup)
        for kind in kinds.KINDS:
            watch = kopf.on.event(kinds.GROUP, kinds.VERSION, kind.plural, registry=registry, param=kind.kind)
            watch(self._own_event)
        for group, version, plural in CHILDREN:
            kopf.on.event(group, version, plural, registry=registry, id=f"{plural}-child")(self._child_event)
        return registry

    async def _login(self, **_: Any) -> kopf.AiohttpSession:
        return kopf.AiohttpSession(
            server=self._connection.server,
            default_namespace=self._connection.namespace,
            aiohttp_session=self._connection.session(observe=self.pulse.observe),
        )

    async def _cleanup(self, **_: Any) -> None:
        """kopf ends, wanted or not. Tell at once: after a failed watch its own shutdown may hang for ever."""
        self._to_loop(self._ended, None)

    async def _own_event(self, event: Any, param: Any = None, **_: Any) -> None:
        self._to_loop(self._wake_own, param, dict(event["object"]), event["type"] == "DELETED")

    async def _child_event(self, event: Any, **_: Any) -> None:
        self._to_loop(self._wake_child, dict(event["object"]))

    def _wake_own(self, kind: str, body: Manifest, deleted: bool) -> None:
        key = Key(kind, body["metadata"]["namespace"], body["metadata"]["name"])
        if deleted:
            self._metrics.object_gone(key)
        else:
            self._metrics.object_phase(key, phase_of(kind, body))
            if kind == "Retriever":
                self._metrics.actives.seen(key.namespace, key.name, body)
        for concerned in self._neighbours.own(kind, body, deleted=deleted):
            self._on_key(concerned)

    def _wake_child(self, body: Manifest) -> None:
        for concerned in self._neighbours.child(body):
            self._on_key(concerned)

    def _to_loop(self, call: Callable[..., None], *arguments: Any) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(call, *arguments)


class _Forever:
    """Pauses between the tries of one request: growing at first, then every half minute, without end."""

    def __iter__(self) -> Iterator[float]:
        yield from (1, 1, 2, 3, 5, 8, 13, 21)
        while True:
            yield 30


def _kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """kopf with everything switched off that writes, scans or pauses."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.scanning.disabled = True
    chosen.peering.standalone = True
    chosen.process.ultimate_exiting_timeout = None
    chosen.queueing.idle_timeout = 0.5
    chosen.queueing.exit_timeout = 0.5
    chosen.networking.error_backoffs = _Forever()
    chosen.networking.request_timeout = settings.request_seconds
    chosen.watching.server_timeout = settings.watch_seconds
    chosen.watching.client_timeout = settings.watch_seconds + settings.request_seconds
    chosen.watching.chunk_size = 500
    for group, version, plural in CHILDREN:
        chosen.watching.label_selectors[group, version, plural] = labels.RETRIEVER
    return chosen


def stream_paths(namespaces: Iterable[str]) -> list[str]:
    """The URL path of every watch stream there must be."""
    resources = [(kinds.GROUP, kinds.VERSION, kind.plural) for kind in kinds.KINDS]
    scopes = [f"/namespaces/{namespace}" for namespace in namespaces] or [""]
    roots = [
        (f"/apis/{group}/{version}" if group else f"/api/{version}", p) for group, version, p in [*resources, *CHILDREN]
    ]
    return [f"{root}{scope}/{plural}" for root, plural in roots for scope in scopes]
