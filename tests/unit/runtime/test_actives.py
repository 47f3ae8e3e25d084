"""What the operator exports of the Retrievers it has seen: active versions, promoted ones, blind watches."""

from __future__ import annotations

from typing import Any

from attune.telemetry.metrics import Metrics
from attune.workqueue import Key

AT = "2026-03-15T12:00:00Z"
SECONDS = 1773576000.0


def seen(**status: Any) -> dict[tuple[str, str], float]:
    """(series, version or type) → value."""
    metrics = Metrics()
    metrics.actives.seen("team", "news", {"status": status})
    return exported(metrics)


def exported(metrics: Metrics) -> dict[tuple[str, str], float]:
    found = {}
    for family in metrics.actives.collect():
        for sample in family.samples:
            labels = sample.labels
            assert (labels["attune_namespace"], labels["attune_retriever"]) == ("team", "news")
            found[sample.name, labels.get("attune_version", labels["attune_type"])] = sample.value
    return found


def change(action: str, version: str, kind: str = "embedding") -> dict[str, str]:
    return {"type": kind, "version": version, "action": action, "at": AT}


def test_a_promoted_version_is_active_and_promoted_since_then() -> None:
    pointer = {"active": "emb-v2", "promotedAt": AT}
    found = seen(
        embedding=pointer,
        changes=[change("Imported", "emb-v1"), change("Promoted", "emb-v2"), change("Imported", "rer-v1", "reranker")],
    )
    assert found == {
        ("attune_active_version", "emb-v2"): SECONDS,
        ("attune_promoted_version", "emb-v2"): SECONDS,
        ("attune_watch_blind", "embedding"): 0,
    }


def test_an_import_and_what_a_rollback_led_to_are_active_only() -> None:
    for action in ("Imported", "RolledBack"):
        found = seen(
            embedding={"active": "emb-v1", "promotedAt": AT},
            changes=[change("Promoted", "emb-v2"), change(action, "emb-v1")],
        )
        assert found["attune_active_version", "emb-v1"] == SECONDS
        assert ("attune_promoted_version", "emb-v1") not in found


def test_a_blind_watch_is_1_for_its_own_type() -> None:
    blind = {
        "type": "Watching",
        "status": "False",
        "reason": "Blind",
        "message": "the error rate of emb-v2 cannot be read",
    }
    pointers = {"embedding": {"active": "emb-v2", "promotedAt": AT}, "reranker": {"active": "rer-v1", "promotedAt": AT}}
    found = seen(**pointers, conditions=[blind])
    assert (found["attune_watch_blind", "embedding"], found["attune_watch_blind", "reranker"]) == (1, 0)


def test_a_retriever_that_is_gone_leaves_no_series() -> None:
    metrics = Metrics()
    metrics.actives.seen("team", "news", {"status": {"embedding": {"active": "emb-v2", "promotedAt": AT}}})
    assert exported(metrics)
    metrics.object_gone(Key("Retriever", "team", "news"))
    assert exported(metrics) == {}
