"""What a test adds to each answer: assignment by the query, headers, metrics, and counting the query once for its arm.

Run by hand: `python benchmarks/serving/assignment.py`. The real application's own parts are called as for an answered request, 200,000
distinct queries one after the other, and each is timed; no model and no network are part of it.
"""

import asyncio
import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import typer

from attune.contract import ModelType, ServedModel, ServedSplit, ServedVersion, ServingConfig
from attune_serving.answering import Answering
from attune_serving.app import App, _headers
from attune_serving.assign import assign
from attune_serving.counting import Counter, Journal, Peers
from attune_serving.forms import ACTIVE, EmbeddingsForm
from attune_serving.metrics import Metrics
from attune_serving.replica import Replica
from benchmarks.machine import machine

RESULTS = Path(__file__).parents[1] / "results" / "assignment.json"
WORDS = (
    "rotate",
    "key",
    "certificate",
    "node",
    "pod",
    "volume",
    "quota",
    "label",
    "token",
    "secret",
    "ingress",
    "taint",
)


def told(versions: tuple[str, str]) -> ServingConfig:
    """A test between two versions, half of the queries each."""
    split = ServedSplit(test="emb-ab", challenger=versions[1], fraction=0.5, salt="a-salt-of-this-run")
    served = tuple(
        ServedVersion(name=name, type=ModelType.EMBEDDING, uri="pvc://docs/none", digest=f"sha256:{n:064x}")
        for n, name in enumerate(versions)
    )
    model = ServedModel(active=versions[0], split=split)
    return ServingConfig(namespace="bench", retriever="bench", generation=1, embedding=model, versions=served)


async def measured(count: int, folder: Path) -> list[float]:
    """Seconds of each request."""
    config = told(("emb-v1", "emb-v2"))
    metrics, rng = Metrics(), random.Random(1)
    counter = Counter(Peers("pod-0", None, told_later=False), Journal(folder), "process", 1_000_000)
    counter.configured(config)
    replica = cast(Replica, SimpleNamespace(name="pod-0"))
    app = App(replica, cast(Answering, None), metrics, counter)
    model = config.embedding
    assert model is not None
    found = []
    for number in range(count):
        query = f"How do I {' '.join(rng.choices(WORDS, k=6))} of {number}?"
        form = EmbeddingsForm(texts=(query,), model=ACTIVE, role="query", encoding="float")
        began = perf_counter()
        by = assign(model, query)
        headers = _headers(by, "docs_1_2")
        app._saw(form)
        app._count("embeddings", (by,), 200, 0.003)
        found.append(perf_counter() - began)
        assert headers["x-attune-arm"] in {"A", "B"}
    return found


def main(count: int = 200_000) -> None:
    """Write benchmarks/results/assignment.json."""
    started: dict[str, Any] = machine()
    with TemporaryDirectory() as name:
        seconds = asyncio.run(measured(count, Path(name)))
    p50, p99, p999 = (round(float(np.quantile(seconds, share)) * 1e6, 1) for share in (0.5, 0.99, 0.999))
    result = {
        "what": "microseconds that assignment, headers, metrics and counting take of a request in a test",
        "machine": started,
        "requests": count,
        "microseconds": {"p50": p50, "p99": p99, "p999": p999, "longest": round(max(seconds) * 1e6, 1)},
    }
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    typer.run(main)
