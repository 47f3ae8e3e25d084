"""A promotion with 200 requests a second running, and how long a rollback takes from the command to the last replica.

Run by hand: `PYTHONPATH=tests/support python benchmarks/promotion.py`. Everything is real: control plane, operator, two serving
Pods. The models are tiny, since all of them and the load share the machine; what is measured is the switch, not the model.
"""

import json
import ssl
import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import typer
import yaml

from benchmarks.machine import machine
from devcluster import Cluster
from devcluster.build import cache_folder
from load import Answer, Load, failures, p99  # type: ignore[import-not-found]
from serving_world import World  # type: ignore[import-not-found]
from tiny_bert import sentences  # type: ignore[import-not-found]

RATE, CALM_SECONDS, WINDOW_SECONDS = 200, 10.0, 5.0
RESULTS = Path(__file__).parent / "results" / "promotion.json"
IMAGES = Path(__file__).parents[1] / "tests" / "support" / "images.yaml"


def asked(number: int) -> tuple[str, dict[str, Any]]:
    return "/v1/embeddings", {"input": sentences()[number % 120][0], "input_type": "query"}


def switched(addresses: Sequence[str], version: str, done: threading.Event, at: dict[str, float]) -> None:
    """When each replica answers by this version, asked fifty times a second."""
    with httpx.Client(trust_env=False) as client:
        left = set(addresses)
        while left and not done.is_set():
            for address in sorted(left):
                active = client.get(f"http://{address}/v1/versions").json()["active"]
                if active.get("embedding") == version:
                    at[address] = time.monotonic()
                    left.discard(address)
            time.sleep(0.02)


class Asking:
    """Requests for promotion over one warm connection: a kubectl for each would cost the machine more than the switch itself."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        known, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cafile=known["certificate-authority"])
        root = f"{known['server']}/apis/attune.dev/v1alpha1/namespaces/{namespace}/modelversions"
        self._client = httpx.Client(
            verify=context, headers={"Authorization": f"Bearer {user['token']}"}, trust_env=False
        )
        self._root = root
        self._client.get(root)

    def __call__(self, version: str, request: str) -> None:
        body = json.dumps({"spec": {"promotion": {"requestID": request}}})
        headers = {"Content-Type": "application/merge-patch+json"}
        self._client.patch(f"{self._root}/{version}", content=body, headers=headers).raise_for_status()


def moved(ask: Asking, addresses: Sequence[str], version: str, request: str) -> tuple[float, float]:
    """Seconds from the moment the request was stored until the last replica switched, and that moment."""
    at: dict[str, float] = {}
    done = threading.Event()
    watching = threading.Thread(target=switched, args=(addresses, version, done, at))
    watching.start()
    time.sleep(0.1)
    ask(version, request)
    asked_at = time.monotonic()
    watching.join(120)
    done.set()
    return max(at.values()) - asked_at, asked_at


def within(answers: Sequence[Answer], start: float, seconds: float) -> list[Answer]:
    return [a for a in answers if start <= a.at < start + seconds]


def main(repetitions: int = 20) -> None:
    """Write benchmarks/results/promotion.json."""
    started: dict[str, Any] = machine()
    base = cache_folder() / "runs"
    base.mkdir(parents=True, exist_ok=True)
    home = Path(mkdtemp(prefix="bench-", dir=base))
    cluster = Cluster.start(home / "cluster", images=IMAGES)
    try:
        cluster.kubectl("apply", "--server-side", "-k", str(Path(__file__).parents[1] / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        world = World(cluster, "bench", home / "world")
        world.operator.start()
        world.retriever()
        one = world.first()
        world.version("two", 2)
        world.until("mv", "two", lambda v: v.get("status", {}).get("index"))
        world.serves(1)
        addresses, ask = world.ready(2), Asking(cluster, "bench")
        load = Load(where=lambda: addresses, make=asked, rate=RATE, keep_bodies=False).start()
        time.sleep(CALM_SECONDS)
        took, at = moved(ask, addresses, "two", "first")
        time.sleep(WINDOW_SECONDS)
        answers = load.stop()
        backs = []
        for number in range(repetitions):
            backs.append(moved(ask, addresses, one, f"back-{number}")[0])
            moved(ask, addresses, "two", f"forth-{number}")
        before, during = p99(within(answers, at - CALM_SECONDS, CALM_SECONDS)), p99(within(answers, at, WINDOW_SECONDS))
        world.close()
    finally:
        cluster.stop()
    result = {
        "what": "promotion under 200 queries a second over two replicas; seconds of rollbacks from the stored request to the last replica",
        "machine": started,
        "requests": len(answers),
        "failed": sum(failures(answers).values()),
        "promotionSeconds": round(took, 3),
        "p99Before": round(before, 4),
        "p99During": round(during, 4),
        "p99DuringOverBefore": round(during / before, 2),
        "rollbacks": repetitions,
        "rollbackSeconds": {
            "median": round(statistics.median(backs), 3),
            "max": round(max(backs), 3),
        },
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
