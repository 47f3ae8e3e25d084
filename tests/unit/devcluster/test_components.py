"""Flags of the control plane's processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from devcluster import components
from devcluster.components import Layout, Ports

PORTS = Ports(etcd=1, etcd_peer=2, api=3, controllers=4, scheduler=5, kubelet=6)
LAYOUT = Layout(Path("/srv/one"))
COMMANDS = [
    components.etcd(LAYOUT, PORTS),
    components.api_server(LAYOUT, PORTS),
    components.controller_manager(LAYOUT, PORTS),
    components.scheduler(LAYOUT, PORTS),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c[0])
def test_every_process_listens_on_this_machine_only_and_keeps_its_files_in_its_folder(command: list[str]) -> None:
    flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in command[1:])
    listening = [v for k, v in flags.items() if "listen" in k or "advertise" in k or k == "bind-address"]
    assert listening
    assert all("127.0.0.1" in value for value in listening)
    paths = [v for k, v in flags.items() if v.startswith("/")]
    assert all(path.startswith("/srv/one/") for path in paths)


def test_no_two_processes_share_a_port() -> None:
    flags = [flag for command in COMMANDS for flag in command if "--secure-port=" in flag or "--listen" in flag]
    ports = [flag.rpartition(":")[2] if "://" in flag else flag.rpartition("=")[2] for flag in flags]
    assert sorted(ports) == ["1", "2", "3", "4", "5"]


def test_rights_are_checked_and_tokens_verified_by_the_key_that_signs_them() -> None:
    api, controllers = COMMANDS[1], COMMANDS[2]
    key = f"{LAYOUT.service_account_key}"
    assert "--authorization-mode=Node,RBAC" in api
    assert f"--service-account-key-file={key}" in api
    assert f"--service-account-signing-key-file={key}" in api
    assert f"--service-account-private-key-file={key}" in controllers


def test_a_kubeconfig_names_server_certificate_token_and_namespace() -> None:
    made = yaml.safe_load(components.kubeconfig("https://127.0.0.1:3", Path("/srv/one/ca"), "t", "team"))
    cluster = {"server": "https://127.0.0.1:3", "certificate-authority": "/srv/one/ca"}
    assert made["clusters"][0]["cluster"] == cluster
    assert made["users"][0]["user"] == {"token": "t"}
    context = {"cluster": "devcluster", "user": "user", "namespace": "team"}
    assert made["contexts"] == [{"name": made["current-context"], "context": context}]


def test_a_process_is_told_from_one_that_has_ended() -> None:
    born = components.born(os.getpid())
    assert born is not None
    assert components.born(os.getpid()) == born
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert components.born(child) is None
    os.waitpid(child, 0)
    assert components.born(child) is None
