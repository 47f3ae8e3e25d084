"""The process as the kubelet sees it, against a server that is not (yet) a cluster with our CRDs."""

import asyncio
import signal
import socket
import sys
from contextlib import asynccontextmanager

import httpx
import yaml

from attune.api import kinds


@asynccontextmanager
async def operator(folder, url, **environ):
    """Run the operator; yields its process and the URL of its probes. Never left behind."""
    config = folder / "kubeconfig"
    contexts = [{"name": "c", "context": {"cluster": "k", "user": "u"}}]
    clusters, users = [{"name": "k", "cluster": {"server": url}}], [{"name": "u", "user": {"token": "t"}}]
    config.write_text(
        yaml.safe_dump({"current-context": "c", "contexts": contexts, "clusters": clusters, "users": users})
    )
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "attune",
        env={"PATH": "/usr/bin:/bin", "ATTUNE_KUBECONFIG": str(config), "ATTUNE_HTTP_PORT": str(port), **environ},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def answer(url, status):
    """The text of the first answer with this status."""
    async with asyncio.timeout(60), httpx.AsyncClient() as client:
        while True:
            try:
                got = await client.get(url)
                if got.status_code == status:
                    return got.text
            except httpx.ConnectError:
                pass
            await asyncio.sleep(0.1)


async def ended(process):
    async with asyncio.timeout(60):
        _, err = await process.communicate()
    return process.returncode, err.decode()


async def test_without_crds_it_waits_alive_and_says_what_to_install(tmp_path, api):
    api.groups.clear()
    async with operator(tmp_path, api.url) as (process, probes):
        waiting = await answer(probes + "/readyz", 503)
        while "start" in waiting:
            waiting = await answer(probes + "/readyz", 503)
        assert "the CRDs of ABTest, ModelVersion, Retriever, TrainingJob, TrainingSchedule are missing" in waiting
        assert "kubectl apply --server-side -k crds/" in waiting
        assert await answer(probes + "/healthz", 200) == "ok\n"
        process.send_signal(signal.SIGTERM)
        code, log = await ended(process)
    assert code == 0
    assert log.count("kubectl apply --server-side -k crds/") == 1


async def test_without_an_api_server_it_waits_alive_and_names_the_server(tmp_path):
    async with operator(tmp_path, "http://127.0.0.1:9") as (process, probes):
        waiting = await answer(probes + "/readyz", 503)
        while "start" in waiting:
            waiting = await answer(probes + "/readyz", 503)
        assert "the API server http://127.0.0.1:9 does not answer" in waiting
        process.send_signal(signal.SIGINT)
        assert (await ended(process))[0] == 0


async def test_a_port_that_is_taken_ends_it_with_2_and_one_line(tmp_path, api):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        async with operator(tmp_path, api.url, ATTUNE_HTTP_HOST="127.0.0.1", ATTUNE_HTTP_PORT=port) as (process, _):
            code, log = await ended(process)
    assert code == 2
    assert f"attune-operator: cannot listen on 127.0.0.1:{port} (ATTUNE_HTTP_HOST, ATTUNE_HTTP_PORT)" in log
    assert "Traceback" not in log


async def test_without_any_cluster_it_ends_with_2_and_one_line(tmp_path, api):
    async with operator(tmp_path, api.url, ATTUNE_CONTEXT="nowhere") as (process, _):
        code, log = await ended(process)
    assert code == 2
    assert "no cluster to talk to" in log
    assert "Traceback" not in log


async def test_neither_torch_nor_the_generated_models_are_ever_imported():
    code = (
        "import sys, attune.runtime\n"
        "heavy = {m for m in sys.modules if m.split('.')[0] in ('torch', 'transformers', 'numpy', 'openai')}\n"
        "models = {m for m in sys.modules if m.startswith('kubernetes.') and '.models.' in m}\n"
        "print(len(heavy), len(models))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    heavy, models = map(int, out.split())
    assert heavy == 0
    assert models < 20  # of about 800


async def test_when_the_watches_break_it_gives_the_lease_back_and_ends_with_1(tmp_path, api):
    """This server has the CRDs, but no list of its groups, so kopf fails; a restart by the kubelet is the way out."""
    api.groups["/apis/attune.dev/v1alpha1"] = {kind.kind: kind.plural for kind in kinds.KINDS}
    async with operator(tmp_path, api.url, ATTUNE_LEASE_NAMESPACE="team") as (process, _):
        async with asyncio.timeout(60):
            _, log = await process.communicate()
    assert process.returncode == 1
    assert "the watches ended; a restart is the way out" in log.decode()
    lease = api.objects["/apis/coordination.k8s.io/v1/namespaces/team/leases/attune-operator"]
    assert lease["spec"]["holderIdentity"] == ""
