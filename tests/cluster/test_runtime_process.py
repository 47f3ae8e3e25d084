"""The operator process on a real control plane: two replicas, hard kills, a paused leader, its role, its memory."""

import asyncio
import copy
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from attune.api import kinds
from attune.cluster.client import KubernetesCluster
from attune.cluster.connect import connect
from attune.cluster.lease import Lease
from attune.cluster.transport import Transport
from attune.objects import Manifest, Ref
from recording_proxy import RecordingProxy

pytestmark = pytest.mark.cluster

ROLES = list(yaml.safe_load_all((Path(__file__).parents[2] / "manifests" / "rbac.yaml").read_text()))
LEASE_SECONDS = 4


@dataclass
class Replica:
    """One operator process and what it says about itself."""

    process: asyncio.subprocess.Process
    url: str
    log: Path

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels; 0 while the process does not answer."""
        try:
            async with httpx.AsyncClient() as client:
                text = (await client.get(self.url + "/metrics")).text
        except httpx.TransportError:
            return 0.0
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples if s.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    def mapped(self) -> str:
        """The shared libraries it has loaded."""
        return Path(f"/proc/{self.process.pid}/maps").read_text()

    async def leads(self) -> bool:
        return await self.metric("attune_leader") == 1

    async def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            return await self.process.wait()


async def until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait for a condition that is true or a value; fails with its name."""
    try:
        async with asyncio.timeout(seconds):
            while not (value := await condition()):  # noqa: ASYNC110  the condition is in another process
                await asyncio.sleep(0.1)
            return value
    except TimeoutError:
        pytest.fail(f"not within {seconds} s: {getattr(condition, '__qualname__', condition)}")


@pytest.fixture
async def admin(kubeconfig: Path) -> AsyncIterator[KubernetesCluster]:
    """The test's own hands."""
    transport = Transport(await connect(Path(kubeconfig)))
    yield KubernetesCluster(transport)
    await transport.close()


@pytest.fixture
async def start(tmp_path: Path, kubeconfig: Path, namespace: str) -> AsyncIterator[Callable[..., Any]]:
    """Starts replicas in the test's namespace; none is left behind."""
    started: list[Replica] = []

    async def one(config: Path | None = None, **environ: str) -> Replica:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        log = tmp_path / f"operator-{len(started)}.log"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "attune",
            env={
                **{k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ},
                "ATTUNE_KUBECONFIG": str(config or kubeconfig),
                "ATTUNE_NAMESPACES": namespace,
                "ATTUNE_LEASE_NAMESPACE": namespace,
                "ATTUNE_LEASE_SECONDS": str(LEASE_SECONDS),
                "ATTUNE_HTTP_PORT": str(port),
                "ATTUNE_LOG_FORMAT": "json",
                "FINETUNE_ENABLED": "true",
                **environ,
            },
            stderr=log.open("w"),
        )
        started.append(Replica(process, f"http://127.0.0.1:{port}", log))
        return started[-1]

    yield one
    for replica in started:
        if replica.process.returncode is None:
            replica.process.kill()
            await replica.process.wait()


def training_job(namespace: str, name: str) -> Manifest:
    """A run of a Retriever that does not exist: the operator can only say so in its status."""
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"retriever": "nowhere", "type": "embedding"},
    }


async def status_of(admin: KubernetesCluster, namespace: str, name: str) -> Manifest | None:
    found = await admin.get(Ref(kinds.API_VERSION, "TrainingJob", namespace, name))
    return (found or {}).get("status")


async def test_the_standby_takes_over_from_a_leader_that_was_killed(start, admin, namespace):
    first = await start(ATTUNE_IDENTITY="first")
    await until(first.leads)
    await admin.create(training_job(namespace, "before"))
    await until(lambda: status_of(admin, namespace, "before"))
    second = await start(ATTUNE_IDENTITY="second")
    await until(lambda: second.metric("attune_objects", kind="TrainingJob"))
    assert not await second.leads()

    first.process.kill()
    await first.process.wait()
    await admin.create(training_job(namespace, "after"))
    await until(second.leads, seconds=3 * LEASE_SECONDS)
    await until(lambda: status_of(admin, namespace, "after"))


async def test_a_leader_that_is_told_to_stop_hands_over_at_once_and_ends_with_0(start, namespace):
    first, second = await start(ATTUNE_LEASE_SECONDS="30"), None
    await until(first.leads)
    second = await start(ATTUNE_LEASE_SECONDS="30")
    await until(lambda: second.metric("attune_build_info"))
    await asyncio.sleep(2)
    began = asyncio.get_running_loop().time()
    assert await first.stop() == 0
    assert asyncio.get_running_loop().time() - began < 5
    await until(second.leads, seconds=10)


