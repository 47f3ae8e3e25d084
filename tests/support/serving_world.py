"""A namespace on the real control plane: a Retriever over tiny models, its serving Pods, and a record of every stored revision."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

from devcluster import Cluster
from operator_process import OperatorProcess
from recording_proxy import RecordingProxy
from revisions import Revisions
from tiny_bert import build_tiny_model, sentences, write_jsonl

API = "attune.dev/v1alpha1"
SECONDS = 240


def serving_process_at(host: str) -> psutil.Process:
    """The process of the serving Pod with this address."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        environ = process.info["environ"] or {}
        if "attune_serving" in " ".join(process.info["cmdline"] or ()) and environ.get("ATTUNE_HTTP_HOST") == host:
            return process
    raise AssertionError(f"no serving process listens on {host}")


class World:
    """A namespace with a volume, a Retriever over tiny models, and its serving Pods."""

    def __init__(self, cluster: Cluster, namespace: str, folder: Path, **settings: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        cluster.kubectl("create", "namespace", namespace)
        self.revisions = Revisions(cluster.kubeconfig, namespace).start()
        known = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
        self.proxy = RecordingProxy(known["server"], known["certificate-authority"]).start()
        self.operator = OperatorProcess(cluster.kubeconfig, namespace, folder, server=self.proxy.url, **settings)
        self.proxy.kill = self.operator.kill
        self._fill()

    def _fill(self) -> None:
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        self.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "docs"}, "spec": claim})
        self.cluster.kubectl(
            "wait", "--for=jsonpath={.status.phase}=Bound", "pvc/docs", "-n", self.namespace, "--timeout=30s"
        )
        self.volume = self.cluster.claim_folder(self.namespace, "docs")
        rows = [
            {"id": f"d{n:03}", "title": query, "content": text, "publishedAt": f"2026-01-{n % 28 + 1:02}"}
            for n, (query, text) in enumerate(sentences())
        ]
        write_jsonl(self.volume / "archive.jsonl", rows)
        for number in (1, 2, 3):
            self.base(f"base-{number}", build_tiny_model(self.folder / f"tiny-{number}", seed=number))

    def base(self, name: str, model: Path) -> None:
        """A model on the volume that versions are imported from."""
        shutil.copytree(model, self.volume / name)

    def apply(self, thing: dict[str, Any]) -> None:
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump(thing))

    def retriever(self, **spec: Any) -> None:
        known = {
            "embedding": {"baseModel": "pvc://docs/base-1"},
            "storage": {"uri": "pvc://docs/store"},
            "data": {"archive": {"uri": "pvc://docs/archive.jsonl"}},
            "serving": {"replicas": 2},
        }
        self.apply({"apiVersion": API, "kind": "Retriever", "metadata": {"name": "news"}, "spec": known | spec})

    def version(self, name: str, number: int, base: str = "") -> None:
        """An import by hand: another model, another embedding space."""
        base = base or f"base-{number}"
        spec = {
            "retriever": "news",
            "type": "embedding",
            "version": number,
            "baseModel": f"pvc://docs/{base}",
            "artifact": {"uri": f"pvc://docs/versions/{name}"},
            "source": {"import": f"pvc://docs/{base}"},
        }
        self.apply({"apiVersion": API, "kind": "ModelVersion", "metadata": {"name": name}, "spec": spec})

    def ask(self, name: str, request_id: str) -> None:
        patch = f'{{"spec": {{"promotion": {{"requestID": "{request_id}"}}}}}}'
        self.cluster.kubectl("patch", "mv", name, "-n", self.namespace, "--type=merge", "-p", patch)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self.cluster.get(kind, name, "-n", self.namespace)

    def first(self, seconds: float = SECONDS) -> str:
        """The name of version 1, once it is active."""

        def active(retriever: dict[str, Any]) -> Any:
            return (retriever.get("status", {}).get("embedding") or {}).get("active")

        found = self.until("rtr", "news", active, seconds=seconds)
        return str(found["status"]["embedding"]["active"])

    def until(
        self,
        kind: str,
        name: str,
        wanted: Callable[[dict[str, Any]], Any],
        *,
        revive: bool = False,
        seconds: float = SECONDS,
    ) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while True:
            thing = self.get(kind, name)
            if wanted(thing):
                return thing
            if revive and not self.operator.running:
                self.operator.start()
            assert self.operator.running, self.operator.log[-3000:]
            assert time.monotonic() < end, yaml.safe_dump(thing.get("status")) + self.operator.log[-2000:]
            time.sleep(0.1)

    def ready(self, count: int) -> list[str]:
        """The addresses, once there are so many."""
        end = time.monotonic() + SECONDS
        while len(found := self.addresses()) < count:
            assert time.monotonic() < end, found
            time.sleep(0.1)
        return found

    def addresses(self) -> list[str]:
        """Of the serving Pods that are ready, as a Service would have them."""
        pods = self.cluster.get("pods", "-n", self.namespace, "-l", "attune.dev/component=serving")["items"]
        ready = [
            p
            for p in pods
            if not p["metadata"].get("deletionTimestamp")
            and any(c["type"] == "Ready" and c["status"] == "True" for c in p.get("status", {}).get("conditions") or [])
        ]
        return [f"{p['status']['podIP']}:8000" for p in ready]

    def serves(self, generation: int, *, revive: bool = False) -> None:
        def follows(retriever: dict[str, Any]) -> bool:
            conditions = {c["type"]: c for c in retriever.get("status", {}).get("conditions") or []}
            serving = conditions.get("Serving")
            return bool(serving) and serving["message"] == f"2 replicas serve generation {generation}"

        self.until("rtr", "news", follows, revive=revive)

    def until_served(self, kind: str, version: str) -> str:
        """The address of a Pod that answers by this version."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for address in self.addresses():
                report = httpx.get(f"http://{address}/v1/versions", trust_env=False).json()
                if report["active"].get(kind) == version:
                    return address
            time.sleep(0.1)
        raise AssertionError(f"nobody serves {version}")

    def close(self) -> None:
        self.operator.kill()
        self.proxy.stop()
        self.revisions.stop()
        self.cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")
