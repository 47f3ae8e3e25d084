"""What a promotion costs the requests of one replica: p99 while another version is loaded, verified and swapped in, beside p99 before.

Run by hand: `PYTHONPATH=tests/support python -m benchmarks.serving.swap ARTIFACT`. The replica is a process of its own, told by an
API server; the load is 200 queries a second, open loop. Each version is the same model under another name, loaded and verified anew.
"""

import json
import shutil
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

from attune.contract import ModelType, ServedVersion
from attune_retrieval import manifest
from benchmarks.machine import machine
from benchmarks.serving.load_process import LoadProcess
from benchmarks.serving.throughput import queries
from fake_api_server import FakeApiServer  # type: ignore[import-not-found]
from load import failures, p99  # type: ignore[import-not-found]
from serving_process import ServingProcess, serving_config  # type: ignore[import-not-found]

WINDOW_SECONDS = 5.0
RESULTS = Path(__file__).parents[1] / "results" / "swap.json"


def copy_of(artifact: Path, folder: Path, name: str) -> ServedVersion:
    """The same model as another version: the manifest names it, so the digest is another one."""
    place = folder / name
    shutil.copytree(artifact, place)
    digest = manifest.write(place, manifest.read(place).model_copy(update={"version": name}))
    dimensions = manifest.read(place).dimensions
    return ServedVersion(name=name, type=ModelType.EMBEDDING, uri=str(place), digest=digest, dimensions=dimensions)


def report(answers: list[Any], rate: int, loads: list[float], switches: list[float]) -> dict[str, Any]:
    """p99 (seconds) in the windows before and after each moment of `loads` and after each of `switches` (monotonic seconds)."""

    def after(moments: list[float]) -> list[float]:
        return [round(p99([a for a in answers if m <= a.at < m + WINDOW_SECONDS]), 4) for m in moments]

    before = after([moment - WINDOW_SECONDS for moment in loads])
    middle = statistics.median(before)

    def beside(found: list[float]) -> dict[str, Any]:
        return {"p99": found, "medianOverBefore": round(statistics.median(found) / middle, 2)}

    return {
        "what": f"p99 in {WINDOW_SECONDS:g} s after loads and switches, beside as much before each load, at {rate} queries a second",
        "requests": len(answers),
        "failed": sum(failures(answers).values()),
        "before": {"p99": before, "median": round(middle, 4)},
        "loading": beside(after(loads)),
        "switching": beside(after(switches)),
    }


def main(artifact: Path, rate: int = 200, swaps: int = 9) -> None:
    """Write benchmarks/results/swap.json."""
    started: dict[str, Any] = machine()
    texts = queries()
    with TemporaryDirectory() as name:
        folder = Path(name)
        versions = [copy_of(artifact, folder, f"emb-v{n}") for n in range(swaps + 1)]
        api = FakeApiServer(text=serving_config(versions[0]).to_json()).start()
        own = {"ATTUNE_API_SERVER": api.url, "ATTUNE_CONFIG_MAP": "news-serving", "ATTUNE_NAMESPACE": "news"}
        server = ServingProcess(folder / "pod", **own)
        server.start()
        server.until(server.ready)
        server.report()  # an operator has asked before
        bodies = [{"input": text, "input_type": "query"} for text in texts]
        load = LoadProcess([server.url.removeprefix("http://")], "/v1/embeddings", bodies, rate).start()
        time.sleep(2 * WINDOW_SECONDS)
        loads: list[float] = []
        switches: list[float] = []
        for number in range(1, swaps + 1):
            old, new = versions[number - 1], versions[number]
            loads.append(time.monotonic())
            api.put(serving_config(old, new, generation=number).to_json())  # preload
            server.until(lambda new=new: server.report().ready(new.name, new.digest))
            time.sleep(WINDOW_SECONDS)
            switches.append(time.monotonic())
            api.put(serving_config(new, old, generation=number + 1).to_json())  # switch
            server.until(lambda new=new: server.report().active["embedding"] == new.name)
            time.sleep(2 * WINDOW_SECONDS)
        answers = load.stop()
        server.kill()
        api.stop()
    result = {"machine": started} | report(answers, rate, loads, switches)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
