"""Objects for the dashboard, as a team's would look after some months: every state a page has to show. Each is checked against its kind.

Times are relative to now, names and sentences are those that the operator writes.
"""

from __future__ import annotations

from typing import Any

from dashboard_ab_tests import tests
from dashboard_runs import runs
from dashboard_versions import (
    CAUSE,
    EMB,
    RER,
    a_version,
    checked,
    taken_back,
)
from kube_server import Thing
from rest_world import a_schedule, ago, an_object, condition


def a_retriever() -> Thing:
    spec = {
        "embedding": {"baseModel": "BAAI/bge-small-en-v1.5"},
        "reranker": {"baseModel": "BAAI/bge-reranker-base"},
        "storage": {"uri": "s3://models/attune"},
        "data": {"archive": {"uri": "s3://data/articles.jsonl"}},
        "serving": {"deploy": True, "replicas": 3},
    }

    def change(hours: float, version: str, previous: str, action: str, kind: str = "embedding", **more: Any) -> Thing:
        return {"type": kind, "version": version, "previous": previous, "action": action, "at": ago(hours), **more}

    status = {
        "embedding": {
            "active": EMB[11],
            "previous": EMB[9],
            "promotedAt": ago(332),
            "split": {"test": "news-v12", "challenger": EMB[12], "fraction": 0.2, "uid": "6" * 36},
        },
        "reranker": {"active": RER[3], "previous": RER[2], "promotedAt": ago(640)},
        "servingGeneration": 19,
        "changes": [
            change(2090, EMB[9], EMB[8], "Promoted", requestID="git-9"),
            change(740, EMB[10], EMB[9], "Promoted", requestID="cli-5b1f"),
            change(739.8, EMB[9], EMB[10], "RolledBack", cause=CAUSE),
            change(640, RER[3], RER[2], "Promoted", "reranker", requestID="git-r3"),
            change(332, EMB[11], EMB[9], "Promoted", requestID="abtest:news-v11", cause="abtest news-v11: B wins"),
        ],
        "quarantined": [{"version": EMB[10], "cause": CAUSE, "at": ago(739.8)}],
        "conditions": [
            condition("Ready", 332, f"embedding {EMB[11]}, reranker {RER[3]}", reason="Active"),
            condition("Serving", 332, "3 replicas serve generation 19", reason="UpToDate"),
            condition("IndexReady", 330, "18,420 documents in news_5e11ff_cf22c529", reason="UpToDate"),
            condition("Watching", 331, "no errors above the baseline", status="False", reason="Over"),
            condition("RolledBack", 332, "", status="False", reason="Promoted"),
        ],
    }
    return checked(an_object("Retriever", "news", 5000, spec, status))


def a_new_retriever() -> Thing:
    """Its first model is on its way, and its archive cannot be read."""
    spec = {
        "embedding": {"baseModel": "sentence-transformers/all-MiniLM-L6-v2"},
        "storage": {"uri": "s3://models/attune"},
        "data": {"archive": {"uri": "s3://data/tickets.jsonl"}},
    }
    why = "s3://data/tickets.jsonl cannot be read: 403 Access Denied; does the Secret of storage.secretRef hold a key for it?"
    conditions = [
        condition("Ready", 0.4, f"version 1 is not imported: {why}", status="False", reason="ImportFailed"),
        condition("Serving", 0.4, "nothing to serve yet", status="False", reason="NoActiveVersion"),
    ]
    return checked(an_object("Retriever", "support", 0.5, spec, {"conditions": conditions}))


def the_schedule() -> Thing:
    status = {"nextTraining": ago(-190), "nextPreparation": ago(-46), "newPairs": 312, "lastTraining": ago(31.2)}
    return checked(a_schedule("monthly", 4800, **status, lastTrainingJob="news-monthly-29"))


def dashboard_objects() -> list[Thing]:
    """All of them."""
    gone = {"state": "Retired", "cause": "older than the 3 that are kept", "at": ago(330)}
    failed = {"notes": f"RolledBack: {CAUSE}", "promotedAt": ago(740), "deprecatedAt": ago(739.8)}
    return [
        a_retriever(),
        a_new_retriever(),
        a_version(8, "deprecated", None, promotedAt=ago(2850), deprecatedAt=ago(2090), retirement=gone),
        a_version(9, "deprecated", "tune-9", promotedAt=ago(739.8), deprecatedAt=ago(332)),
        taken_back(a_version(10, "failed", "tune-10", **failed)),
        a_version(11, "active", "tune-11", promotedAt=ago(332)),
        a_version(12, "staged", "news-monthly-29"),
        a_version(13, "training", "news-lr"),
        a_version(2, "deprecated", None, "reranker", promotedAt=ago(1490), deprecatedAt=ago(640)),
        a_version(3, "active", "rerank-3", "reranker", promotedAt=ago(640)),
        *runs(),
        *tests(),
        the_schedule(),
    ]
