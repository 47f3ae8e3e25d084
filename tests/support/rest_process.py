"""The REST API as a process on the real control plane, as the account and with the roles of manifests/api.yaml and nothing else."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import yaml

from attune.api.kinds import kind_named
from devcluster import Cluster
from rest_world import sample_objects

MANIFEST = Path(__file__).parents[2] / "manifests" / "api.yaml"
SECONDS = 60
VIEW, USE = "attune-viewer", "attune-user"


class RestProcess:
    """`start`, then `url`; `stop` ends it well."""

    def __init__(self, kubeconfig: Path, namespace: str, folder: Path, **settings: str) -> None:
        self._log = folder / f"api-{uuid4().hex[:6]}.log"
        self._environment = {
            **{k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ},
            "ATTUNE_API_KUBECONFIG": str(kubeconfig),
            "ATTUNE_API_NAMESPACE": namespace,
            "ATTUNE_API_HOST": "127.0.0.1",
            "ATTUNE_API_PORT": "0",
            "ATTUNE_API_DRAIN_SECONDS": "0",
            "ATTUNE_API_LOG_FORMAT": "json",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    @property
    def log(self) -> str:
        return self._log.read_text() if self._log.exists() else ""

    def start(self) -> RestProcess:
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "attune.rest"]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        self.url = f"http://127.0.0.1:{self.until(self._port)}"
        self.until(self._ready)
        return self

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(SECONDS)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(SECONDS)

    def until(self, check: Callable[[], Any]) -> Any:
        end = time.monotonic() + SECONDS
        while not (found := check()):
            assert self._process is None or self._process.poll() is None, self.log[-3000:]
            assert time.monotonic() < end, self.log[-3000:]
            time.sleep(0.05)
        return found

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _port(self) -> int | None:
        starts = (line for line in self.log.splitlines() if '"attune api starts"' in line)
        return next((int(json.loads(line)["port"]) for line in starts), None)


def administrator(cluster: Cluster) -> httpx.Client:
    """One warm connection: a kubectl for each object would cost more than the objects."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    known, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    trusted = ssl.create_default_context(cafile=known["certificate-authority"])
    headers = {"authorization": f"Bearer {user['token']}"}
    return httpx.Client(base_url=known["server"], verify=trusted, headers=headers, trust_env=False, timeout=60)


class RestWorld:
    """A namespace with the sample objects of `rest_world`, another one without, the API over both, and accounts of users."""

    def __init__(self, cluster: Cluster, folder: Path, **settings: str) -> None:
        self.cluster = cluster
        self.namespace, self.other = (f"rest-{uuid4().hex[:8]}" for _ in range(2))
        for name in (self.namespace, self.other):
            cluster.kubectl("create", "namespace", name)
        self._admin = administrator(cluster)
        for thing in sample_objects():
            self.put(thing)
        self._give_the_api_its_roles()
        kubeconfig = cluster.service_account_kubeconfig(self.namespace, "attune-api")
        self.process = RestProcess(kubeconfig, self.namespace, folder, **settings).start()

    def _give_the_api_its_roles(self) -> None:
        things = [t for t in self.manifests() if "Role" in t["kind"] or t["kind"] == "ServiceAccount"]
        self.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(things))

    def manifests(self) -> list[dict[str, Any]]:
        """Of the API, for this namespace instead of attune-system."""
        things = list(yaml.safe_load_all(MANIFEST.read_text()))
        for thing in things:
            if thing["kind"] == "ClusterRoleBinding":
                thing["metadata"]["name"] += f"-{self.namespace}"
                thing["subjects"][0]["namespace"] = self.namespace
            elif thing["kind"] != "ClusterRole":
                thing["metadata"]["namespace"] = self.namespace
        return things

    def put(self, thing: dict[str, Any]) -> None:
        """Spec by server-side apply, status as the operator writes it."""
        meta = {k: v for k, v in thing["metadata"].items() if k in {"name", "labels"}}
        applied = {k: v for k, v in thing.items() if k != "status"} | {"metadata": meta}
        query = {"fieldManager": "test", "force": "true", "fieldValidation": "Strict"}
        headers = {"content-type": "application/apply-patch+yaml"}
        path = self._path(thing["kind"], meta["name"])
        answer = self._admin.patch(path, content=json.dumps(applied), params=query, headers=headers)
        assert answer.is_success, answer.text
        self.status(thing["kind"], meta["name"], **thing["status"])

    def status(self, kind: str, name: str, **status: Any) -> None:
        """Some fields of a status."""
        headers = {"content-type": "application/merge-patch+json"}
        body = json.dumps({"status": status})
        answer = self._admin.patch(f"{self._path(kind, name)}/status", content=body, headers=headers)
        assert answer.is_success, answer.text

    def _path(self, kind: str, name: str) -> str:
        return f"/apis/attune.dev/v1alpha1/namespaces/{self.namespace}/{kind_named(kind).plural}/{name}"

    def user(self, name: str, role: str | None = None, namespace: str | None = None) -> str:
        """A token of a new account, with a role in a namespace."""
        self.cluster.kubectl("create", "serviceaccount", name, "-n", self.namespace)
        if role is not None:
            self.bind(name, role, namespace)
        return self.cluster.kubectl("create", "token", name, "-n", self.namespace, "--duration=1h").strip()

    def bind(self, name: str, role: str, namespace: str | None = None) -> None:
        account = f"--serviceaccount={self.namespace}:{name}"
        place = namespace or self.namespace
        self.cluster.kubectl("create", "rolebinding", f"{name}-{role}", f"--clusterrole={role}", account, "-n", place)

    def unbind(self, name: str, role: str) -> None:
        self.cluster.kubectl("delete", "rolebinding", f"{name}-{role}", "-n", self.namespace)

    def client(self, token: str | None) -> httpx.Client:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return httpx.Client(base_url=self.process.url, headers=headers, trust_env=False, timeout=30)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self.cluster.get(kind, name, "-n", self.namespace)

    def close(self) -> None:
        self.process.kill()
        self._admin.close()
        for role in ("attune-api", "attune-api-reviews"):
            self.cluster.kubectl("delete", "clusterrolebinding", f"{role}-{self.namespace}", check=False)
        for name in (self.namespace, self.other):
            self.cluster.kubectl("delete", "namespace", name, "--wait=false")
