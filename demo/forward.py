"""The middle of the demo: the new version answers, is compared with the old one, and is taken back. By `kubectl attune`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from time import monotonic
from typing import Any

from rich.console import Console

from demo.show import GaveUp, Thing, follow
from devcluster import Cluster

QUERIES = ("sort the values of a data frame", "solve a system of linear equations", "open a file and read its lines")
INDEX_SECONDS, PROMOTE_SECONDS = 900, 300


def forward_and_back(console: Console, cluster: Cluster, namespace: str, version: str) -> None:
    """Promote, search with both versions, roll back, search again. Raises GaveUp where something does not go well."""
    attune = Attune(console, cluster, namespace)
    console.rule("7. its index is built, then it is promoted: model and index together")
    follow(console, lambda: _get(cluster, namespace, "modelversion", version), _is_indexed, INDEX_SECONDS)
    attune("status")
    attune("promote", version, "--timeout", str(PROMOTE_SECONDS))
    console.rule("8. kubectl attune search: the new version, beside the one before")
    before = _get(cluster, namespace, "retriever", "docs")["status"]["embedding"]["previous"]
    for query in QUERIES:
        console.print(f"[bold]{query}[/bold]")
        attune("search", query, "docs", "-k", "3", "--compare", before)
    console.rule("9. and back: kubectl attune rollback")
    began = monotonic()
    attune("rollback", "docs")
    console.print(f"[dim]{monotonic() - began:.1f} s, most of it the start of the command[/dim]")
    attune("search", QUERIES[0], "docs", "-k", "3")
    attune("history", "docs")


class Attune:
    """Runs `attune …` as a user would, and shows command and answer."""

    def __init__(self, console: Console, cluster: Cluster, namespace: str) -> None:
        self._console = console
        self._environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "COLUMNS": str(console.width)}
        self._namespace = namespace

    def __call__(self, *arguments: str) -> None:
        typed = ["-n", self._namespace, *arguments]
        self._console.print(f"$ kubectl attune {' '.join(map(_quoted, typed))}", style="dim", highlight=False)
        command = [sys.executable, "-m", "attune.cli.app", *typed]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        self._console.print(done.stdout.rstrip(), highlight=False, markup=False)
        if done.returncode != 0:
            raise GaveUp(f"attune {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")


def _quoted(text: str) -> str:
    return json.dumps(text) if " " in text else text


def _is_indexed(version: Thing) -> bool:
    status: dict[str, Any] = version.get("status") or {}
    if status.get("stage") == "failed":
        raise GaveUp(f"{version['metadata']['name']}: {status.get('notes')}")
    return "index" in status


def _get(cluster: Cluster, namespace: str, kind: str, name: str) -> Thing:
    found: Thing = json.loads(cluster.kubectl("get", kind, name, "-n", namespace, "-o", "json"))
    return found
