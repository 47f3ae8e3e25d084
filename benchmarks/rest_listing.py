"""GET /api/rag/models over 1,000 versions by 50 clients: how long an answer takes. Run by hand, on the real control plane:

`PYTHONPATH=tests/support python benchmarks/rest_listing.py`. The API runs as its own account, callers have tokens of their own, reviews are
remembered for the default ten seconds. Clients run in another process, on the same machine; twice: without a pause (50 requests are always
under way), and as pages do that ask every second. Answers are read whole and counted.
"""

import asyncio
import json
import multiprocessing
import random
import shutil
import ssl
import statistics
import time
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import aiohttp
import typer
import yaml

from benchmarks.machine import machine
from devcluster import Cluster
from devcluster.build import cache_folder
from rest_process import VIEW, RestWorld  # type: ignore[import-not-found]
from rest_world import a_version  # type: ignore[import-not-found]

CLIENTS, VERSIONS, SECONDS, WARM_SECONDS = 50, 1000, 20.0, 3.0
RESULTS = Path(__file__).parent / "results" / "rest_listing.json"
ROOT = Path(__file__).parents[1]


def fill(cluster: Cluster, namespace: str, count: int) -> None:
    """So many versions with everything that an evaluated one has."""
    asyncio.run(_fill(cluster, namespace, count))


async def _fill(cluster: Cluster, namespace: str, count: int) -> None:
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    known, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    root = f"{known['server']}/apis/attune.dev/v1alpha1/namespaces/{namespace}/modelversions"
    headers = {"Authorization": f"Bearer {user['token']}"}
    tls = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=known["certificate-authority"]), limit=16)
    async with aiohttp.ClientSession(headers=headers, connector=tls) as session:

        async def one(number: int) -> None:
            thing = a_version(number, "deprecated", 24.0, run=f"run-{number}")
            status = thing.pop("status")
            thing["metadata"] = {k: v for k, v in thing["metadata"].items() if k in {"name", "labels"}}
            async with session.post(root, json=thing) as answer:
                assert answer.status == 201, await answer.text()
            body = json.dumps({"status": status})
            patch = {"Content-Type": "application/merge-patch+json"}
            where = f"{root}/{thing['metadata']['name']}/status"
            async with session.patch(where, data=body, headers=patch) as answer:
                assert answer.status == 200, await answer.text()

        for begin in range(0, count, 100):
            await asyncio.gather(*(one(1000 + n) for n in range(begin, min(begin + 100, count))))


def asked(url: str, tokens: list[str], limit: int, pause: float, seconds: float) -> dict[str, Any]:
    """What the clients saw, from a process of their own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_asked, (url, tokens, limit, pause, seconds))


def _asked(url: str, tokens: list[str], limit: int, pause: float, seconds: float) -> dict[str, Any]:
    return asyncio.run(_clients(url, tokens, limit, pause, seconds))


async def _clients(url: str, tokens: list[str], limit: int, pause: float, seconds: float) -> dict[str, Any]:
    took: list[float] = []
    sizes: set[int] = set()
    begin = time.monotonic()

    async def client(number: int) -> None:
        headers = {"Authorization": f"Bearer {tokens[number % len(tokens)]}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            await asyncio.sleep(random.random() * pause)
            while (since := time.monotonic() - begin) < seconds + WARM_SECONDS:
                at = time.monotonic()
                async with session.get(f"{url}/api/rag/models", params={"limit": limit}) as answer:
                    body = await answer.read()
                    assert answer.status == 200, body
                if since > WARM_SECONDS:
                    took.append(time.monotonic() - at)
                    sizes.add(len(body))
                await asyncio.sleep(max(0.0, pause - (time.monotonic() - at)))

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    took.sort()
    assert min(sizes) > limit * 100, f"an answer of {min(sizes)} bytes is no page of {limit} versions"
    return {
        "limit": limit,
        "pauseSeconds": pause,
        "requests": len(took),
        "requestsPerSecond": round(len(took) / seconds, 1),
        "bodyBytes": min(sizes),
        "p50Milliseconds": round(1000 * statistics.median(took), 1),
        "p99Milliseconds": round(1000 * took[int(0.99 * (len(took) - 1))], 1),
        "longestMilliseconds": round(1000 * took[-1], 1),
    }


def measured(world: RestWorld, seconds: float) -> list[dict[str, Any]]:
    """Each kind of page, by each kind of client."""
    try:
        fill(world.cluster, world.namespace, VERSIONS)
        tokens = [world.user(f"client-{number}", VIEW) for number in range(5)]
        with world.client(tokens[0]) as client:
            while len(client.get("/api/rag/models", params={"limit": 1000}).json()["items"]) < 1000:
                time.sleep(0.2)
        return [
            asked(world.process.url, tokens, limit, pause, seconds) for limit in (100, 1000) for pause in (0.0, 1.0)
        ]
    finally:
        world.close()


def main(seconds: float = SECONDS, out: Path = RESULTS) -> None:
    """Start everything, ask, write the numbers down."""
    home = Path(mkdtemp(prefix="rest-listing-", dir=cache_folder()))
    cluster = Cluster.start(home)
    try:
        cluster.kubectl("apply", "--server-side", "-k", str(ROOT / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        runs = measured(RestWorld(cluster, home), seconds)
    finally:
        cluster.stop()
        shutil.rmtree(home, ignore_errors=True)
    result = {"machine": machine(), "clients": CLIENTS, "versions": VERSIONS, "seconds": seconds, "runs": runs}
    out.write_text(json.dumps(result, indent=2) + "\n")
    for run in runs:
        typer.echo(json.dumps(run))


if __name__ == "__main__":
    typer.run(main)
