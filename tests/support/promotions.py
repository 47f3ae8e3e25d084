"""A Retriever with two or more embedding versions against the fake cluster, and what must hold at every stored revision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attune.api import names
from attune.contract import ModelType, ServedModel, ServingConfig, StageSpec
from fake_cluster import FakeCluster, Outcome
from worlds import World, make_world, retriever, scripted, training_job

V1, V2, V3, V4, V5 = (f"emb-v{n}-20260315" for n in range(1, 6))


async def world_with(versions: int, trainer: Callable[[StageSpec, int], Outcome] = scripted, **spec: Any) -> World:
    """Version 1 active, the others staged with a collection each."""
    world = make_world(trainer)
    world.cluster.put(retriever(**spec))
    await world.settle()
    for number in range(2, versions + 1):
        world.cluster.put(training_job(f"tune-{number}"))
        await world.settle()
    return world


def ask(world: World, version: str, request_id: str) -> None:
    """A user sets promotion.requestID."""
    found = world.cluster.find("ModelVersion", version)
    world.cluster.put({**found, "spec": {**found["spec"], "promotion": {"requestID": request_id}}})


def status_of(world: World, version: str) -> dict[str, Any]:
    found: dict[str, Any] = world.cluster.find("ModelVersion", version)["status"]
    return found


def pointer(world: World, kind: str = "embedding") -> dict[str, Any]:
    found: dict[str, Any] = world.cluster.find("Retriever")["status"][kind]
    return found


def condition(thing: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(c for c in thing["status"]["conditions"] if c["type"] == kind)
    return found


def served(world: World) -> ServingConfig:
    """What replicas are told now."""
    return ServingConfig.from_json(world.cluster.find("ConfigMap", "news-serving")["data"]["serving.json"])


def assert_invariants(cluster: FakeCluster) -> None:
    """Invariants 1, 4, 5 and the one of sizes, at every revision that was ever stored."""
    known: dict[str, dict[str, Any]] = {}
    stages: dict[str, str] = {}
    for revision in cluster.history:
        kind, name = revision["kind"], revision["metadata"]["name"]
        assert len(str(revision)) < 20_000, f"{kind} {name} grows"
        if kind == "ModelVersion":
            known[name] = revision
            stages[name] = revision.get("status", {}).get("stage", "")
            for model_type in ("embedding", "reranker"):
                active = [n for n, s in stages.items() if s == "active" and known[n]["spec"]["type"] == model_type]
                assert len(active) <= 1, active
        if kind == "ConfigMap" and "serving.json" in revision.get("data", {}):
            _assert_servable(ServingConfig.from_json(revision["data"]["serving.json"]), known, cluster)


def _assert_servable(config: ServingConfig, known: dict[str, dict[str, Any]], cluster: FakeCluster) -> None:
    uid = cluster.find("Retriever")["metadata"]["uid"]
    for version in config.versions:
        status = known[version.name]["status"]
        assert version.digest == status["artifact"]["digest"]
        if version.type is ModelType.EMBEDDING and version.collection is not None:
            assert status["index"]["collection"] == version.collection
            assert version.collection == names.collection_name("news", uid, str(version.embedding_space))
    for model in (config.embedding, config.reranker):
        _assert_listed(config, model)


def _assert_listed(config: ServingConfig, model: ServedModel | None) -> None:
    if model is not None:
        for name in (model.active, model.previous, model.split.challenger if model.split else None):
            assert name is None or config.version(name) is not None
