"""`Cluster` for a real API server: objects as JSON over one pool of connections. Made in `runtime`.

Every write asks the `fence` right before it is sent; the fence raises NotLeader when the lease is not surely ours.
There is no cache: a decision is made on what the API server says now. The work queue bounds the number of requests.
"""

import builtins
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import quote

import structlog

from attune.cluster.discovery import Discovery
from attune.cluster.protocol import Manifest, Ref
from attune.cluster.replicas import Replicas
from attune.cluster.transport import APPLY, Fence, Transport
from attune.errors import AlreadyExists, ClusterError, Forbidden, Invalid, NotFound
from attune.observation import Health, HealthQuery, MetricsProblem, Samples, SamplesQuery

log = structlog.get_logger(__name__)

FIELD_MANAGER = "attune"
_MANAGED = {"fieldManager": FIELD_MANAGER}

_PAGE = "500"
_LOG_BYTES = str(1 << 20)
_GONE = 410


def no_fence() -> None:
    """For tests and for the lease itself: writes are always allowed."""


class MetricsReader(Protocol):
    """What reads Prometheus; `telemetry.prometheus` does."""

    async def samples(self, query: SamplesQuery) -> Samples | MetricsProblem: ...
    async def health(self, query: HealthQuery) -> Health | MetricsProblem: ...


class KubernetesCluster:
    """Implements `attune.cluster.protocol.Cluster`."""

    def __init__(
        self,
        transport: Transport,
        *,
        fence: Fence = no_fence,
        discovery: Discovery | None = None,
        replicas: Replicas | None = None,
        prometheus: MetricsReader | None = None,
    ) -> None:
        self._transport = transport
        self._fence = fence
        self._replicas = replicas
        self._prometheus = prometheus
        self.discovery = discovery or Discovery(transport)

    async def get(self, ref: Ref) -> Manifest | None:
        """The object, or None; with a uid in `ref`, None also for a later object of the same name."""
        path = await self._path(ref)  # outside of the try: a kind that is absent is an error, an object is not
        try:
            found = (await self._transport.request("GET", path)).json()
        except NotFound:
            return None
        return found if ref.uid is None or found["metadata"]["uid"] == ref.uid else None

    async def list(
        self, api_version: str, kind: str, namespace: str | None, labels: Mapping[str, str | None] | None = None
    ) -> list[Manifest]:
        """All pages. When the list expires between two pages, it starts again from the first."""
        path = await self.discovery.path(api_version, kind, namespace)
        wanted = ",".join(f"!{k}" if v is None else f"{k}={v}" for k, v in sorted((labels or {}).items()))
        selector = {"labelSelector": wanted} if wanted else {}
        while True:
            found = await self._pages(path, selector)
            if found is not None:
                return [{"apiVersion": api_version, "kind": kind, **item} for item in found]

    async def create(self, manifest: Manifest) -> Manifest:
        """POST; raises AlreadyExists."""
        metadata = manifest["metadata"]
        path = await self.discovery.path(manifest["apiVersion"], manifest["kind"], metadata.get("namespace"))
        answer = await self._transport.request("POST", path, body=manifest, query=_MANAGED, fence=self._fence)
        return answer.json()

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply; fields that others own are taken over, since the objects are ours."""
        body = {**manifest, "metadata": {k: v for k, v in manifest["metadata"].items() if k != "managedFields"}}
        path = await self._path(ref_of(manifest))
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return (
            await self._transport.request("PATCH", path, body=body, query=query, content_type=APPLY, fence=self._fence)
        ).json()

    async def delete(self, ref: Ref, *, propagation: str = "Background") -> None:
        """DELETE; absent is fine. With a uid, another object of the same name stays and that is fine, too."""
        body: Manifest = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if ref.uid is not None:
            body["preconditions"] = {"uid": ref.uid}
        path = await self._path(ref)
        try:
            await self._transport.request("DELETE", path, body=body, fence=self._fence)
        except NotFound:
            return
        except ClusterError as e:
            if e.status != 409 or ref.uid is None or await self.get(ref) is not None:
                raise

    async def replace(self, manifest: Manifest) -> Manifest:
        """PUT of the whole object at its resourceVersion; raises Conflict or NotFound. For the Lease."""
        path = await self._path(ref_of(manifest))
        return (await self._transport.request("PUT", path, body=manifest, query=_MANAGED, fence=self._fence)).json()

    async def replace_status(self, manifest: Manifest) -> Manifest:
        """PUT /status at the manifest's resourceVersion; raises Conflict or NotFound."""
        path = await self._path(ref_of(manifest)) + "/status"
        return (await self._transport.request("PUT", path, body=manifest, query=_MANAGED, fence=self._fence)).json()

    async def log_tail(self, namespace: str, pod: str, *, container: str | None = None, lines: int = 50) -> str:
        """The last lines of a pod's log; "" when the pod or its log is not there (yet)."""
        path = f"{await self.discovery.path('v1', 'Pod', namespace)}/{quote(pod, safe='')}/log"
        query = {"tailLines": str(lines), "limitBytes": _LOG_BYTES, **({"container": container} if container else {})}
        try:
            answer = await self._transport.request("GET", path, query=query)
        except (NotFound, Invalid):
            return ""
        return answer.body.decode(errors="replace")

    async def emit(self, event: Manifest) -> None:
        """Create the Event; one that is there already is the same. A lost event is only logged."""
        try:
            await self.create(event)
        except AlreadyExists:
            return
        except ClusterError as e:
            quiet = isinstance(e, (Forbidden, NotFound))  # the namespace is being deleted, or RBAC says no
            line = log.debug if quiet else log.warning
            line("event lost", reason=event.get("reason"), error=str(e))

    async def replica(self, address: str) -> Manifest | None:
        """What a serving Pod reports of itself; None when it does not answer."""
        return await self._replicas.report(address) if self._replicas is not None else None

    async def samples(self, query: SamplesQuery) -> Samples | MetricsProblem:
        """What Prometheus has of an A/B test."""
        if self._prometheus is None:
            return MetricsProblem("NoPrometheus", "this process reads no Prometheus")
        return await self._prometheus.samples(query)

    async def health(self, query: HealthQuery) -> Health | MetricsProblem:
        """How well a version answers, as Prometheus has it."""
        if self._prometheus is None:
            return MetricsProblem("NoPrometheus", "this process reads no Prometheus")
        return await self._prometheus.health(query)

    async def _pages(self, path: str, selector: Mapping[str, str]) -> "builtins.list[Manifest] | None":
        items: builtins.list[Manifest] = []
        query = {"limit": _PAGE, **selector}
        while True:
            try:
                page = (await self._transport.request("GET", path, query=query)).json()
            except Invalid as e:
                if e.status == _GONE and "continue" in query:
                    return None
                raise
            items.extend(page.get("items") or [])
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return items
            query = {"limit": _PAGE, "continue": str(token), **selector}

    async def _path(self, ref: Ref) -> str:
        return f"{await self.discovery.path(ref.api_version, ref.kind, ref.namespace)}/{quote(ref.name, safe='')}"


def ref_of(manifest: Manifest) -> Ref:
    """The address of an object, without its uid."""
    metadata = manifest["metadata"]
    return Ref(manifest["apiVersion"], manifest["kind"], metadata.get("namespace") or "", metadata["name"])
