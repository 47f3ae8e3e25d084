"""Small parts of the process node: probes, logs, images, volumes, the Node object."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from devcluster.node import claims, images, probes, register, volumes
from devcluster.node.container import message_of
from devcluster.node.logs import last_lines


async def no_command(command: list[str]) -> int:
    raise AssertionError(command)


def test_readiness_flips_after_as_many_results_in_a_row_as_the_thresholds_say() -> None:
    verdict = probes.tally({"successThreshold": 2, "failureThreshold": 3}, healthy=False)
    results = [True, False, True, True, False, False, True, False, False, False]
    assert [verdict.count(ok) for ok in results] == [False, False, False, True, True, True, True, True, True, False]


@pytest.mark.parametrize(("succeeds_at", "wanted"), [(1, True), (3, True), (4, False)])
async def test_a_startup_probe_has_exactly_as_many_tries_as_its_threshold(succeeds_at: int, wanted: bool) -> None:
    tries = []

    async def once() -> bool:
        tries.append(1)
        return len(tries) >= succeeds_at

    assert await probes.started({"failureThreshold": 3, "periodSeconds": 0}, once) is wanted
    assert len(tries) == min(succeeds_at, 3)


async def test_an_http_probe_goes_to_the_named_port_and_counts_errors_as_failures() -> None:
    answers = [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"]
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(answers[len(asked) - 1])
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        number = server.sockets[0].getsockname()[1]
        container = {"name": "main", "ports": [{"name": "web", "containerPort": number}]}
        headers = [{"name": "X-Probe", "value": "yes"}]
        probe = {"httpGet": {"path": "/healthz", "port": "web", "httpHeaders": headers}}
        assert await probes.check(probe, container, "127.0.0.1", no_command)
        assert not await probes.check(probe, container, "127.0.0.1", no_command)
        assert await probes.check({"tcpSocket": {"port": number}}, container, "127.0.0.1", no_command)
    assert not await probes.check({"tcpSocket": {"port": number}}, container, "127.0.0.1", no_command)
    assert asked[0].startswith("GET /healthz HTTP/1.1")
    assert "X-Probe: yes" in asked[0]


async def test_a_command_that_takes_too_long_is_a_failure_and_is_ended() -> None:
    ended = []

    async def execute(command: list[str]) -> int:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(command)
        return 0

    probe = {"exec": {"command": ["check"]}, "timeoutSeconds": 0.05}
    assert not await probes.check(probe, {"name": "main"}, "127.0.0.1", execute)
    assert ended == [["check"]]


@pytest.mark.parametrize("probe", [{"grpc": {"port": 1}}, {"httpGet": {"port": "no-such-name"}}])
async def test_a_probe_that_cannot_be_tried_is_a_failure(probe: dict[str, Any]) -> None:
    assert not await probes.check(probe, {"name": "main"}, "127.0.0.1", no_command)


@pytest.mark.parametrize(
    ("count", "wanted"),
    [(0, b""), (1, b"unfinished"), (2, b"b\nunfinished"), (9, b"a\nb\nunfinished")],
)
def test_the_last_lines_include_the_unfinished_one(count: int, wanted: bytes) -> None:
    assert last_lines(b"a\nb\nunfinished", count) == wanted


@pytest.mark.parametrize(
    "reference",
    [
        "python",
        "python:3.11",
        "registry.example:5000/team/python:3.11",
        "python@sha256:abc",
        "docker.io/python:1@sha256:abc",
    ],
)
def test_an_image_is_found_by_its_repository_s_name(reference: str) -> None:
    assert images.find(images.BUILT_IN, reference) == images.Image((sys.executable,))


@pytest.mark.parametrize("reference", ["python3", "my-python", "python/other", ""])
def test_any_other_image_is_not_there(reference: str) -> None:
    assert images.find(images.BUILT_IN, reference) is None


def test_images_of_a_file_come_over_the_built_in_ones(tmp_path: Path) -> None:
    (tmp_path / "images.yaml").write_text('mine: ["{python}", "{here}/main.py"]\npython: ["other"]\n')
    table = images.load(tmp_path / "images.yaml")
    assert table["mine"].entrypoint == (sys.executable, str(tmp_path / "main.py"))
    assert table["python"].entrypoint == ("other",)
    assert "busybox" in table
    assert "mine" not in images.load(None)


def test_the_termination_message_is_the_file_or_the_end_of_a_failure_s_log(tmp_path: Path) -> None:
    log, file = tmp_path / "0.log", tmp_path / "termination-log"
    log.write_bytes(b"x" * 5000 + b"end")
    assert message_of(file, log, "File", 1) == ""
    assert message_of(file, log, "FallbackToLogsOnError", 0) == ""
    fallback = message_of(file, log, "FallbackToLogsOnError", 1)
    assert fallback.endswith("end")
    assert len(fallback) == 2048
    file.write_bytes(b"y" * 5000)
    assert message_of(file, log, "FallbackToLogsOnError", 1) == "y" * 4096


def test_what_the_api_server_fills_is_mounted_read_only(tmp_path: Path) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "config": {"configMap": {}},
        "secret": {"secret": {}},
        "token": {"projected": {}},
        "scratch": {"emptyDir": {}},
        "store": {"persistentVolumeClaim": {"claimName": "store"}},
        "archive": {"persistentVolumeClaim": {"claimName": "archive", "readOnly": True}},
    }
    pod = {"spec": {"volumes": [{"name": name, **kind} for name, kind in kinds.items()]}}
    mounts = [{"name": name, "mountPath": f"/mnt/{name}/"} for name in kinds]
    paths = {name: tmp_path / name for name in kinds}
    made = volumes.mounts({"volumeMounts": mounts}, pod, paths, tmp_path / "log")
    assert {m.target for m in made if m.read_only} == {"/mnt/config", "/mnt/secret", "/mnt/token", "/mnt/archive"}
    assert made[-1] == volumes.Mount(tmp_path / "log", "/dev/termination-log")


def test_a_claim_gets_one_volume_of_its_own_size_and_name(tmp_path: Path) -> None:
    meta = {"name": "store", "namespace": "team", "uid": "u-1"}
    spec = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": "5Gi"}},
        "storageClassName": "folder",
    }
    made = claims.volume({"metadata": meta, "spec": spec}, tmp_path)
    assert made["metadata"]["name"] == "folder-u-1"
    assert made["spec"]["hostPath"]["path"] == str(tmp_path / "u-1")
    assert made["spec"]["capacity"] == {"storage": "5Gi"}
    assert made["spec"]["accessModes"] == ["ReadWriteMany"]
    assert made["spec"]["claimRef"]["uid"] == "u-1"


def test_the_node_has_gpus_only_if_asked_for() -> None:
    assert "nvidia.com/gpu" not in register.node(1, 0)["status"]["capacity"]
    with_gpus = register.node(1234, 2)["status"]
    assert with_gpus["allocatable"]["nvidia.com/gpu"] == "2"
    assert with_gpus["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 1234
