"""Manifests for tests of the operator with the scripted trainer on the real control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from devcluster import Cluster
from namespaced import Namespaced
from operator_process import OperatorProcess

SECONDS = 90
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


class ScriptedWorld(Namespaced):
    """A namespace with Retriever `news`, version 1 active, a trained one staged, and the operator."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        namespace = f"cli-{uuid4().hex[:8]}"
        settings = {"ATTUNE_TRAINER_IMAGE": "scripted-trainer:test"}
        super().__init__(
            cluster, namespace, OperatorProcess(cluster.kubeconfig, namespace, folder, **settings), SECONDS
        )
        self.operator.start()
        self.apply(manifests(training_job("tune")))
        self.two = self.trained("tune")
        self.one = str(self.get("rtr", "news")["status"]["embedding"]["active"])
        self.indexed(self.two)

    def apply(self, text: str) -> None:
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=text)

    def trained(self, job: str) -> str:
        """The version that a TrainingJob made, once it has ended."""
        done = self.until("tj", job, lambda s: s.get("phase") in {"Succeeded", "Failed"})
        return str(done["status"]["modelVersion"])

    def indexed(self, version: str) -> None:
        self.until("mv", version, lambda s: s.get("index"))
