"""Which Prometheus a Retriever's numbers are read from, and with which credentials. Used by the observations."""

from dataclasses import dataclass, field

from attune.api import Retriever
from attune.cluster.protocol import Cluster
from attune.cluster.secrets import SecretProblem, read_secret
from attune.observation import Defaults, MetricsProblem

FIELD = "rollback.prometheus.secretRef"


@dataclass(frozen=True, slots=True)
class Access:
    """An address, and a token, or username and password, or nothing."""

    url: str
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)


async def prometheus_of(cluster: Cluster, retriever: Retriever, defaults: Defaults) -> Access | MetricsProblem:
    """The Retriever's own, or the operator's; why there is none."""
    chosen = retriever.spec.rollback.prometheus
    url = str(chosen.url) if chosen is not None else defaults.prometheus_url
    if url is None:
        return MetricsProblem(
            "NoPrometheus",
            f"nobody says which Prometheus to read; set spec.rollback.prometheus.url of Retriever {retriever.metadata.name}, or "
            "ATTUNE_PROMETHEUS_URL of the operator",
        )
    if chosen is None or chosen.secret_ref is None:
        return Access(url)
    name = chosen.secret_ref.name
    try:
        read = await read_secret(
            cluster, retriever.metadata.namespace, name, field=FIELD, example="examples/access/prometheus.yaml"
        )
    except SecretProblem as problem:
        return MetricsProblem(problem.reason, str(problem))
    if "token" not in read and not {"username", "password"} <= set(read):
        words = f"Secret {name} ({FIELD}): it has neither the key token, nor username and password"
        return MetricsProblem("SecretUnreadable", words)
    return Access(url, read.get("token"), read.get("username"), read.get("password"))
