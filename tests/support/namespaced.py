"""A namespace of a real cluster with an operator for it: what tests look at and wait for."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import yaml

from command_line import CommandLine
from devcluster import Cluster
from operator_process import OperatorProcess


class Namespaced:
    """`seconds`: how long it waits for anything."""

    def __init__(self, cluster: Cluster, namespace: str, operator: OperatorProcess, seconds: float) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.operator = operator
        self.attune = CommandLine(cluster.kubeconfig, namespace)
        self._seconds = seconds
        cluster.kubectl("create", "namespace", namespace)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        return self.cluster.get(kind, name, "-n", self.namespace)

    def until(self, kind: str, name: str, wanted: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """The object, once its status is as wanted."""
        end = time.monotonic() + self._seconds
        while True:
            thing = self.get(kind, name)
            if wanted(thing.get("status", {})):
                return thing
            assert time.monotonic() < end, yaml.safe_dump(thing.get("status")) + self.operator.log[-2000:]
            time.sleep(0.1)

    def close(self) -> None:
        self.operator.kill()
        self.cluster.kubectl("delete", "namespace", self.namespace, "--wait=false")
