"""Pods and Jobs for the tests of the process node, and waiting for what becomes of them."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import Any

import yaml

from devcluster import Cluster

Thing = dict[str, Any]
SECONDS = 60
PATHS = {"pod": "/api/v1/namespaces/{}/pods", "job": "/apis/batch/v1/namespaces/{}/jobs"}


def container(script: str | None = None, *, name: str = "main", **more: Any) -> Thing:
    """A container that runs a Python script."""
    command = {"command": ["python", "-c", script]} if script is not None else {}
    return {"name": name, "image": "python", **command, **more}


def pod(name: str, *containers: Thing, annotations: dict[str, str] | None = None, **spec: Any) -> Thing:
    """A Pod that is never restarted, unless `spec` says otherwise."""
    meta = {"name": name, "labels": {"app": name}, "annotations": annotations or {}}
    made = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "containers": list(containers), **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": made}


def job(name: str, *containers: Thing, template: Thing | None = None, **spec: Any) -> Thing:
    """A Job without retries, unless `spec` says otherwise."""
    inside = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 5, "containers": list(containers)}
    made = {"backoffLimit": 0, "template": {"spec": {**inside, **(template or {})}}, **spec}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": made}


def config_map(name: str, **data: str) -> Thing:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name: str, **data: str) -> Thing:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def claim(name: str) -> Thing:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def condition(thing: Thing, kind: str) -> Thing:
    """A condition that is true, or {}."""
    found = (c for c in thing["status"].get("conditions") or [] if c["type"] == kind and c["status"] == "True")
    return next(found, {})


def status_of(thing: Thing, name: str = "main") -> Thing:
    """One container's entry in containerStatuses; {} before there is one."""
    return next((c for c in thing["status"].get("containerStatuses") or [] if c["name"] == name), {})


def ended(thing: Thing, name: str = "main") -> Thing:
    """state.terminated of a container, or {}."""
    found: Thing = status_of(thing, name).get("state", {}).get("terminated", {})
    return found


@dataclass(frozen=True, slots=True)
class Namespace:
    """One test's namespace."""

    cluster: Cluster
    name: str

    def apply(self, *things: Thing) -> None:
        everything = {"apiVersion": "v1", "kind": "List", "items": list(things)}
        # Before a namespace has its ServiceAccount, Pods are refused.
        until = monotonic() + SECONDS
        while True:
            said = self.kubectl("apply", "-f", "-", stdin=json.dumps(everything), check=False)
            if "serviceaccount" not in said:
                break
            assert monotonic() < until, said
            sleep(0.1)
        assert "rror" not in said, said

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return self.cluster.kubectl("-n", self.name, *arguments, stdin=stdin, check=check)

    def get(self, kind: str, name: str) -> Thing:
        return self._read(f"{PATHS[kind].format(self.name)}/{name}")

    def pods_of(self, name: str) -> list[Thing]:
        """The Pods of a Job that exist now."""
        items: list[Thing] = self._read(f"{PATHS['pod'].format(self.name)}?labelSelector=job-name%3D{name}")["items"]
        return items

    def _read(self, path: str) -> Thing:
        """Without kubectl: what is read ten times a second should not start a process each time."""
        config = yaml.safe_load(self.cluster.kubeconfig.read_text())
        known = config["clusters"][0]["cluster"]
        headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}"}
        context = ssl.create_default_context(cafile=known["certificate-authority"])
        request = urllib.request.Request(known["server"] + path, headers=headers)
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            found: Thing = json.load(answer)
            return found

    def until(self, kind: str, name: str, wanted: Callable[[Thing], Any], seconds: float = SECONDS) -> Thing:
        """The object once `wanted` holds."""
        end = monotonic() + seconds
        while True:
            thing = self.get(kind, name)
            if wanted(thing):
                return thing
            assert monotonic() < end, f"{kind}/{name} after {seconds} s: {json.dumps(thing['status'], indent=1)}"
            sleep(0.1)

    def phase(self, name: str, *wanted: str) -> Thing:
        """The Pod once it is in one of these phases."""
        return self.until("pod", name, lambda p: p["status"]["phase"] in wanted)

    def run(self, *things: Thing) -> Thing:
        """Apply; answer the last one, a Pod, once it has ended."""
        self.apply(*things)
        return self.phase(things[-1]["metadata"]["name"], "Succeeded", "Failed")

    def output(self, name: str, *arguments: str) -> str:
        return self.kubectl("logs", name, *arguments)


def wait_for(what: Callable[[], Any], why: str, seconds: float = SECONDS) -> Any:
    """The first true answer."""
    end = monotonic() + seconds
    while not (answer := what()):
        assert monotonic() < end, f"{why}: not within {seconds} s"
        sleep(0.1)
    return answer
