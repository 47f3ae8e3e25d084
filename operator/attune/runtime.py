"""The life of the operator process: start, wait for the cluster, watch, lead, drain, end. Run by `__main__`.

    telemetry server ─ connect ─ wait for the API server and the CRDs ─ watch ─ acquire the lease ─ work
                                                                         └ standby: keys gather, nothing runs

A standby watches, too: when it takes over it has every key in its queue and starts at once. A leader that lost the
lease (the API server was away, the process was paused) throws its queue away and is a standby again.
"""

import asyncio
import random
import signal
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import structlog

from attune.api import kinds
from attune.cluster.client import KubernetesCluster, no_fence
from attune.cluster.connect import Connection, connect
from attune.cluster.discovery import Discovery
from attune.cluster.inbox import Inbox, Place
from attune.cluster.lease import Lease
from attune.cluster.replicas import Replicas
from attune.cluster.transport import Transport
from attune.context import Context, utc_now
from attune.errors import ClusterError
from attune.handlers import EventSource
from attune.notify.addresses import Hosts
from attune.notify.courier import Courier
from attune.notify.outbox import Outbox
from attune.reconcile import reconcile
from attune.settings import Settings
from attune.telemetry.metrics import Metrics
from attune.telemetry.prometheus import Prometheus
from attune.telemetry.server import TelemetryServer
from attune.telemetry.webhook import Webhook
from attune.workqueue import Key, WorkQueue

log = structlog.get_logger(__name__)

OK, FAILED = 0, 1
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  compared with, not bound
"""Addresses under which nobody can be reached."""
SPACING_SECONDS = 0.1
"""What a look writes comes back as events; one that follows within this time is one more look, not one for each. As kopf's batch_window."""
_RELEASE_SECONDS = 5.0


class Stopped(Exception):
    """The process was asked to end while it waited for something."""


class WatchesEnded(Exception):
    """kopf's thread is over, although nobody stopped it: the CRDs are gone, or a bug."""


