"""What the reconcile loop needs of a cluster. `client` implements it for the API server, the tests' fake in memory."""

from collections.abc import Mapping
from typing import Protocol

from attune.objects import Manifest, Ref
from attune.observation import Health, HealthQuery, MetricsProblem, Samples, SamplesQuery

__all__ = ["Cluster", "Manifest", "Ref"]


class Cluster(Protocol):
    """Errors are those of `attune.errors`; what is not listed at a method is Unavailable, Forbidden, Invalid or NotLeader."""

    async def get(self, ref: Ref) -> Manifest | None:
        """The object as it is now; None when it is absent."""
        ...

    async def list(
        self, api_version: str, kind: str, namespace: str | None, labels: Mapping[str, str | None] | None = None
    ) -> list[Manifest]:
        """All objects with these labels, every page; of all namespaces when `namespace` is None.

        A label whose value is None must be absent.
        """
        ...

    async def create(self, manifest: Manifest) -> Manifest:
        """Create; raises AlreadyExists."""
        ...

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply with our one field manager; conflicts are forced, since these objects are ours."""
        ...

    async def delete(self, ref: Ref, *, propagation: str = "Background") -> None:
        """Delete; absent is fine. With a uid only that very object."""
        ...

    async def replace_status(self, manifest: Manifest) -> Manifest:
        """PUT /status at the manifest's resourceVersion; raises Conflict or NotFound."""
        ...

    async def log_tail(self, namespace: str, pod: str, *, container: str | None = None, lines: int = 50) -> str:
        """The last lines of the pod's log; "" when there is none to read."""
        ...

    async def emit(self, event: Manifest) -> None:
        """Record a Kubernetes Event; best effort, never raises for a lost event."""
        ...

    async def replica(self, address: str) -> Manifest | None:
        """What a serving Pod answers at GET /v1/versions, as JSON; None when it does not answer well within a second."""
        ...

    async def samples(self, query: SamplesQuery) -> Samples | MetricsProblem:
        """What Prometheus has of an A/B test; why it cannot be read, instead of an error."""
        ...

    async def health(self, query: HealthQuery) -> Health | MetricsProblem:
        """How well a version answers, as Prometheus has it; why that cannot be read, instead of an error."""
        ...
