"""Manifests for tests of the operator with the scripted trainer on the real control plane."""

from __future__ import annotations

from typing import Any

import yaml

API = "attune.dev/v1alpha1"
CLAIMS = ("store",)


def training_job(name: str = "tune", **spec: Any) -> dict[str, Any]:
    base = {"retriever": "news", "type": "embedding"}
    return {"apiVersion": API, "kind": "TrainingJob", "metadata": {"name": name}, "spec": {**base, **spec}}


def manifests(*jobs: dict[str, Any]) -> str:
    """A claim, a Retriever whose models nobody serves, and TrainingJobs (by default one)."""
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    retriever = {
        "embedding": {"baseModel": "pvc://store/base-model"},
        "storage": {"uri": "pvc://store/attune"},
        "data": {"archive": {"uri": "pvc://store/archive.jsonl"}},
        "serving": {"deploy": False},
    }
    return yaml.safe_dump_all(
        [
            *(
                {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": c}, "spec": claim}
                for c in CLAIMS
            ),
            {"apiVersion": API, "kind": "Retriever", "metadata": {"name": "news"}, "spec": retriever},
            *(jobs or (training_job(),)),
        ]
    )
