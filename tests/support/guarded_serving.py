"""A new version that another server answers for, the previous one in memory, a collection each: what the inline guard is tested on."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from artifacts import Made, collection_of
from attune.contract import IndexSpec, ServedModel, ServedUpstream, ServingConfig, health
from inference_server import Inference
from serving_process import ServingProcess, served, serving_config
from tiny_bert import sentences

QUERIES = [query for query, _ in sentences()]


@dataclass
class Guarded:
    """`start` makes it answer by `new`; break `inference`, or take away a folder of `index`."""

    server: ServingProcess
    inference: Inference
    index: Path
    old: Made
    new: Made

    def config(self, generation: int = 1, **more: Any) -> ServingConfig:
        """`new` is active by way of the inference server, `old` is the previous one."""
        versions = (
            served(self.new, collection=collection_of(self.new), documents=120, path="upstream"),
            served(self.old, collection=collection_of(self.old), documents=120),
        )
        known: dict[str, Any] = {
            "embedding": ServedModel(active=self.new.name, previous=self.old.name),
            "index": IndexSpec(store="lancedb", uri=f"file://{self.index}"),
            "upstream": ServedUpstream(url=self.inference.url, api="tei"),
        }
        return serving_config(*versions, generation=generation, **(known | more))

    def start(self, **more: Any) -> Guarded:
        self.server.tell(self.config(**more))
        self.server.start()
        self.server.until(self.server.ready)
        return self

    def follow(self, generation: int, **more: Any) -> None:
        self.server.tell(self.config(generation, **more))
        self.server.until(lambda: self.server.report().generation == generation)

    def embed(self, text: str = "red house", **more: Any) -> httpx.Response:
        return self.server.post("/v1/embeddings", {"input": text, "input_type": "query", **more})

    def search(self, query: str = "red house", **more: Any) -> httpx.Response:
        return self.server.post("/v1/search", {"query": query, "top_k": 5, **more})

    def metric(self, name: str, made: Made, **labels: str) -> float | None:
        """A series of `attune.contract.health`."""
        by = {health.NAMESPACE: "news", health.RETRIEVER: "news", health.VERSION: made.name, health.TYPE: "embedding"}
        return self.server.metric(name, **by, **labels)

    def failures(self, made: Made) -> dict[str, int]:
        """Reason → how often, without those that never were."""
        found = {}
        for line in self.server.get("/metrics").text.splitlines():
            if (
                line.startswith(health.FAILURES)
                and f'{health.VERSION}="{made.name}"' in line
                and not line.endswith(" 0.0")
            ):
                found[line.split('reason="')[1].split('"')[0]] = int(float(line.rpartition(" ")[2]))
        return found

    def attempts(self, made: Made) -> int:
        return int(self.metric(health.ATTEMPTS, made) or 0)

    def fallbacks(self, made: Made) -> int:
        return int(self.metric(health.FALLBACKS, made) or 0)

    def is_open(self) -> bool:
        """As the report and the series have it, which must be the same."""
        (guard,) = self.server.report().guards
        assert self.metric(health.GUARD_OPEN, self.new) == float(guard.open)
        return guard.open

    def take_away(self, *mades: Made) -> None:
        """The files of their collections, under the running server."""
        for made in mades:
            self._table(made).rename(self.index / f"away-{made.name}")

    def bring_back(self, *mades: Made) -> None:
        for made in mades:
            shutil.rmtree(self._table(made), ignore_errors=True)
            (self.index / f"away-{made.name}").rename(self._table(made))

    def _table(self, made: Made) -> Path:
        return self.index / f"{collection_of(made)}.lance"


def is_rescued(answer: httpx.Response, guarded: Guarded) -> None:
    """Answered well, by the previous version, which says so."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-attune-version"] == guarded.old.name
    assert answer.headers["x-attune-fallback"] == guarded.new.name
    assert answer.headers["x-attune-index"] == collection_of(guarded.old)


def is_own(answer: httpx.Response, guarded: Guarded) -> None:
    """Answered by the active version."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-attune-version"] == guarded.new.name
    assert "x-attune-fallback" not in answer.headers
