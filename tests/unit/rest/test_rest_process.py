"""The process around the API: the dashboard's files, probes, signals, TLS, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from attune.rest import app
from kube_server import KubeServer
from rest_callers import Caller
from rest_world import api_over

HEADERS = {"authorization": "Bearer viewer-token"}


@pytest.fixture
def dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page where the package has its own."""
    (tmp_path / "index.html").write_text("<title>Attune</title>")
    (tmp_path / "page.js").write_text("1")
    monkeypatch.setattr(app, "DASHBOARD", tmp_path)
    return tmp_path


async def test_the_dashboards_files_are_public_may_load_nothing_from_elsewhere_and_hide_no_path_of_the_api(
    dashboard: Path, server: KubeServer
) -> None:
    async with api_over(server) as api, Caller(api.app, None) as nobody, Caller(api.app, "viewer-token") as vera:
        page = await nobody.get("/")
        assert page.text == "<title>Attune</title>"
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert (await nobody.get("/page.js")).status_code == 200
        for path in ("/../app.py", "/%2e%2e/app.py", "/nothing.js"):
            assert (await nobody.get(path)).status_code == 404
        assert (await vera.get("/api/rag/models")).status_code == 200
        assert (await vera.get("/api/rag/nowhere")).json()["reason"] == "NoSuchPath"
        wrong = await vera.put("/api/rag/models/train")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, POST")
        assert (await nobody.get("/healthz")).text == "ok\n"


async def test_a_watch_that_ended_for_good_makes_the_process_unhealthy(server: KubeServer) -> None:
    async with api_over(server) as api, Caller(api.app, None) as nobody:
        api.watches[0].cancel()
        await asyncio.sleep(0.05)
        sick = await nobody.get("/healthz")
        assert (sick.status_code, sick.text) == (503, "ended: watch retrievers\n")


async def test_while_it_drains_it_answers_and_is_not_ready(server: KubeServer) -> None:
    async with api_over(server) as api, Caller(api.app, "viewer-token") as vera:
        assert (await vera.get("/readyz")).text == "ready\n"
        api.draining = True
        assert (await vera.get("/readyz")).status_code == 503
        assert (await vera.get("/api/rag/models")).status_code == 200


# ---- as a process


@asynccontextmanager
async def process(
    server: KubeServer, folder: Path, **settings: str
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": {"server": server.url}}],
        "users": [{"name": "x", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    environ = {
        "PATH": "/usr/bin:/bin",
        "ATTUNE_API_KUBECONFIG": str(folder / "kubeconfig"),
        "ATTUNE_API_NAMESPACE": "team",
        "ATTUNE_API_HOST": "127.0.0.1",
        "ATTUNE_API_PORT": "0",
        "ATTUNE_API_LOG_FORMAT": "json",
        "ATTUNE_API_DRAIN_SECONDS": "0.3",
        **settings,
    }
    command = [sys.executable, "-m", "attune.rest"]
    made = await asyncio.create_subprocess_exec(*command, env=environ, stderr=asyncio.subprocess.PIPE)
    assert made.stderr is not None
    port = 0
    async with asyncio.timeout(60):
        while not port:
            line = (await made.stderr.readline()).decode()
            assert line, "it ended"
            if "attune api starts" in line:
                port = int(yaml.safe_load(line)["port"])
    reading = asyncio.create_task(made.stderr.read())
    yield made, port
    if made.returncode is None:
        made.kill()
    await made.wait()
    await reading


async def ready(client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                if (await client.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)


async def test_sigterm_ends_streams_and_the_process_with_0(server: KubeServer, tmp_path: Path) -> None:
    async with process(server, tmp_path) as (made, port):
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=url, headers=HEADERS, trust_env=False, timeout=20) as vera:
            await ready(vera)
            assert len((await vera.get("/api/rag/models")).json()["items"]) == 8
            async with vera.stream("GET", "/api/rag/models/train/tune-7/events") as answer:
                parts = answer.aiter_text()
                assert "event: state" in await anext(parts)
                made.send_signal(signal.SIGTERM)
                left = "".join([part async for part in parts])
            assert "event: end" not in left
            assert await asyncio.wait_for(made.wait(), 15) == 0


async def test_with_a_certificate_it_speaks_https(server: KubeServer, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    settings = {"ATTUNE_API_TLS_CERT_FILE": str(certificate), "ATTUNE_API_TLS_KEY_FILE": str(key)}
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with process(server, tmp_path, **settings) as (_, port):
        url = f"https://localhost:{port}"
        async with httpx.AsyncClient(base_url=url, headers=HEADERS, verify=trusting, trust_env=False) as vera:
            await ready(vera)
            assert (await vera.get("/api/rag/models/emb-v6")).status_code == 200


def self_signed(folder: Path) -> tuple[Path, Path]:
    import datetime

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "tls.crt", folder / "tls.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return certificate, private
