"""Leader election over a `coordination.k8s.io` Lease, with a fence: a leader that was deposed makes no further write.

Why not `kubernetes.aio.leaderelection`: it measures by the wall clock, cannot be asked whether the lease is held right
now (so it cannot fence), does not give the lease back at shutdown, and tries again in step with the others.

How it is safe without synchronised clocks: no time is ever read from the Lease.
- A candidate waits `seconds` on its own clock since *it saw* the record change; only then it takes over.
- A leader counts from the moment *before it sent* its last successful renewal, and only to two thirds of that.
So the leader stops before the others start, as long as their clocks run at about the same speed. The clock goes on
while the process is stopped and while the machine sleeps (CLOCK_BOOTTIME). Used by `runtime`; `fence` by every write.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

import structlog

from attune.cluster.protocol import Manifest, Ref
from attune.errors import AlreadyExists, ClusterError, Conflict, NotLeader

log = structlog.get_logger(__name__)

API_VERSION = "coordination.k8s.io/v1"
URL = "attune.dev/url"
"""Annotation of the Lease: where the leader is reached by its standbys."""


def boot_time() -> float:
    """Seconds that also count while the machine sleeps, where the system has such a clock."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class LeaseStore(Protocol):
    """The three requests an election makes; `KubernetesCluster` without a fence has them."""

    async def get(self, ref: Ref) -> Manifest | None: ...
    async def create(self, manifest: Manifest) -> Manifest: ...
    async def replace(self, manifest: Manifest) -> Manifest: ...


@dataclass
class Lease:
    """One candidate. `acquire`, then `keep` until it is lost, then `release`."""

    store: LeaseStore
    namespace: str
    name: str
    identity: str
    seconds: int = 15
    clock: Callable[[], float] = boot_time
    jitter: Callable[[], float] = random.random
    url: str | None = None
    """Where others reach this candidate when it leads; kept as an annotation of the record."""
    holder_url: str | None = field(default=None, init=False)
    """Where the leader is reached, as far as it says so."""
    _record: Manifest | None = field(default=None, init=False)
    _seen: tuple[Any, ...] = field(default=(), init=False)
    _seen_at: float = field(default=0.0, init=False)
    _until: float = field(default=0.0, init=False)

    @property
    def held(self) -> bool:
        """True while nobody else can hold it."""
        return self.clock() < self._until

    def fence(self) -> None:
        """Raises NotLeader unless the lease is surely ours at this moment."""
        if not self.held:
            raise NotLeader(f"{self.identity} does not hold lease {self.namespace}/{self.name}; nothing was written")

    @property
    def pause(self) -> float:
        """Seconds between two tries: about a sixth of the lease, never in step with the other replicas."""
        return self.seconds / 6 * (0.8 + 0.4 * self.jitter())

    async def acquire(self) -> None:
        """Wait until this candidate leads. Errors of the API server are waited out."""
        waiting_for: str | None = None
        while not await self._try():
            holder = self._holder()
            if holder != waiting_for:
                log.info("standby", lease=f"{self.namespace}/{self.name}", holder=holder or "unknown")
                waiting_for = holder
            await asyncio.sleep(self.pause)
        log.info("leading", lease=f"{self.namespace}/{self.name}", identity=self.identity)

    async def keep(self) -> None:
        """Renew until the lease is lost; returns then. Nothing may be written afterwards, and the fence sees to it."""
        while self.held:
            await asyncio.sleep(self.pause)
            if not await self._try() and self._holder() != self.identity:
                break
        self._until = 0.0
        log.error("the lease is lost", lease=f"{self.namespace}/{self.name}", holder=self._holder() or "unknown")

    async def release(self) -> None:
        """Give the lease back, so that a standby need not wait for it to expire. Best effort.

        A renewal that was cut off may have been written without our knowing: then the record is read and tried again.
        """
        self._until = 0.0
        try:
            async with asyncio.timeout(self.seconds / 3):
                try:
                    released = await self._give_back(self._record)
                except Conflict:
                    released = await self._give_back(None)
            if released:
                log.info("lease released", lease=f"{self.namespace}/{self.name}")
        except (ClusterError, TimeoutError) as e:
            log.warning("lease not released, the next leader waits for it to expire", error=str(e))

    async def _give_back(self, record: Manifest | None) -> bool:
        """Whether it was ours to give back. Raises Conflict where the record is not the stored one any more."""
        if record is None:
            record = await self.store.get(self._ref)
        if record is None or (record.get("spec") or {}).get("holderIdentity") != self.identity:
            return False
        spec = {**record["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _stamp()}
        self._record = await self.store.replace({**record, "spec": spec})
        return True

    async def _try(self) -> bool:
        """One attempt to take or renew; True when it succeeded. What is written but not answered counts as failed."""
        sent = self.clock()
        try:
            async with asyncio.timeout(self.seconds / 3):
                self._see(await self._attempt())
        except (Conflict, AlreadyExists):
            self._record = None  # read it at the next try
            return False
        except (ClusterError, TimeoutError) as e:
            log.warning(
                "lease request failed", lease=f"{self.namespace}/{self.name}", error=str(e) or "no answer in time"
            )
            self._record = None
            return False
        if self._holder() != self.identity:
            self._record = None
            return False
        self._until = sent + self.seconds * 2 / 3
        return True

    async def _attempt(self) -> Manifest:
        """The record after this attempt: ours if it may be, else the other's."""
        record = self._record
        if record is None:
            record = await self.store.get(self._ref)
            if record is None:
                return await self.store.create(self._new())
            record.setdefault("spec", {})  # somebody may have made an empty one
            self._see(record)
        holder = record["spec"].get("holderIdentity")
        if holder and holder != self.identity and self.clock() < self._seen_at + self._others_seconds(record):
            return record
        return await self.store.replace(
            {**record, "metadata": self._marked(record["metadata"]), "spec": self._claim(record["spec"])}
        )

    def _marked(self, metadata: Manifest) -> Manifest:
        """With our address, or without that of another one."""
        others = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != URL}
        return {**metadata, "annotations": others | ({URL: self.url} if self.url else {})}

    def _see(self, record: Manifest) -> None:
        """Note when the record last changed, on our own clock."""
        self._record = record
        self.holder_url = (record["metadata"].get("annotations") or {}).get(URL)
        spec = record["spec"]
        seen = (
            spec.get("holderIdentity"),
            spec.get("renewTime"),
            spec.get("acquireTime"),
            record["metadata"].get("uid"),
        )
        if seen != self._seen:
            self._seen, self._seen_at = seen, self.clock()

    def _others_seconds(self, record: Manifest) -> float:
        """A leader with another setting keeps its own promise; so wait for the longer of the two."""
        return max(float(record["spec"].get("leaseDurationSeconds") or 0), float(self.seconds))

    def _holder(self) -> str | None:
        return self._seen[0] if self._seen else None

    @property
    def _ref(self) -> Ref:
        return Ref(API_VERSION, "Lease", self.namespace, self.name)

    def _claim(self, spec: Manifest) -> Manifest:
        mine = {"holderIdentity": self.identity, "leaseDurationSeconds": self.seconds, "renewTime": _stamp()}
        if spec.get("holderIdentity") == self.identity:
            return {**spec, **mine}
        return {**spec, **mine, "acquireTime": _stamp(), "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}

    def _new(self) -> Manifest:
        return {
            "apiVersion": API_VERSION,
            "kind": "Lease",
            "metadata": self._marked({"name": self.name, "namespace": self.namespace}),
            "spec": self._claim({"leaseTransitions": -1}),
        }


def _stamp() -> str:
    """The wall clock, for people who read the Lease; the election does not."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
