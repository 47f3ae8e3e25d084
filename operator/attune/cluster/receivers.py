"""Where a target is reached, and with which credentials: its address, or its Secret. Used by `observe_news` and `attune.notify`."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from attune.api import NotificationTarget
from attune.cluster.protocol import Cluster
from attune.cluster.secrets import SecretProblem, read_secret

EXAMPLE = "examples/access/notifications.yaml"


@dataclass(frozen=True, slots=True)
class Receiver:
    """An address, which is a secret itself, and what is sent along."""

    url: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    signing_key: str | None = field(default=None, repr=False)

    @property
    def host(self) -> str:
        """The part of the address that may be told."""
        return urlsplit(self.url).hostname or ""


async def receiver_of(cluster: Cluster, namespace: str, target: NotificationTarget) -> Receiver:
    """Raises SecretProblem."""
    if target.secret_ref is None:
        assert target.url is not None
        return Receiver(target.url)
    name, where = target.secret_ref.name, f"notifications[{target.name}].secretRef"
    values = await read_secret(cluster, namespace, name, field=where, example=EXAMPLE)
    url = values.get("url", "")
    if not url:
        raise SecretProblem("SecretUnreadable", f"Secret {name} ({where}): it has no key url; put the address there")
    if not _is_address(url):
        words = "its key url is no address that begins with https:// or http:// and names a host"
        raise SecretProblem("SecretUnreadable", f"Secret {name} ({where}): {words}")
    if target.type == "slack":
        return Receiver(url)
    return Receiver(url, values.get("token") or None, values.get("signingKey") or None)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0 and url.isprintable()
        )
    except ValueError:  # the port
        return False
