"""Finding the cluster: kubeconfig, tokens that rotate, and words when there is none."""

import os
from pathlib import Path

import pytest
import yaml

from attune.cluster import connect as module
from attune.cluster.connect import NoClusterError, connect


def kubeconfig(path: Path, server="http://127.0.0.1:8001", **user) -> Path:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "c",
        "contexts": [
            {"name": "c", "context": {"cluster": "k", "user": "u", "namespace": "team"}},
            {"name": "other", "context": {"cluster": "k2", "user": "u"}},
        ],
        "clusters": [
            {"name": "k", "cluster": {"server": server}},
            {"name": "k2", "cluster": {"server": "http://127.0.0.1:9"}},
        ],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(yaml.safe_dump(document))
    return path


async def test_server_namespace_and_token_come_from_the_kubeconfig(tmp_path):
    connection = await connect(kubeconfig(tmp_path / "config", token="secret"))
    assert (connection.server, connection.namespace) == ("http://127.0.0.1:8001", "team")
    assert await connection.authorization(False) == "Bearer secret"


async def test_another_context_can_be_chosen(tmp_path):
    connection = await connect(kubeconfig(tmp_path / "config"), "other")
    assert (connection.server, connection.namespace) == ("http://127.0.0.1:9", "default")
    assert connection.authorization is None


async def test_a_token_file_is_read_again(tmp_path):
    token = tmp_path / "token"
    token.write_text("one")
    connection = await connect(kubeconfig(tmp_path / "config", tokenFile=str(token)))
    assert await connection.authorization(False) == "Bearer one"
    token.write_text("two")
    assert await connection.authorization(True) == "Bearer two"


async def test_a_token_file_that_vanished_leaves_the_last_token(tmp_path):
    token = tmp_path / "token"
    token.write_text("one")
    connection = await connect(kubeconfig(tmp_path / "config", tokenFile=str(token)))
    token.unlink()
    assert await connection.authorization(True) == "Bearer one"


async def test_an_exec_plugin_gives_the_token(tmp_path):
    plugin = tmp_path / "plugin"
    plugin.write_text(
        "#!/bin/sh\n"
        'echo \'{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"fresh"}}\'\n'
    )
    plugin.chmod(0o755)
    config = kubeconfig(
        tmp_path / "config",
        exec={"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "interactiveMode": "Never"},
    )
    connection = await connect(config)
    assert await connection.authorization(False) == "Bearer fresh"


async def test_a_missing_cluster_is_said_in_one_line(tmp_path):
    with pytest.raises(NoClusterError, match="set ATTUNE_KUBECONFIG") as e:
        await connect(tmp_path / "nothing")
    assert "\n" not in str(e.value)


async def test_the_pods_service_account_is_used_inside_of_a_cluster(tmp_path, monkeypatch):
    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("in-pod")
    authority.write_text(certificate())
    monkeypatch.setattr("kubernetes.aio.config.incluster_config.SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr("kubernetes.aio.config.incluster_config.SERVICE_CERT_FILENAME", str(authority))
    monkeypatch.setattr(module, "_OWN_NAMESPACE", tmp_path / "absent")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    connection = await connect()
    assert connection.server == "https://10.0.0.1:443"
    assert (await connection.authorization(False)).split() == ["bearer", "in-pod"]
    token.write_text("rotated")
    assert (await connection.authorization(True)).split() == ["bearer", "rotated"]
    assert "KUBECONFIG" not in os.environ


def certificate() -> str:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
