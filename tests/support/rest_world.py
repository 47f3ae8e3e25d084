"""Sample objects in every state, the REST API over them, and both as one command: `python tests/support/rest_world.py [--port 8090]`.

One Retriever with embedding models and rerankers, versions in all stages, a run under way, tests that run and that have ended, a
version that was taken back. Times are relative to now.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn

from attune.cluster.connect import Connection
from attune.cluster.transport import Transport
from attune.rest.app import Api, build
from attune.rest.settings import ApiSettings, load_settings
from kube_server import KubeServer, Thing

API = "attune.dev/v1alpha1"
NAMESPACE = "team"
USERS = {"admin-token": "ada", "viewer-token": "vera", "nobody-token": "noah", "other-token": "otto"}
"""ada may do everything in `team`, vera only look, noah nothing, otto everything in `other`."""
METRICS = ("ndcgAt10", "mrrAt10", "recallAt10", "contextPrecision", "contextRecall")


def ago(hours: float) -> str:
    return (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, hours: float, message: str = "", *, status: str = "True", reason: str = "Completed") -> Thing:
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": ago(hours)}


def an_object(kind: str, name: str, hours: float, spec: Thing, status: Thing | None = None, **metadata: Any) -> Thing:
    meta = {"name": name, "namespace": NAMESPACE, "creationTimestamp": ago(hours), "generation": 1, **metadata}
    return {"apiVersion": API, "kind": kind, "metadata": meta, "spec": spec, "status": status or {}}


def a_version(
    number: int, stage: str, hours: float, kind: str = "embedding", *, run: str | None = None, **status: Any
) -> Thing:
    name = f"{kind[:3]}-v{number}"
    source = {"trainingJob": run} if run else {"import": "pvc://models/base"}
    spec: Thing = {
        "retriever": "news",
        "type": kind,
        "version": number,
        "baseModel": "pvc://models/base",
        "artifact": {"uri": f"pvc://store/attune/team/news/versions/{name}"},
        "source": source,
    }
    if run:
        spec["config"] = {"baseModel": "pvc://models/base", "epochs": 3, "batchSize": 32}
    known: Thing = {"stage": stage}
    if stage not in {"training", "evaluating"}:
        known |= measured(0.60 + 0.02 * (number % 15), hours) | {
            "artifact": {"uri": spec["artifact"]["uri"], "digest": "sha256:" + f"{number:02x}" * 32, "dimensions": 384},
            "embeddingSpace": f"sha256:{number:064x}",
        }
        if kind == "embedding" and stage != "failed":
            known["index"] = {
                "collection": f"news_{number:02}",
                "documents": 1194,
                "embeddingSpace": f"sha256:{number:064x}",
                "builtAt": ago(hours - 1.5),
            }
    return an_object("ModelVersion", name, hours, spec, known | status, labels={"attune.dev/retriever": "news"})


def measured(ndcg: float, hours: float) -> Thing:
    values = {name: round(ndcg - 0.01 * place, 3) for place, name in enumerate(METRICS)}
    evaluation = {
        **values,
        "queries": 239,
        "documents": 1194,
        "score": round(ndcg, 3),
        "improvementPercent": 3.2,
        "verdict": "better",
        "intervals": {"ndcgAt10": {"low": 0.008, "high": 0.068}},
        "baseline": {"ndcgAt10": round(ndcg - 0.02, 3)},
    }
    told = [
        condition("Trained", hours - 0.5, "3 epochs on 878 pairs"),
        condition("Evaluated", hours - 1, "239 queries"),
    ]
    return {"evaluationMetrics": evaluation, "conditions": told}


def a_run(name: str, phase: str, hours: float, version: str | None = None, **status: Any) -> Thing:
    spec = {"retriever": "news", "type": "embedding", "hyperparameters": {"epochs": 3}, "evalThreshold": 0.6}
    known: Thing = {"phase": phase, "startTime": ago(hours - 0.02)}
    if version:
        known["modelVersion"] = version
    if phase not in {"Pending", "Preparing"}:
        known["dataset"] = {
            "uri": f"pvc://store/{name}",
            "digest": "sha256:" + "d" * 64,
            "examples": 878,
            "heldOutQueries": 239,
            "bySource": {"archive": 700, "feedback": 178},
        }
        known["conditions"] = [condition("DataPrepared", hours - 0.1, "878 training pairs (archive 700, feedback 178)")]
    return an_object("TrainingJob", name, hours, spec, known | status)


def a_test(name: str, phase: str, hours: float, a: str, b: str, **status: Any) -> Thing:
    metrics = [
        {"name": "clicks", "role": "primary", "direction": "increase"},
        {"name": "latency", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.1},
    ]
    spec = {"retriever": "news", "modelA": a, "modelB": b, "trafficSplit": 0.2, "minSamples": 100, "metrics": metrics}
    known: Thing = {"phase": phase, "modelA": a}
    if phase != "Pending":
        known |= {
            "startedAt": ago(hours - 0.5),
            "lookedAt": ago(0.02),
            "samplesA": 1204,
            "samplesB": 301,
            "metricsA": {"clicks": {"mean": 0.31, "samples": 1204, "standardError": 0.013}},
            "metricsB": {"clicks": {"mean": 0.36, "samples": 301, "standardError": 0.028}},
            "pValues": {"clicks": 0.21},
            "intervals": {"clicks": {"low": -0.03, "high": 0.13}},
            "confidence": 0.79,
            "sampleRatioPValue": 0.44,
            "recommendation": "wait: clicks 0.310 (A) and 0.360 (B), p 0.21, on 1,204 and 301 distinct queries",
            "looks": [
                {
                    "at": ago(hours - n),
                    "samplesA": 300 * n,
                    "samplesB": 75 * n,
                    "difference": 0.05 - 0.005 * n,
                    "low": 0.05 - 0.2 / n,
                    "high": 0.05 + 0.2 / n,
                }
                for n in range(1, 5)
            ],
        }
    return an_object("ABTest", name, hours, spec, known | status)


def changes(cause: str) -> list[Thing]:
    """Which version took over from which, the last one because of `cause`."""
    moves = (
        ("emb-v2", "emb-v1", 400, {"action": "Promoted", "requestID": "r2"}),
        ("emb-v3", "emb-v2", 100, {"action": "Promoted", "requestID": "r3"}),
        ("emb-v5", "emb-v3", 21, {"action": "Promoted", "requestID": "r5"}),
        ("emb-v3", "emb-v5", 20, {"action": "RolledBack", "cause": cause}),
    )
    return [
        {"type": "embedding", "version": version, "previous": previous, "at": ago(hours), **how}
        for version, previous, hours, how in moves
    ]


def a_retriever() -> Thing:
    spec = {
        "embedding": {"baseModel": "pvc://models/base"},
        "reranker": {"baseModel": "pvc://models/reranker"},
        "storage": {"uri": "pvc://store/attune"},
        "data": {"archive": {"uri": "pvc://data/archive.jsonl"}},
        "serving": {"deploy": True, "replicas": 2},
    }
    cause = "ErrorRate: 4.2% of 310 requests failed, 3 times 0.4% (baseline) is 1.2%"
    status = {
        "embedding": {
            "active": "emb-v3",
            "previous": "emb-v2",
            "promotedAt": ago(20),
            "split": {"test": "news-v6", "challenger": "emb-v6", "fraction": 0.2, "uid": "6" * 36},
        },
        "reranker": {"active": "rer-v1", "promotedAt": ago(700)},
        "servingGeneration": 7,
        "changes": changes(cause),
        "quarantined": [{"version": "emb-v5", "cause": cause, "at": ago(20)}],
        "conditions": [
            condition("Ready", 700, "embedding emb-v3, reranker rer-v1", reason="Active"),
            condition("Serving", 20, "2 replicas serve generation 7", reason="UpToDate"),
            condition("RolledBack", 20, f"emb-v5 → emb-v3, collection news_03: {cause}", reason="ErrorRate"),
        ],
    }
    return an_object("Retriever", "news", 720, spec, status)


def versions() -> list[Thing]:
    """One in each stage; emb-v5 was taken back."""
    taken_back = {"handledRequestID": "r5", "result": "Promoted", "message": "request r5"}
    gone = {"state": "Retired", "cause": "older than the 3 kept", "at": ago(90)}
    return [
        a_version(1, "deprecated", 700, retirement=gone),
        a_version(2, "deprecated", 410, run="tune-2", promotedAt=ago(400), deprecatedAt=ago(100)),
        a_version(3, "active", 150, run="tune-3", promotedAt=ago(20)),
        a_version(4, "failed", 60, run="tune-4", notes="nDCG@10 0.58 < 0.60 (evalThreshold), on 239 queries"),
        a_version(5, "failed", 30, run="tune-5", promotedAt=ago(21), deprecatedAt=ago(20), promotion=taken_back),
        a_version(6, "staged", 28, run="tune-6"),
        a_version(7, "training", 0.3, run="tune-7"),
        a_version(1, "active", 700, "reranker", promotedAt=ago(700)),
    ]


def runs() -> list[Thing]:
    progress = {"stage": "train", "percent": 43.0, "epoch": 1.3, "step": 120, "loss": 0.51}
    progress["estimatedRemainingSeconds"] = 340
    done = {"completionTime": ago(27), "message": "Succeeded: emb-v6: nDCG@10 0.702 (active) → 0.740"}
    return [
        a_run("tune-4", "Failed", 61, "emb-v4", reason="BelowThreshold", message="0.58 < 0.60", completionTime=ago(59)),
        a_run("tune-6", "Succeeded", 29, "emb-v6", **done),
        a_run("tune-7", "Training", 0.5, "emb-v7", message="train: Job tune-7-train-1 running", progress=progress),
        a_run("tune-8", "Pending", 0.1, reason="WaitingForRun", message="tune-7 runs"),
    ]


def ab_tests() -> list[Thing]:
    winner = {
        "winner": "B",
        "concludedAt": ago(110),
        "pValues": {"clicks": 0.004},
        "intervals": {"clicks": {"low": 0.02, "high": 0.1}},
        "confidence": 0.996,
        "recommendation": "promote emb-v3: clicks 0.310 (A) and 0.360 (B), p 0.004",
    }
    ended = {"concludedAt": ago(404), "reason": "ByHand", "message": "cancelled"}
    return [
        a_test("news-v3", "Concluded", 130, "emb-v2", "emb-v3", **winner),
        a_test("news-v6", "Running", 5, "emb-v3", "emb-v6"),
        a_test("news-v2", "Cancelled", 405, "emb-v1", "emb-v2", **ended),
    ]


def a_schedule(name: str, hours: float, **status: Any) -> Thing:
    spec = {
        "retriever": "news",
        "dataPreparation": {"schedule": "0 2 * * 0"},
        "training": {"schedule": "0 2 1 * *", "minNewPairs": 500},
        "template": {"type": "embedding"},
    }
    return an_object("TrainingSchedule", name, hours, spec, status)


def sample_objects() -> list[Thing]:
    """A retriever with all that belongs to it."""
    schedule = a_schedule("monthly", 700, nextTraining=ago(-200), newPairs=312)
    return [a_retriever(), *versions(), *runs(), *ab_tests(), schedule]


def a_server() -> KubeServer:
    """With the users of USERS and nothing stored."""
    server = KubeServer(tokens=dict(USERS))
    server.let("ada", "*")
    server.let("vera", "get", "list", "watch")
    server.let("otto", "*", namespace="other")
    return server


def settings(**given: str) -> ApiSettings:
    quick = {"ATTUNE_API_NAMESPACE": NAMESPACE, "ATTUNE_API_HEARTBEAT_SECONDS": "0.3", "ATTUNE_API_DRAIN_SECONDS": "0"}
    return load_settings({**quick, **given})


@asynccontextmanager
async def api_over(server: KubeServer, **given: str) -> AsyncIterator[Api]:
    """The application over a server that is up, with its watches running and everything read."""
    chosen = settings(**given)
    transport = Transport(Connection(server.url, NAMESPACE), timeout=chosen.request_seconds)
    api = build(transport, chosen)
    async with api.app.router.lifespan_context(api.app):
        while api.unread:  # noqa: ASYNC110  what fills it is the code under test
            await asyncio.sleep(0.005)
        yield api
    await transport.close()


class _Server(uvicorn.Server):
    """Signals are those of the process that tests: they are not taken from it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def listening(api: Api, port: int = 0) -> AsyncIterator[str]:
    """The application behind a real socket; its address."""
    config = uvicorn.Config(api.app, lifespan="off", log_config=None, timeout_graceful_shutdown=2)
    server = _Server(config)
    bound = socket.create_server(("127.0.0.1", port))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        api.streams.ending.set()
        server.should_exit = True
        await serving


async def run(port: int) -> None:
    server = a_server()
    for thing in sample_objects():
        server.put(thing)
    async with (
        server.serving(),
        api_over(server, ATTUNE_API_HEARTBEAT_SECONDS="15") as api,
        listening(api, port) as url,
    ):
        print(f"{url}  tokens: {', '.join(f'{t} ({u})' for t, u in USERS.items())}", flush=True)  # noqa: T201
        await _goes_on(server)


async def _goes_on(server: KubeServer) -> None:
    """tune-7 gets on by a percent every second, round and round."""
    for second in range(100_000):
        await asyncio.sleep(1)
        old = server.get("TrainingJob", "tune-7")["status"]["progress"]
        percent = float(43 + second % 57)
        server.status(
            "TrainingJob",
            "tune-7",
            progress={**old, "percent": percent, "estimatedRemainingSeconds": 6 * (100 - percent)},
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The REST API over sample objects, without a cluster.")
    parser.add_argument("--port", type=int, default=8090)
    asyncio.run(run(parser.parse_args().port))
