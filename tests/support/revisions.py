"""Every stored revision of Retrievers, ModelVersions and serving ConfigMaps in a namespace, by watches on the real API server."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from attune.contract import ModelType, ServingConfig

PATHS = tuple(f"apis/attune.dev/v1alpha1/namespaces/{{}}/{kind}" for kind in ("retrievers", "modelversions", "abtests"))
CONFIG_MAPS = "api/v1/namespaces/{}/configmaps"


class Revisions:
    """Start before the first object is made; `stop` and look at `all`, in the order of each watch."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._server, self._token = cluster["server"], user["token"]
        self._context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self.all: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(path.format(namespace),), daemon=True)
            for path in (*PATHS, CONFIG_MAPS)
        ]

    def start(self) -> Revisions:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> list[dict[str, Any]]:
        """All revisions so far, by resourceVersion: etcd counts them for all kinds together."""
        self._stopped.set()
        return self.so_far()

    def so_far(self) -> list[dict[str, Any]]:
        """The same, and the watches go on."""
        with self._lock:
            return sorted(self.all, key=lambda thing: int(thing["metadata"]["resourceVersion"]))

    def _watch(self, path: str) -> None:
        version = "0"
        while not self._stopped.is_set():
            query = urllib.parse.urlencode({"watch": "1", "resourceVersion": version, "timeoutSeconds": "300"})
            request = urllib.request.Request(f"{self._server}/{path}?{query}")
            request.add_header("Authorization", f"Bearer {self._token}")
            try:
                with urllib.request.urlopen(request, context=self._context, timeout=310) as lines:
                    for line in lines:
                        version = self._take(json.loads(line)) or version
            except (
                OSError
            ):  # also 429, while the API server prepares a new kind: goes on where it was, so nothing is missed
                self._stopped.wait(0.2)

    def _take(self, event: dict[str, Any]) -> str | None:
        thing: dict[str, Any] = event["object"]
        if event["type"] == "ERROR":
            raise OSError(str(thing))
        with self._lock:
            self.all.append({**thing, "deleted": event["type"] == "DELETED"})
        return str(thing["metadata"]["resourceVersion"])


def assert_invariants(revisions: list[dict[str, Any]]) -> None:
    """Invariants 1, 4, 5 and 8 at every stored revision; what replicas are told is judged by what was stored before it."""
    versions: dict[str, dict[str, Any]] = {}
    served = 0
    for thing in revisions:
        name, kind = thing["metadata"]["name"], thing.get("kind")
        size = len(json.dumps({k: v for k, v in thing.items() if k != "deleted"} | {"metadata": {"name": name}}))
        if kind in {"ModelVersion", "Retriever", "ABTest"}:
            assert size < 10_000, f"{kind} {name} has {size} bytes"
        if kind == "ModelVersion":
            versions[name] = thing
            for model_type in ("embedding", "reranker"):
                active = [
                    n
                    for n, v in versions.items()
                    if not v["deleted"]
                    and v["spec"]["type"] == model_type
                    and v.get("status", {}).get("stage") == "active"
                ]
                assert len(active) <= 1, f"two active: {active}"
        elif "serving.json" in (thing.get("data") or {}):
            served += 1
            _assert_servable(ServingConfig.from_json(thing["data"]["serving.json"]), versions)
    assert served > 0, "no serving configuration was seen"


def _assert_servable(config: ServingConfig, versions: dict[str, dict[str, Any]]) -> None:
    spaces: dict[str, str | None] = {}
    for version in config.versions:
        status = versions[version.name]["status"]
        assert version.digest == status["artifact"]["digest"], version.name
        if version.type is ModelType.EMBEDDING and config.index is not None:
            assert version.collection == status["index"]["collection"], version.name
            assert spaces.setdefault(str(version.collection), version.embedding_space) == version.embedding_space
    for model in (config.embedding, config.reranker):
        if model is not None:
            assert config.version(model.active) is not None
