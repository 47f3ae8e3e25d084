"""ConfigMaps and Secrets that a container's environment refers to, read once before it starts."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from devcluster.node.api import Api, Thing
from devcluster.node.env import Lookup

_PLURAL = {"ConfigMap": "configmaps", "Secret": "secrets"}


class Objects:
    """Loads what is referred to; the result is a plain look-up."""

    def __init__(self, api: Api, namespace: str) -> None:
        self._api = api
        self._namespace = namespace

    async def load(self, container: Thing) -> Lookup:
        found: dict[tuple[str, str], Mapping[str, str] | None] = {}
        for kind, name in _references(container):
            thing = await self._api.find(f"/api/v1/namespaces/{self._namespace}/{_PLURAL[kind]}/{name}")
            found[kind, name] = None if thing is None else _data(kind, thing)
        return lambda kind, name: found.get((kind, name))


def _references(container: Thing) -> set[tuple[str, str]]:
    made = set()
    for source in container.get("envFrom") or []:
        kind, key = ("Secret", "secretRef") if "secretRef" in source else ("ConfigMap", "configMapRef")
        made.add((kind, source[key]["name"]))
    for entry in container.get("env") or []:
        source = entry.get("valueFrom") or {}
        for kind, key in (("Secret", "secretKeyRef"), ("ConfigMap", "configMapKeyRef")):
            if key in source:
                made.add((kind, source[key]["name"]))
    return made


def _data(kind: str, thing: Thing) -> Mapping[str, str]:
    data = thing.get("data") or {}
    if kind != "Secret":
        return data
    # Bytes that are no text reach the program as they are: the launcher encodes them back.
    return {key: base64.b64decode(value).decode(errors="surrogateescape") for key, value in data.items()}
