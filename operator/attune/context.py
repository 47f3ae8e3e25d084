"""What a reconcile is given besides its key: cluster, settings, clock, metrics. Made once, in `runtime`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from attune.cluster.inbox import Inbox
from attune.cluster.protocol import Cluster
from attune.notify.outbox import Outbox
from attune.settings import Settings
from attune.telemetry.metrics import Metrics


def utc_now() -> datetime:
    """The wall clock, in UTC. The only place of the operator that reads it; decisions get `now` as an argument."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Context:
    """Everything outside of the objects themselves."""

    cluster: Cluster
    settings: Settings
    metrics: Metrics
    now: Callable[[], datetime] = utc_now
    inbox: Inbox = field(default_factory=Inbox)
    """Alerts that wait for a decision."""
    outbox: Outbox = field(default_factory=Outbox)
    """Notifications on their way."""
