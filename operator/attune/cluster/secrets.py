"""The text of one Secret that a Retriever names. The operator may read it only where a Role in that namespace lets it (examples/access)."""

import base64
import binascii

from attune.cluster.protocol import Cluster, Ref
from attune.errors import ClusterError, Forbidden


class SecretProblem(Exception):
    """Why it cannot be used: a CamelCase reason and a sentence with the way out, without anything secret."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


async def read_secret(cluster: Cluster, namespace: str, name: str, *, field: str, example: str) -> dict[str, str]:
    """Its values by key, stripped; raises SecretProblem. `field` names it, `example` is the file whose Role lets it be read."""
    where = f"Secret {name} ({field})"
    try:
        found = await cluster.get(Ref("v1", "Secret", namespace, name))
    except Forbidden as error:
        raise SecretProblem(
            "SecretUnreadable", f"{where}: let the operator get it, as {example} does: {error}"
        ) from error
    except ClusterError as error:
        raise SecretProblem("SecretUnreadable", f"{where}: {error}") from error
    if found is None:
        raise SecretProblem("SecretMissing", f"{where}: there is none in namespace {namespace}")
    try:
        values = {k: base64.b64decode(v, validate=True).decode() for k, v in (found.get("data") or {}).items()}
    except (binascii.Error, UnicodeDecodeError) as error:
        raise SecretProblem("SecretUnreadable", f"{where}: its values are no text in base64") from error
    return {k: v.strip() for k, v in values.items()}
