"""Notifications by the real operator on the real control plane: killed between delivery and record, and with no right but its own."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from devcluster import Cluster
from namespaced import Namespaced
from operator_process import OperatorProcess
from receiver import Receiver
from recording_proxy import RecordingProxy
from scripted_world import manifests, training_job

ROOT = Path(__file__).parents[2]
SECONDS = 120
SETTINGS = {"ATTUNE_TRAINER_IMAGE": "scripted-trainer:test", "ATTUNE_NOTIFICATION_HOSTS": "127.0.0.1"}


class World(Namespaced):
    """A namespace with a Retriever that tells somebody, and its operator, which is not started."""

    def __init__(self, cluster: Cluster, folder: Path, kubeconfig: Path, server: str | None = None) -> None:
        namespace = f"notify-{uuid4().hex[:8]}"
        super().__init__(
            cluster, namespace, OperatorProcess(kubeconfig, namespace, folder, server=server, **SETTINGS), SECONDS
        )

    def tells(self, **target: Any) -> None:
        """The Retriever, whose version 1 is active then."""
        things = [t for t in yaml.safe_load_all(manifests()) if t["kind"] != "TrainingJob"]
        retriever = next(t for t in things if t["kind"] == "Retriever")
        retriever["spec"]["notifications"] = [{"name": "chat", **target}]
        self.apply(*things)
        self.until("rtr", "news", lambda s: s.get("embedding", {}).get("active"))

    def apply(self, *things: dict[str, Any]) -> None:
        self.cluster.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=yaml.safe_dump_all(things))

    def fails(self, name: str) -> None:
        """A run that fails as soon as somebody looks at it."""
        self.apply(training_job(name, dataSource={"feedback": True}))

    def told(self, name: str) -> dict[str, Any]:
        """Its condition Notified, once nothing about it is pending."""
        job = self.until("tj", name, lambda s: _notified(s).get("status") == "True" and "pendingNotifications" not in s)
        return _notified(job["status"])


def _notified(status: dict[str, Any]) -> dict[str, Any]:
    return next((c for c in status.get("conditions", []) if c["type"] == "Notified"), {})


def wait(wanted: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + SECONDS
    while not wanted():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver().start()
    yield made
    made.stop()


@pytest.fixture
def proxy(cluster: Cluster) -> Iterator[RecordingProxy]:
    known = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    made = RecordingProxy(known["server"], known["certificate-authority"]).start()
    yield made
    made.stop()


class KillAtRecord:
    """Kills at the write that takes the delivered notification off the list, before it is stored; once."""

    def __init__(self, name: str) -> None:
        self._path = f"/trainingjobs/{name}/status"
        self.killed = False

    def __call__(self, verb: str, path: str, body: bytes) -> str | None:
        if verb != "PUT" or not path.endswith(self._path) or self.killed:
            return None
        status = json.loads(body)["status"]
        if status.get("phase") != "Failed" or "pendingNotifications" in status:
            return None
        self.killed = True
        return "before"


def test_killed_between_delivery_and_record_it_tells_again_with_the_same_id_and_then_never_more(
    cluster: Cluster, proxy: RecordingProxy, receiver: Receiver, tmp_path: Path
) -> None:
    world = World(cluster, tmp_path, cluster.kubeconfig, proxy.url)
    proxy.kill = world.operator.kill
    plan = KillAtRecord("fails")
    proxy.plan = plan
    world.operator.start()
    try:
        world.tells(type="webhook", url=receiver.url)
        world.fails("fails")
        wait(lambda: plan.killed and not world.operator.running, world.operator.log[-2000:])
        assert [got.json["event"] for got in receiver.got] == ["TrainingFailed"]
        assert world.get("tj", "fails")["status"]["pendingNotifications"] == [f"chat/{receiver.got[0].id}"]
        world.operator.start()
        said = world.told("fails")
        first = receiver.got[0].id
        assert said["message"] == f"TrainingFailed {first}: told chat"
        assert [got.id for got in receiver.got] == [first, first]
        world.operator.kill()
        world.operator.start()
        world.fails("another")
        world.told("another")
        assert [got.id for got in receiver.got].count(first) == 2
        assert len({got.id for got in receiver.got}) == 2
    finally:
        world.close()


def test_with_its_own_role_it_reads_the_secret_that_the_example_lets_it_read_and_says_so_before(
    cluster: Cluster, receiver: Receiver, tmp_path: Path
) -> None:
    world = World(cluster, tmp_path, tmp_path / "operator.kubeconfig")
    try:
        (tmp_path / "operator.kubeconfig").write_text(_as_operator(world))
        data = {"url": base64.b64encode(receiver.url.encode()).decode()}
        world.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "attune-chat"}, "data": data})
        world.operator.start()
        world.tells(type="slack", secretRef={"name": "attune-chat"})
        said = _notified(
            world.until("rtr", "news", lambda s: _notified(s).get("reason") == "SecretUnreadable")["status"]
        )
        assert "let the operator get it, as examples/access/notifications.yaml does" in said["message"]
        world.apply(*_moved(world, "examples/access/notifications.yaml", leave_out="Secret"))
        cluster.kubectl("annotate", "rtr", "news", "-n", world.namespace, "look=again")
        world.until("rtr", "news", lambda s: _notified(s).get("reason") == "Ready")
        world.fails("fails")
        world.told("fails")
        (got,) = receiver.got
        assert "Training fails failed: SourceNotDefined" in got.json["text"]
        secret = "s3cr3tpart"
        assert secret not in world.operator.log
        events = cluster.kubectl("get", "events", "-n", world.namespace, "-o", "yaml")
        assert secret not in events + cluster.kubectl("get", "rtr,tj", "-n", world.namespace, "-o", "yaml")
        others = cluster.kubectl(
            "auth", "can-i", "get", "secrets", "-n", world.namespace, "--as", _user(world), check=False
        )
        assert others.strip() == "no"
    finally:
        world.close()


def _user(world: World) -> str:
    return f"system:serviceaccount:{world.namespace}:attune-operator"


def _moved(world: World, path: str, leave_out: str = "") -> list[dict[str, Any]]:
    """The manifests of a file, in the test's namespace and for the operator there."""
    things = []
    for thing in yaml.safe_load_all((ROOT / path).read_text()):
        if thing["kind"] == leave_out:
            continue
        if thing["kind"] == "ClusterRoleBinding":
            thing["kind"] = "RoleBinding"
        for subject in thing.get("subjects", ()):
            subject["namespace"] = world.namespace
        things.append(thing)
    return things


def _as_operator(world: World) -> str:
    """A kubeconfig with a token of the ServiceAccount that the manifests give the operator."""
    world.apply(*_moved(world, "manifests/rbac.yaml"))
    token = world.cluster.kubectl("create", "token", "attune-operator", "-n", world.namespace).strip()
    config = yaml.safe_load(world.cluster.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": token}
    return yaml.safe_dump(config)
