"""A Retriever whose versions can be broken while they serve, with the Prometheus and the Alertmanager that watch over them: all real."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from alertmanager_server import AlertmanagerServer
from debian_packages import free_port
from devcluster import Cluster
from load import Load
from odd_models import collapsed_base, random_base
from prometheus_server import PrometheusServer
from serving_world import World, serving_process_at
from tiny_bert import sentences, write_jsonl

TOKEN = "a-token-of-the-tests"
QUERIES = [query for query, _ in sentences()]


def searched(number: int) -> tuple[str, dict[str, Any]]:
    """Searches only: each needs the collection of the version that answers."""
    return "/v1/search", {"query": QUERIES[number % len(QUERIES)], "top_k": 3, "hybrid": False}


class WatchedWorld(World):
    """Version 1 active, `two` staged, and two that are wrong: the vectors of `three` are collapsed, those of `four` random.

    `breaks` takes a collection away, `mends` brings it back.
    """

    def __init__(self, cluster: Cluster, namespace: str, folder: Path, *, scrape: str = "1s", **settings: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        token, port = folder / "token", free_port()
        token.write_text(TOKEN)
        self.webhook = f"http://127.0.0.1:{port}/webhooks/alertmanager"
        listens = {"ATTUNE_HTTP_PORT": str(port), "ATTUNE_WEBHOOK_TOKEN_FILE": str(token)}
        super().__init__(cluster, namespace, folder, **(listens | settings))
        self.alertmanager = AlertmanagerServer(folder / "alertmanager", self.webhook, TOKEN)
        self.prometheus = PrometheusServer(folder / "prometheus", interval=scrape)
        self._away: dict[str, tuple[Path, Path]] = {}
        self._folders: dict[str, Path] = {}
        self._numbers = itertools.count(1)
        self._alert: dict[str, str] = {}

    def begin(self, *, odd: bool = True, **rollback: Any) -> WatchedWorld:
        """Everything runs."""
        self.alertmanager.start()
        self.prometheus.start()
        self.operator.start()
        labels = [{"query": query, "id": f"d{n:03}", "grade": 1} for n, query in enumerate(QUERIES)]
        write_jsonl(self.volume / "labels.jsonl", labels)
        if odd:
            self.base("collapsed", collapsed_base(self.folder / "collapsed"))
            self.base("random", random_base(self.folder / "random"))
        self.rules(**rollback)
        self.one = self.first()
        self.version("two", 2)
        if odd:
            self.version("three", 3, "collapsed")
            self.version("four", 4, "random")
        for name in ("two", "three", "four") if odd else ("two",):
            found = self.until("mv", name, lambda v: v.get("status", {}).get("index"))
            collection = found["status"]["index"]["collection"]
            self._folders[name] = next(p for p in self.volume.rglob(f"{collection}*") if p.is_dir())
        self.pods = self.ready(2)
        self.prometheus.targets(self.pods)
        return self

    def rules(self, *, guard: bool = True, metrics: bool = True, **rollback: Any) -> None:
        """What the Retriever says of rollback."""
        chosen: dict[str, Any] = {"inlineGuard": guard, "window": "10m", **rollback}
        chosen |= {"prometheus": {"url": self.prometheus.url}} if metrics else {}
        archive = {"uri": "pvc://docs/archive.jsonl"}
        data = {"archive": archive, "evaluation": {"uri": "pvc://docs/labels.jsonl"}}
        self.retriever(rollback=chosen, data=data, history={"keepVersions": 5})

    def calm(self, **rules: Any) -> WatchedWorld:
        """Everything is whole, runs, and answers by version 1, which somebody went back to if need be."""
        self.proxy.plan = lambda *_: None
        for daemon in (self.operator, self.prometheus):
            if not daemon.running:
                daemon.start()
        for name in list(self._away):
            self.mends(name)
        self.prometheus.until("count(up == 1)", 2)
        self.rules(**rules)
        if self.status()["embedding"]["active"] != self.one:
            self.ask(self.one, self.request())
        self.all_answer_by(self.one)
        for name in self._folders:
            self.until("mv", name, lambda v: v["status"]["stage"] in {"staged", "failed"})
        self._alert = {"case": self.request()}
        return self

    def request(self) -> str:
        """A new one."""
        return f"r{next(self._numbers)}"

    def load(self, rate: float = 50) -> Load:
        """Users."""
        return Load(where=lambda: self.pods, make=searched, rate=rate, keep_bodies=False).start()

    def promote(self, version: str) -> None:
        """Until both replicas answer by it."""
        self.ask(version, self.request())
        self.all_answer_by(version)

    def breaks(self, version: str) -> None:
        """Without a word to the API server, which may be away."""
        found = self._folders[version]
        away = found.with_name(f"away-{version}")
        shutil.move(found, away)
        self._away[version] = found, away

    def mends(self, version: str) -> None:
        found, away = self._away.pop(version)
        shutil.rmtree(found, ignore_errors=True)
        shutil.move(away, found)

    @contextmanager
    def one_pod_frozen(self) -> Iterator[str]:
        """The first Pod's process stands still: the address of the one that goes on."""
        host, going_on = self.pods[0].partition(":")[0], self.pods[1]
        process = serving_process_at(host)
        process.suspend()
        try:
            yield going_on
        finally:
            process.resume()

    def answering(self) -> set[str]:
        """The embedding versions that the replicas answer by, as they say."""
        return {self.answers_by(address) for address in self.pods}

    def answers_by(self, address: str) -> str:
        """The embedding version of one replica."""
        report = httpx.get(f"http://{address}/v1/versions", trust_env=False, timeout=5).json()
        return str(report["active"]["embedding"])

    def all_answer_by(self, version: str, seconds: float = 120) -> float:
        """Waits for it; the time at which the last one did."""
        end = time.monotonic() + seconds
        while self.answering() != {version}:
            assert time.monotonic() < end, (self.answering(), self.status(), self.operator.log[-3000:])
            time.sleep(0.02)
        return time.monotonic()

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.get("rtr", "news")["status"]
        return found

    def condition(self, kind: str) -> dict[str, Any]:
        """Empty where it was never said."""
        return next((c for c in self.status()["conditions"] if c["type"] == kind), {})

    def until_said(self, kind: str, reason: str) -> dict[str, Any]:
        """The condition, once it is for this reason."""
        self.until(
            "rtr", "news", lambda r: any((c["type"], c["reason"]) == (kind, reason) for c in r["status"]["conditions"])
        )
        return self.condition(kind)

    def moves(self) -> list[tuple[str, str]]:
        return [(c["action"], c["version"]) for c in self.status()["changes"]]

    def rollbacks(self) -> int:
        """Events of the Retriever, of now and before."""
        events = self.cluster.get("events", "-n", self.namespace)["items"]
        return len([e for e in events if e["reason"] == "RolledBack" and e["involvedObject"]["kind"] == "Retriever"])

    def alert(self, version: str, *, firing: bool = True, **more: Any) -> None:
        """An alert about it, as Prometheus would send it to Alertmanager; another one in each test."""
        labels = {
            "alertname": "AttuneVersionErrors",
            "attune_namespace": self.namespace,
            "attune_retriever": "news",
            "attune_version": version,
            **self._alert,
        }
        self.alertmanager.post_alert(labels, {"summary": "31% of requests fail"}, firing=firing, **more)

    def close(self) -> None:
        self.prometheus.kill()
        self.alertmanager.kill()
        super().close()
