"""A real API server seen as a user sees it, and one small valid manifest of each kind, for tests of what it accepts."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import config

from attune.api import kinds

Manifest = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
REMOVE: Any = object()
"""As a value in a change: take the field away."""
DIGEST = "sha256:" + "0" * 64
APPLY = "application/apply-patch+yaml"

SPECS: dict[str, Manifest] = {
    "Retriever": {
        "embedding": {"baseModel": "BAAI/bge-small-en-v1.5"},
        "storage": {"uri": "pvc://store/models"},
        "data": {"archive": {"uri": "pvc://data/articles.jsonl"}},
    },
    "TrainingJob": {"retriever": "news", "type": "embedding"},
    "ModelVersion": {
        "retriever": "news",
        "type": "embedding",
        "version": 2,
        "baseModel": "BAAI/bge-small-en-v1.5",
        "config": {"baseModel": "BAAI/bge-small-en-v1.5"},
        "artifact": {"uri": "pvc://store/models/v2"},
        "source": {"trainingJob": "march"},
    },
    "ABTest": {
        "retriever": "news",
        "modelB": "emb-v2-20260315",
        "metrics": [{"name": "clickThrough", "role": "primary"}],
    },
    "TrainingSchedule": {"retriever": "news", "template": {"type": "embedding"}},
}


@dataclass(frozen=True)
class Refusal:
    """What the API server said: each complaint with the field it is about."""

    code: int
    message: str
    causes: tuple[tuple[str, str], ...]


def changed(manifest: Manifest, changes: dict[str, Any]) -> Manifest:
    """A copy with `{"spec.index.store": "qdrant", "spec.data": REMOVE}` put in; list items by number."""
    made = copy.deepcopy(manifest)
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place: Any = made
        for part in parents:
            place = place[part] if isinstance(part, int) else place.setdefault(part, {})
        if value is REMOVE:
            place.pop(last, None)
        else:
            place[last] = copy.deepcopy(value)
    return made


def manifest(kind: str, changes: dict[str, Any] | None = None, name: str = "example") -> Manifest:
    """The small valid manifest of a kind, with changes."""
    base = {"apiVersion": kinds.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": SPECS[kind]}
    return changed(base, changes or {})


class ApiServer:
    """Creates, applies and reads our objects in one namespace; a refusal is a value, not an exception."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.client = config.new_client_from_config(config_file=str(kubeconfig))
        self.namespace = namespace

    def create(self, thing: Manifest, *, unknown_fields: str = "Ignore") -> Manifest | Refusal:
        """A dry run on the server: everything is checked and filled in, nothing is stored."""
        return self._request("POST", self._path(thing["kind"]), thing, dryRun="All", fieldValidation=unknown_fields)

    def apply(self, thing: Manifest, *, dry_run: bool = False) -> Manifest | Refusal:
        """As `kubectl apply --server-side [--dry-run=server]`, with its strict check of unknown fields."""
        query = {"fieldManager": "test", "force": "true", "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        return self._request("PATCH", self._path(thing["kind"], thing["metadata"]["name"]), thing, **query)

    def replace_status(self, thing: Manifest) -> Manifest | Refusal:
        return self._request("PUT", self._path(thing["kind"], thing["metadata"]["name"]) + "/status", thing)

    def table(self, kind: str) -> Manifest:
        """What `kubectl get` prints."""
        return self.get(self._path(kind), accept="application/json;as=Table;v=v1;g=meta.k8s.io")

    def discovery(self) -> Manifest:
        return self.get(f"/apis/{kinds.API_VERSION}")

    def get(self, path: str, accept: str = "application/json") -> Manifest:
        found = self._request("GET", path, accept=accept)
        assert not isinstance(found, Refusal), found.message
        return found

    def _path(self, kind: str, name: str = "") -> str:
        path = f"/apis/{kinds.API_VERSION}/namespaces/{self.namespace}/{kinds.kind_named(kind).plural}"
        return f"{path}/{name}" if name else path

    def _request(
        self, method: str, path: str, body: Manifest | None = None, *, accept: str = "application/json", **query: str
    ) -> Manifest | Refusal:
        headers = {"Accept": accept, "Content-Type": APPLY if method == "PATCH" else "application/json"}
        serialized = self.client.param_serialize(
            method,
            path,
            query_params=list(query.items()),
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        answer = self.client.call_api(*serialized)
        answer.read()
        found: Manifest = json.loads(answer.data)
        if answer.status < 300:
            return found
        causes = (found.get("details") or {}).get("causes") or ()
        return Refusal(
            answer.status, found.get("message", ""), tuple((c.get("field", ""), c.get("message", "")) for c in causes)
        )
