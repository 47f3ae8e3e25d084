"""Promotions with 200 requests a second running, and how long a rollback takes from the command to the last replica.

Run by hand, as root: `PYTHONPATH=tests/support python -m benchmarks.promotion`. Everything is real: control plane, operator,
serving Pods. The models are tiny, since all of them and the load share the machine; what is measured is the switch, not the model.
In a cluster, the control plane has machines of its own; here it steps back (SCHED_IDLE), unless it is told not to (`--together`), as
do the instruments. Operator, replicas and load share the rest at one priority.
"""

import json
import os
import shutil
import ssl
import statistics
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import typer
import yaml
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.machine import machine
from benchmarks.serving.load_process import LoadProcess
from debian_packages import free_port  # type: ignore[import-not-found]
from devcluster import Cluster
from devcluster.build import cache_folder
from load import Answer, failures, p99  # type: ignore[import-not-found]
from operator_process import OperatorProcess  # type: ignore[import-not-found]
from serving_world import World  # type: ignore[import-not-found]
from tiny_bert import build_tiny_model, sentences  # type: ignore[import-not-found]

RATE, WINDOW_SECONDS = 200, 5.0
OURS, CONTROL_PLANE = (b"attune_serving", b"-m\0attune\0"), (b"/controlplane\0", b"devcluster")
"""What the command lines of their processes have."""
RESULTS = Path(__file__).parent / "results" / "promotion.json"
IMAGES = Path(__file__).parents[1] / "tests" / "support" / "images.yaml"


def come_forward(programs: Iterable[bytes]) -> None:
    """Give the processes of this machine whose command lines have one of these the priority that processes have."""
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            if any(program in command.read_bytes() for program in programs):
                for thread in (command.parent / "task").iterdir():
                    os.sched_setscheduler(int(thread.name), os.SCHED_OTHER, os.sched_param(0))


class Watcher:
    """When each replica began to answer by a version, asked fifty times a second: before promotions as beside them."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._since: dict[tuple[str, str], float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> "Watcher":
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def all_since(self, version: str, asked_at: float) -> float:
        """When the last replica switched to `version` after that moment; waits for it, two minutes at most."""
        while time.monotonic() < asked_at + 120:
            known = [self._since.get((address, version), 0.0) for address in self._addresses]
            if min(known) > asked_at:
                return max(known)
            time.sleep(0.01)
        raise TimeoutError(f"{version} does not serve, two minutes after its promotion")

    def _run(self) -> None:
        active: dict[str, str] = {}
        with httpx.Client(trust_env=False) as client:
            while not self._stopped.wait(0.02):
                for address in self._addresses:
                    found = client.get(f"http://{address}/v1/versions").json()["active"]["embedding"]
                    if active.get(address) != found:
                        active[address], self._since[address, found] = found, time.monotonic()


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


def moved(ask: Asking, watcher: Watcher, version: str, request: str) -> tuple[float, float]:
    """Seconds from the moment the request was stored until the last replica switched, and that moment."""
    ask(version, request)
    asked_at = time.monotonic()
    return watcher.all_since(version, asked_at) - asked_at, asked_at


class Requests:
    """How many requests the operator has sent to the API server, as it counts them itself."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"

    def __call__(self) -> int:
        families = text_string_to_metric_families(httpx.get(self._url, trust_env=False).text)
        samples = [s for f in families for s in f.samples if s.name == "attune_api_requests_total"]
        return int(sum(sample.value for sample in samples))


def p99s(answers: Sequence[Answer], moments: Sequence[float]) -> list[float]:
    return [round(p99([a for a in answers if m <= a.at < m + WINDOW_SECONDS]), 4) for m in moments]