class Operator:
    """One process. `run` returns its exit code."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._waiting_for: str | None = "the start"
        self._events: EventSource | None = None
        self._queue: WorkQueue | None = None
        self._inbox = Inbox()
        self._outbox = Outbox()
        self._lease: Lease | None = None
        self._leads = False
        self._port = 0
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Until SIGTERM or SIGINT (0), or until the watches break (1)."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        webhook = Webhook(self._inbox, self._metrics, self, self._settings.webhook_token_file)
        server = TelemetryServer(self._metrics, live=self._sick, ready=self._unready, webhook=webhook)
        port = self._port = await server.start(self._settings.http_host, self._settings.http_port)
        log.info("attune operator starts", identity=self._settings.identity, http_port=port)
        try:
            connection = await connect(self._settings.kubeconfig, self._settings.kube_context)
            return await self._with(connection)
        except Stopped:
            return OK
        finally:
            await server.stop()
            log.info("attune operator ended")

    async def _with(self, connection: Connection) -> int:
        transport = Transport(connection, timeout=self._settings.request_seconds, on_request=self._metrics.request)
        replicas, prometheus = Replicas(), Prometheus()
        pools: list[Replicas | Prometheus | Courier] = [replicas, prometheus]
        try:
            discovery = Discovery(transport)
            await self._until_stopped(self._crds(discovery, connection.server))
            lease = self._lease = self._new_lease(KubernetesCluster(transport, discovery=discovery))
            fence = lease.fence if lease is not None else no_fence
            cluster = KubernetesCluster(
                transport, fence=fence, discovery=discovery, replicas=replicas, prometheus=prometheus
            )
            courier = Courier(cluster, Hosts(self._settings.notification_hosts), fence, utc_now)
            pools.append(courier)
            self._outbox = Outbox(courier.carry, metrics=self._metrics, wake=self._wake, now=utc_now)
            context = Context(cluster, self._settings, self._metrics, inbox=self._inbox, outbox=self._outbox)
            events = self._events = EventSource(connection, self._settings, self._wake, self._metrics)
            events.start()
            self._waiting_for = None
            try:
                while True:
                    await self._term(lease, context, events)
            except WatchesEnded as e:
                log.error("the watches ended; a restart is the way out", error=str(e))  # noqa: TRY400  kopf logged the trace
                return FAILED
            finally:
                await self._end(lease, events)
        finally:
            self._outbox.clear()
            for pool in pools:
                await pool.close()
            await transport.close()

    async def _term(self, lease: Lease | None, context: Context, events: EventSource) -> None:
        """Wait for the lease, then work until it is lost. What a former term knew is forgotten, not believed."""
        queue = self._queue = self._new_queue(context)
        for key in events.known():
            queue.add(key)
        if lease is not None:
            await self._until_stopped(lease.acquire(), events)
        queue.start()
        self._leading(True)
        resync = asyncio.create_task(self._resync(queue, events))
        try:
            await self._until_stopped(lease.keep() if lease is not None else asyncio.Event().wait(), events)
            await queue.drain(grace=0)
        finally:
            resync.cancel()
            self._leading(False)

    async def _end(self, lease: Lease | None, events: EventSource) -> None:
        """Finish what runs, hand the lease over, stop to watch. Within seconds, whatever hangs."""
        keeping = asyncio.create_task(lease.keep()) if lease is not None and lease.held else None
        if self._queue is not None and not await self._queue.drain(self._settings.drain_seconds):
            log.warning("reconciles were cut off", after_seconds=self._settings.drain_seconds)
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping], timeout=_RELEASE_SECONDS)
        if lease is not None:
            await lease.release()
        await events.stop()

    def _leading(self, yes: bool) -> None:
        """Alerts that wait for a decision of a leader that is none any more are refused, so that they are sent again.

        Notifications under way are dropped: the next leader finds them in the statuses.
        """
        self._leads = yes
        self._metrics.leading(yes)
        if not yes:
            self._inbox.clear()
            self._outbox.clear()

    # ---- what the webhook asks

    def leads(self) -> bool:
        """Whether alerts are dealt with here."""
        return self._leads and (self._lease is None or self._lease.held)

    def leader_url(self) -> str | None:
        """Where they are, if not here."""
        return self._lease.holder_url if self._lease is not None else None

    def places(self) -> set[Place]:
        """Namespace and name of every Retriever."""
        return self._events.retrievers() if self._events is not None else set()

    def wake(self, place: Place) -> None:
        """Look at this Retriever before all others."""
        if self._queue is not None:
            self._queue.add(Key("Retriever", *place), first=True)

    def _wake(self, key: Key) -> None:
        if self._queue is not None:
            self._queue.add(key)

    async def _until_stopped(self, work: Coroutine[Any, Any, Any], events: EventSource | None = None) -> None:
        """Wait for `work`; raises Stopped at SIGTERM, and WatchesEnded if they end first."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        ended = [events.ended] if events is not None and events.ended is not None else []
        try:
            await asyncio.wait([working, stopping, *ended], return_when=asyncio.FIRST_COMPLETED)
            if stopping.done():
                raise Stopped
            if ended and ended[0].done():
                raise WatchesEnded(str(ended[0].result() or "see kopf's lines above; are the CRDs still there?"))
            await working
        finally:
            for task in (working, stopping):
                task.cancel()
            await asyncio.wait([working, stopping])

    async def _crds(self, discovery: Discovery, server: str) -> None:
        """Wait until the API server answers and has our kinds; say what is missing, once and then every half minute."""
        said, tries = "", 0
        while True:
            try:
                missing = {kind.kind for kind in kinds.KINDS} - set(await discovery.kinds(kinds.API_VERSION))
                problem = (
                    f"the CRDs of {', '.join(sorted(missing))} are missing: kubectl apply --server-side -k crds/"
                    if missing
                    else ""
                )
            except ClusterError as e:
                problem = f"the API server {server} does not answer: {e}"
            if not problem:
                return
            self._waiting_for = problem
            if problem != said or tries % 15 == 0:
                log.warning("waiting", problem=problem)
            said, tries = problem, tries + 1
            await asyncio.sleep(2)

    def _new_lease(self, unfenced: KubernetesCluster) -> Lease | None:
        chosen = self._settings
        if not chosen.leader_election:
            return None
        lease = Lease(unfenced, chosen.lease_namespace, chosen.lease_name, chosen.identity, chosen.lease_seconds)
        host = f"[{chosen.http_host}]" if ":" in chosen.http_host else chosen.http_host
        lease.url = f"http://{host}:{self._port}" if chosen.http_host not in EVERYWHERE else None
        return lease

    def _new_queue(self, context: Context) -> WorkQueue:
        async def work(key: Key) -> timedelta | None:
            with structlog.contextvars.bound_contextvars(kind=key.kind, namespace=key.namespace, name=key.name):
                return await reconcile(context, key)

        return WorkQueue(work, workers=self._settings.workers, observer=self._metrics, spacing=SPACING_SECONDS)

    async def _resync(self, queue: WorkQueue, events: EventSource) -> None:
        """Look at everything once in a while, spread over the whole time, in case an event was lost."""
        period = self._settings.resync_seconds
        while True:
            await asyncio.sleep(period)
            for key in events.known():
                queue.add_after(key, random.uniform(0, period))  # noqa: S311  spreads load, guards nothing

    def _sick(self) -> list[str]:
        if self._events is None:
            return []
        stale = self._events.pulse.stale(self._settings.stale_seconds)
        return [f"watch {path}: no sign of life for {self._settings.stale_seconds:g} s" for path in stale]

    def _unready(self) -> list[str]:
        return [self._waiting_for] if self._waiting_for else []