async def test_a_leader_that_was_paused_and_deposed_writes_nothing_when_it_wakes_up(
    start, admin, namespace, kubeconfig, tmp_path
):
    proxy = RecordingProxy((await connect(Path(kubeconfig))).server).start()
    config = changed(kubeconfig, tmp_path / "proxied.kubeconfig", cluster={"server": proxy.url})
    paused = await start(config, ATTUNE_IDENTITY="paused")
    await until(paused.leads)
    await admin.create(training_job(namespace, "before"))
    await until(lambda: status_of(admin, namespace, "before"))

    paused.process.send_signal(signal.SIGSTOP)
    written = len(proxy.writes)
    taker = Lease(admin, namespace, "attune-operator", "taker", LEASE_SECONDS)
    async with asyncio.timeout(4 * LEASE_SECONDS):
        await taker.acquire()
    keeping = asyncio.create_task(taker.keep())
    for n in range(5):
        await admin.create(training_job(namespace, f"meanwhile-{n}"))
    paused.process.send_signal(signal.SIGCONT)
    await asyncio.sleep(LEASE_SECONDS)

    assert proxy.writes[written:] == []
    assert await status_of(admin, namespace, "meanwhile-0") is None
    assert not await paused.leads()
    keeping.cancel()
    await taker.release()
    await until(lambda: status_of(admin, namespace, "meanwhile-4"))
    assert len(proxy.writes) > written
    proxy.stop()


async def test_nothing_of_kopf_is_left_on_an_object(start, admin, namespace):
    replica = await start()
    made = await admin.create(training_job(namespace, "plain"))
    await until(lambda: status_of(admin, namespace, "plain"))
    await replica.stop()
    found = await admin.get(Ref(kinds.API_VERSION, "TrainingJob", namespace, "plain"))
    assert found is not None
    assert found["spec"] == made["spec"]
    assert "annotations" not in found["metadata"]
    assert "finalizers" not in found["metadata"]
    assert {(f["manager"], f.get("subresource")) for f in found["metadata"]["managedFields"]} == {
        ("attune", None),  # this test's own client
        ("attune", "status"),
    }


async def test_with_its_own_role_and_nothing_else_it_is_never_refused(start, admin, namespace, kubeconfig, tmp_path):
    config = await service_account(admin, namespace, kubeconfig, tmp_path)
    replica = await start(config)
    await until(replica.leads)
    await admin.create(training_job(namespace, "mine"))
    await until(lambda: status_of(admin, namespace, "mine"))
    await admin.create(retriever(namespace, "news"))
    await until(lambda: admin.list("batch/v1", "Job", namespace))
    await until(lambda: admin.list("v1", "Event", namespace))
    await asyncio.sleep(2)
    assert await replica.metric("attune_api_requests_total", code="403") == 0
    assert "orbidden" not in replica.log.read_text()
    assert await replica.stop() == 0


async def test_with_one_retriever_it_needs_less_than_120_mb_and_has_no_torch(start, admin, namespace):
    replica = await start()
    await until(replica.leads)
    await admin.create(retriever(namespace, "news"))
    await admin.create(training_job(namespace, "mine"))
    await until(lambda: status_of(admin, namespace, "mine"))
    await asyncio.sleep(3)
    resident = await replica.metric("process_resident_memory_bytes") / 2**20
    assert 20 < resident < 120
    mapped = replica.mapped()
    assert "torch" not in mapped
    assert "numpy" not in mapped


def retriever(namespace: str, name: str) -> Manifest:
    spec: Manifest = {
        "embedding": {"baseModel": "file:///models/base"},
        "storage": {"uri": "file:///artifacts"},
        "data": {"archive": {"uri": "file:///archive.jsonl"}},
    }
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": "Retriever",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


async def service_account(admin: KubernetesCluster, namespace: str, kubeconfig: Path, folder: Path) -> Path:
    """The manifests' ServiceAccount and roles, moved to the test's namespace; answers a kubeconfig with its token."""
    for document in copy.deepcopy(ROLES):
        if document["kind"] == "ClusterRoleBinding":
            document["kind"] = "RoleBinding"
        if document["kind"] != "ClusterRole":
            document["metadata"]["namespace"] = namespace
        for subject in document.get("subjects", ()):
            subject["namespace"] = namespace
        await admin.apply(document)
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/attune-operator/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = (await admin._transport.request("POST", path, body=request)).json()["status"]["token"]
    return changed(kubeconfig, folder / "operator.kubeconfig", user={"token": token})


def changed(kubeconfig: Path, to: Path, **parts: Manifest) -> Path:
    """A copy of the kubeconfig with another `user` or `cluster`."""
    document = yaml.safe_load(Path(kubeconfig).read_text())
    for part, value in parts.items():
        for entry in document[f"{part}s"]:
            entry[part] = value
    to.write_text(yaml.safe_dump(document))
    return to
