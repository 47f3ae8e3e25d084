"""One-line builders of Retrievers, ModelVersions and what decisions see of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from attune.api import ModelVersion, Retriever
from attune.contract import VersionReport
from attune.contract.serving import ReplicaReport
from attune.decide.promotion import Request
from attune.desired.stage_spec import place_of
from attune.observation import Defaults, SeenReplica, SeenRetriever

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
DEFAULTS = Defaults(trainer_image="attune-trainer:test", serving_image="attune-serving:test")


def a_retriever(status: dict[str, Any] | None = None, **spec: Any) -> Retriever:
    return Retriever.model_validate(
        {
            "metadata": {"name": "news", "namespace": "team", "uid": "0a1b2c3d-0000-4000-8000-000000000000"},
            "spec": {
                "embedding": {"baseModel": "pvc://models/minilm"},
                "storage": {"uri": "pvc://store/attune"},
                "data": {"archive": {"uri": "pvc://data/archive.jsonl"}},
                **spec,
            },
            "status": status or {},
        }
    )


def a_version(number: int, stage: str = "staged", request: str | None = None, **status: Any) -> ModelVersion:
    """`emb-v<number>`, with artifact and a complete collection unless `status` says otherwise."""
    name = f"emb-v{number}"
    index = {
        "collection": f"news_{number}",
        "documents": 1000,
        "embeddingSpace": f"space-{number}",
        "place": place_of(a_retriever()),
    }
    known = {
        "stage": stage,
        "artifact": {"uri": f"pvc://store/{name}", "digest": f"sha256:{number}"},
        "dimensions": 384,
        "embeddingSpace": f"space-{number}",
        "index": index,
        **status,
    }
    return ModelVersion.model_validate(
        {
            "metadata": {"name": name, "namespace": "team", "uid": f"{number:08x}-0000-4000-8000-000000000000"},
            "spec": {
                "retriever": "news",
                "type": "embedding",
                "version": number,
                "baseModel": "pvc://models/minilm",
                "artifact": {"uri": f"pvc://store/{name}"},
                "source": {"import": "pvc://models/minilm"},
                **({"promotion": {"requestID": request}} if request else {}),
            },
            "status": {k: v for k, v in known.items() if v is not None},
        }
    )


def a_replica(name: str = "pod-0", **states: str) -> SeenReplica:
    """A replica that reports `emb_v2="Ready"` and the like, with the digests and collections of `a_version`."""
    reports = tuple(
        VersionReport.model_validate(
            {
                "name": version.replace("_", "-"),
                "type": "embedding",
                "digest": f"sha256:{version.rpartition('v')[2]}",
                "state": state.partition(":")[0],
                "reason": state.partition(":")[2] or None,
                "message": f"because of {state}" if ":" in state else None,
                "collection": f"news_{version.rpartition('v')[2]}",
            }
        )
        for version, state in states.items()
    )
    return SeenReplica(name, "127.1.0.1:8000", ready=True, report=ReplicaReport(replica=name, versions=reports))


def seen(retriever: Retriever, *versions: ModelVersion, replicas: tuple[SeenReplica, ...] = ()) -> SeenRetriever:
    return SeenRetriever(retriever, DEFAULTS, versions, replicas=replicas)


def a_request(
    version: ModelVersion,
    active: ModelVersion | None = None,
    *replicas: SeenReplica,
    request_id: str = "r1",
    **spec: Any,
) -> Request:
    """A request for `version` while `active` serves."""
    status = {"embedding": {"active": active.metadata.name}} if active else {}
    versions = (version,) if active is None else (active, version)
    return Request(version, request_id, seen(a_retriever(status, **spec), *versions, replicas=replicas), active)
