"""Which Prometheus a Retriever's numbers are read from, and with which credentials. Used by the observations."""

import base64
import binascii
from dataclasses import dataclass, field

from attune.api import Retriever
from attune.cluster.protocol import Cluster, Ref
from attune.errors import ClusterError
from attune.observation import Defaults, MetricsProblem


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
    read = await _secret(cluster, retriever.metadata.namespace, chosen.secret_ref.name)
    if isinstance(read, MetricsProblem):
        return read
    return Access(url, read.get("token"), read.get("username"), read.get("password"))


async def _secret(cluster: Cluster, namespace: str, name: str) -> dict[str, str] | MetricsProblem:
    """Username and password, or token. The operator may read Secrets only where somebody lets it (examples/access/prometheus.yaml)."""
    where = f"Secret {name} (rollback.prometheus.secretRef)"
    try:
        found = await cluster.get(Ref("v1", "Secret", namespace, name))
    except ClusterError as error:
        return MetricsProblem(
            "SecretUnreadable", f"{where}: {error}; let the operator get it: examples/access/prometheus.yaml"
        )
    if found is None:
        return MetricsProblem("SecretMissing", f"{where}: there is none in namespace {namespace}")
    try:
        keys = {k: base64.b64decode(v, validate=True).decode() for k, v in (found.get("data") or {}).items()}
    except (binascii.Error, UnicodeDecodeError):
        return MetricsProblem("SecretUnreadable", f"{where}: its values are no text in base64")
    if "token" not in keys and not {"username", "password"} <= set(keys):
        return MetricsProblem("SecretUnreadable", f"{where}: it has neither the key token, nor username and password")
    return {k: v.strip() for k, v in keys.items()}