def prepared(world: World, promotions: int) -> list[str]:
    """As many versions with their collections, each of an embedding space of its own, beside the one that serves."""
    names = [f"v{number}" for number in range(2, promotions + 2)]
    for number, name in enumerate(names, 2):
        if number > 3:  # the world has three models
            world.base(f"base-{number}", build_tiny_model(world.folder / f"tiny-{number}", seed=number))
        world.version(name, number)
        world.until("mv", name, lambda v: v.get("status", {}).get("index"))
    return names


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured, and by what."""

    world: World
    ask: Asking
    requests: Requests
    forward: tuple[bytes, ...]
    """What has the priority of replicas and load."""


def measured(bench: Bench, replicas: int, promotions: int, repetitions: int) -> dict[str, Any]:
    """What the replicas' clients see of promotions and of rollbacks, once everything is ready for them."""
    world, ask, requests = bench.world, bench.ask, bench.requests
    versions, addresses = prepared(world, promotions), world.ready(replicas)
    come_forward(bench.forward)
    watcher = Watcher(addresses).start()
    bodies = [{"input": query, "input_type": "query"} for query, _ in sentences()[:120]]
    load = LoadProcess(addresses, "/v1/embeddings", bodies, RATE).start()
    time.sleep(WINDOW_SECONDS)
    moves, asked = [], []
    for name in versions:
        time.sleep(1.2 * WINDOW_SECONDS)
        before_it = requests()
        moves.append(moved(ask, watcher, name, "first"))
        time.sleep(max(0.0, moves[-1][1] + WINDOW_SECONDS - time.monotonic()))
        asked.append(requests() - before_it)
    time.sleep(WINDOW_SECONDS)
    answers = load.stop()
    backs = []
    for number in range(repetitions):
        backs.append(moved(ask, watcher, versions[-2], f"back-{number}")[0])
        moved(ask, watcher, versions[-1], f"forth-{number}")
    watcher.stop()
    before, during = p99s(answers, [at - WINDOW_SECONDS for _, at in moves]), p99s(answers, [at for _, at in moves])
    return {
        "requests": len(answers),
        "failed": sum(failures(answers).values()),
        "promotions": promotions,
        "promotionSeconds": [round(took, 3) for took, _ in moves],
        "windowSeconds": WINDOW_SECONDS,
        "p99Before": before,
        "p99During": during,
        "medianDuringOverBefore": round(statistics.median(during) / statistics.median(before), 2),
        "versions": promotions + 1,
        "requestsOfTheOperator": asked,
        "rollbacks": repetitions,
        "rollbackSeconds": {"median": round(statistics.median(backs), 3), "max": round(max(backs), 3)},
    }


def main(replicas: int = 1, promotions: int = 9, repetitions: int = 20, together: bool = False) -> None:
    """Write benchmarks/results/promotion.json; what was measured in another setting stays there."""
    result: dict[str, Any] = {
        "what": f"promotions under {RATE} queries a second; seconds of rollbacks from the stored request to the last "
        "replica",
        "machine": machine(),
        "replicas": replicas,
        "controlPlane": "beside the replicas" if together else "steps back, as if it had machines of its own",
    }
    if os.geteuid() != 0:
        raise SystemExit(
            "priorities are changed back here, which only root may: run it as root, in a container of your own, say"
        )
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # and so all that is started from here
    base = cache_folder() / "runs"
    base.mkdir(parents=True, exist_ok=True)
    home = Path(mkdtemp(prefix="bench-", dir=base))
    with ExitStack() as ending:
        ending.callback(shutil.rmtree, home, ignore_errors=True)
        cluster = Cluster.start(home / "cluster", images=IMAGES)
        ending.callback(cluster.stop)
        cluster.kubectl("apply", "--server-side", "-k", str(Path(__file__).parents[1] / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        world = World(cluster, "bench", home / "world")
        ending.callback(world.close)
        port = free_port()
        world.revisions.stop()  # nothing between the operator and the API server, and nobody watches beside it
        world.operator = OperatorProcess(cluster.kubeconfig, "bench", world.folder, ATTUNE_HTTP_PORT=str(port))
        world.operator.start()
        world.retriever(history={"keepVersions": promotions + 1}, serving={"replicas": replicas})
        world.first()
        forward = OURS + CONTROL_PLANE if together else OURS
        bench = Bench(world, Asking(cluster, "bench"), Requests(port), forward)
        result |= measured(bench, replicas, promotions, repetitions)
    known: list[dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    key = itemgetter("replicas", "controlPlane")
    results = sorted([one for one in known if key(one) != key(result)] + [result], key=key)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
