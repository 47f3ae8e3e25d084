"""Two serving processes that ask each other: what both of them counted is what was asked, each query once."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from artifacts import Made
from attune.contract import ServedModel, ServedSplit, ServingConfig
from attune.contract.counting import MINUS, PLUS, SQUARES, SUM, UNITS, VALUES
from attune_serving.assign import assign
from serving_process import ServingProcess, served, serving_config
from tiny_bert import sentences

SPLIT = ServedSplit(test="trial", challenger="emb-v2", fraction=0.5, salt="salt", run="uid-1")
QUERIES = [text for text, _ in sentences()[:40]]


def config(artifacts: tuple[Made, Made]) -> ServingConfig:
    return serving_config(*map(served, artifacts), embedding=ServedModel(active="emb-v1", split=SPLIT))


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def counted(series: str, *processes: ServingProcess, **labels: str) -> float:
    """The sum of all series of this name with these labels, over processes."""
    wanted = {f'{k}="{v}"' for k, v in labels.items()}
    total = 0.0
    for process in processes:
        for line in process.get("/metrics").text.splitlines():
            head, _, value = line.rpartition(" ")
            name, _, given = head.partition("{")
            if name == series and wanted <= set(given.rstrip("}").split(",")):
                total += float(value)
    return total


def arms() -> dict[str, int]:
    model = ServedModel(active="emb-v1", split=SPLIT)
    found = {"A": 0, "B": 0}
    for query in QUERIES:
        found[str(assign(model, query).arm)] += 1
    return found


def ask_both(replicas: list[ServingProcess], queries: list[str]) -> None:
    for n, query in enumerate(queries):
        for replica in replicas if n % 2 else reversed(replicas):
            assert replica.post("/v1/embeddings", {"input": query, "input_type": "query"}).status_code == 200


def test_each_query_counts_once_over_replicas_kills_and_restarts(
    artifacts: tuple[Made, Made], process: Callable[..., ServingProcess], tmp_path: Path
) -> None:
    ports = free_ports(2)
    peers = ",".join(f"pod-{n}=127.0.0.1:{port}" for n, port in enumerate(ports))
    replicas = [
        process(f"pod-{n}", ATTUNE_REPLICA=f"pod-{n}", ATTUNE_HTTP_PORT=str(port), ATTUNE_PEERS=peers)
        for n, port in enumerate(ports)
    ]
    plain = serving_config(*map(served, artifacts))
    for replica in replicas:
        replica.tell(plain)
        replica.start()
    for replica in replicas:
        replica.until(replica.ready)
        replica.tell(config(artifacts))
    for replica in replicas:
        replica.until(lambda replica=replica: knows_the_test(replica))
    ask_both(replicas, QUERIES[:30])
    for n, query in enumerate(QUERIES[:20]):
        replicas[n % 2].post("/v1/feedback", {"query": query, "metric": "rating", "value": -1 if n % 4 == 0 else 2})
        replicas[0].post("/v1/feedback", {"query": query.upper(), "metric": "rating", "value": 1})
    replicas[0].until(lambda: counted(UNITS, *replicas) == 30)
    replicas[0].until(lambda: counted(VALUES, *replicas, metric="rating") == 20)
    before = counted(UNITS, replicas[0])
    replicas[0].kill()
    replicas[0].start()
    replicas[0].until(replicas[0].ready)
    ask_both(replicas, QUERIES)
    replicas[0].until(lambda: before + counted(UNITS, *replicas) == 40)
    assert before > 0
    assert counted(UNITS, *replicas, ledger="first") == counted(UNITS, *replicas)
    assert counted(UNITS, replicas[1], arm="A") + counted(UNITS, replicas[1], arm="B") == counted(UNITS, replicas[1])
    assert counted(VALUES, *replicas, metric="error") + before == 40
    assert (
        counted(SUM, replicas[1], metric="rating", sign=MINUS) + counted(SUM, replicas[1], metric="rating", sign=PLUS)
        > 0
    )
    assert counted(SQUARES, replicas[1], metric="latency") > 0
    assert sum(arms().values()) == 40


def knows_the_test(replica: ServingProcess) -> Any:
    return replica.get("/v1/peer/units?run=uid-1").json()["ledger"] is not None
