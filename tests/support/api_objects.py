"""A real API server seen as a user sees it, and one small valid manifest of each kind, for tests of what it accepts."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import yaml
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

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

    def __init__(self, kubeconfig: str, namespace: str) -> None:
        self.client = config.new_client_from_config(config_file=kubeconfig)
        self.objects = client.CustomObjectsApi(self.client)
        self.namespace = namespace

    def create(self, thing: Manifest, *, dry_run: bool = True) -> Manifest | Refusal:
        dry = {"dry_run": "All"} if dry_run else {}
        return self._answer(
            lambda: self.objects.create_namespaced_custom_object(
                *self._where(thing), thing, field_validation="Ignore", **dry
            )
        )

    def apply(self, thing: Manifest, *, dry_run: bool = False) -> Manifest | Refusal:
        """As `kubectl apply --server-side [--dry-run=server]`, with its strict check of unknown fields."""
        where, dry = self._where(thing), {"dry_run": "All"} if dry_run else {}
        return self._answer(
            lambda: self.objects.patch_namespaced_custom_object(
                *where,
                thing["metadata"]["name"],
                thing,
                field_manager="test",
                force=True,
                field_validation="Strict",
                _content_type=APPLY,
                **dry,
            )
        )

    def replace_status(self, thing: Manifest) -> Manifest | Refusal:
        where = self._where(thing)
        return self._answer(
            lambda: self.objects.replace_namespaced_custom_object_status(*where, thing["metadata"]["name"], thing)
        )

    def install_crds(self) -> None:
        """Server-side apply of crds/, until every kind is served."""
        crds = client.ApiextensionsV1Api(self.client)
        for file in sorted((ROOT / "crds").glob("attune.dev_*.yaml")):
            body = yaml.safe_load(file.read_text())
            crds.patch_custom_resource_definition(
                body["metadata"]["name"], body, field_manager="test", force=True, _content_type=APPLY
            )
        deadline = monotonic() + 30
        for kind in kinds.KINDS:
            while not self._is_served(kind.plural):
                assert monotonic() < deadline, f"{kind.plural} is not served"
                sleep(0.2)

    def _is_served(self, plural: str) -> bool:
        try:
            self.objects.list_namespaced_custom_object(kinds.GROUP, kinds.VERSION, self.namespace, plural, limit=1)
        except ApiException:
            return False
        return True

    def _where(self, thing: Manifest) -> tuple[str, str, str, str]:
        return kinds.GROUP, kinds.VERSION, self.namespace, kinds.kind_named(thing["kind"]).plural

    def _answer(self, call: Any) -> Manifest | Refusal:
        try:
            answer: Manifest = call()
        except ApiException as error:
            status = json.loads(error.body or "{}")
            causes = (status.get("details") or {}).get("causes") or ()
            return Refusal(
                error.status or 0,
                status.get("message", str(error)),
                tuple((c.get("field", ""), c.get("message", "")) for c in causes),
            )
        return answer
