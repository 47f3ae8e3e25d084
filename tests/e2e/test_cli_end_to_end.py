"""search and `registry rebuild` with everything real: control plane, operator, trainer, a serving Pod; tiny models."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from command_line import CommandLine
from devcluster import Cluster
from namespaced import Namespaced
from operator_process import OperatorProcess
from tiny_bert import build_tiny_model, sentences, write_jsonl

pytestmark = [pytest.mark.timeout(1200)]
API = "attune.dev/v1alpha1"
SECONDS = 300
TWO = "emb-v2-20260101"
QUERY = sentences()[0][0]


class World(Namespaced):
    """A namespace with a volume, a Retriever over tiny models with one replica, and its operator."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        namespace = f"cli-{uuid4().hex[:8]}"
        super().__init__(cluster, namespace, OperatorProcess(cluster.kubeconfig, namespace, folder), SECONDS)
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        self.apply("PersistentVolumeClaim", "docs", claim, api="v1")
        bound = "--for=jsonpath={.status.phase}=Bound"
        cluster.kubectl("wait", bound, "pvc/docs", "-n", self.namespace, "--timeout=30s")
        volume = cluster.claim_folder(self.namespace, "docs")
        rows = [{"id": f"d{n:03}", "title": q, "content": text} for n, (q, text) in enumerate(sentences())]
        write_jsonl(volume / "archive.jsonl", rows)
        for number in (1, 2):
            shutil.copytree(build_tiny_model(folder / f"tiny-{number}", seed=number), volume / f"base-{number}")
        self.artifacts = volume / "store" / self.namespace / "news" / "versions"

    def apply(self, kind: str, name: str, spec: dict[str, Any], *, api: str = API) -> None:
        thing = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump(thing))

    def start(self) -> None:
        """Version 1 imported and active, version 2 staged with an index."""
        self.operator.start()
        retriever = {
            "embedding": {"baseModel": "pvc://docs/base-1"},
            "storage": {"uri": "pvc://docs/store"},
            "data": {"archive": {"uri": "pvc://docs/archive.jsonl"}},
            "serving": {"replicas": 1},
        }
        self.apply("Retriever", "news", retriever)
        found = self.until("rtr", "news", lambda s: (s.get("embedding") or {}).get("active"))
        self.one = str(found["status"]["embedding"]["active"])
        version = {
            "retriever": "news",
            "type": "embedding",
            "version": 2,
            "baseModel": "pvc://docs/base-2",
            "artifact": {"uri": f"pvc://docs/store/{self.namespace}/news/versions/{TWO}"},
            "source": {"import": "pvc://docs/base-2"},
        }
        self.apply("ModelVersion", TWO, version)
        self.until("mv", TWO, lambda s: s.get("index"))
        self.follows()

    def follows(self) -> None:
        def serve(status: dict[str, Any]) -> bool:
            said = {c["type"]: c["status"] for c in status.get("conditions") or []}
            return said.get("Serving") == "True"

        self.until("rtr", "news", serve)


@pytest.fixture
def world(cluster: Cluster, tmp_path: Path) -> Iterator[World]:
    made = World(cluster, tmp_path)
    yield made
    made.close()


def test_what_serves_is_searched_and_lost_versions_come_back_from_the_store(world: World) -> None:
    world.start()
    look_and_search(world)
    world.operator.stop()
    lost = {name: world.get("mv", name)["status"] for name in (world.one, TWO)}
    files = fingerprints(world.artifacts)
    world.cluster.kubectl("delete", "mv", "--all", "-n", world.namespace, "--wait=false")
    rebuild(world, lost)
    world.operator.start()
    for name, before in lost.items():
        now = world.until("mv", name, lambda s: s.get("index"))["status"]
        assert now["artifact"]["digest"] == before["artifact"]["digest"]
        assert (now["embeddingSpace"], now["dimensions"]) == (before["embeddingSpace"], before["dimensions"])
        assert now["index"]["collection"] == before["index"]["collection"]
        assert now["evaluationMetrics"]["ndcgAt10"] == before["evaluationMetrics"]["ndcgAt10"], "measured again"
    world.until("mv", TWO, lambda s: s.get("stage") == "active")
    assert fingerprints(world.artifacts) == files, "artifacts that are there are never written"
    world.follows()
    assert world.attune.ok("rollback", "--to", world.one).out.startswith(f"{world.one}: RolledBack: ")


def look_and_search(world: World) -> None:
    attune, one = world.attune, world.one
    found = attune.ok("search", QUERY, "-o", "json").json
    assert found["model"] == one
    assert found["index"] == world.get("mv", one)["status"]["index"]["collection"]
    assert len(found["data"]) == 5
    refused = attune("search", QUERY, "--version", TWO)
    assert refused.code == 1
    assert TWO in refused.err
    attune.ok("promote", TWO)
    world.follows()
    table = attune.ok("search", QUERY, "-k", "3", "--compare", one).out
    assert table.splitlines()[0].split()[0] == TWO
    assert one in table.splitlines()[0]
    both = attune.ok("search", QUERY, "-k", "3", "--compare", one, "-o", "json").json
    assert [answer["model"] for answer in both] == [TWO, one]
    assert both[0]["index"] != both[1]["index"]
    pods = world.cluster.get("pods", "-n", world.namespace, "-l", "attune.dev/component=serving")["items"]
    address = f"http://{pods[0]['status']['podIP']}:8000"
    nowhere = CommandLine(Path("/no/kubeconfig"), world.namespace)
    assert nowhere.ok("search", QUERY, "--server", address, "-o", "json").json["model"] == TWO
    assert "attune serving starts" in attune.ok("logs", "news").out
    screens = [attune.ok("status").out, attune.ok("history").out, attune.ok("search", QUERY).out, table]
    print("\n".join(screens))  # noqa: T201  to be looked at, with -s


def rebuild(world: World, lost: dict[str, Any]) -> None:
    attune = world.attune
    (world.artifacts / "no-artifact").mkdir()
    (world.artifacts / "no-artifact" / "manifest.json").write_text("{}")
    planned = attune("registry", "rebuild", "news", "--dry-run", "-o", "json")
    assert planned.code == 1, "something there cannot be used"
    assert {p["version"]: p["action"] for p in planned.json} == {
        **dict.fromkeys(lost, "would be made"),
        None: "unusable",
    }
    assert world.cluster.get("mv", "-n", world.namespace)["items"] == []
    shutil.rmtree(world.artifacts / "no-artifact")
    made = attune.ok("registry", "rebuild", "news")
    print(made.out)  # noqa: T201
    for name, before in lost.items():
        spec = world.get("mv", name)["spec"]
        assert spec["artifact"] == {"uri": before["artifact"]["uri"], "digest": before["artifact"]["digest"]}
    assert {p["action"] for p in attune.ok("registry", "rebuild", "news", "-o", "json").json} == {"exists"}
    jobs = world.cluster.get("jobs", "-n", world.namespace)["items"]
    assert not [
        j
        for j in jobs
        if j["metadata"]["name"].startswith("attune-registry") and not j["metadata"].get("deletionTimestamp")
    ]


def fingerprints(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
