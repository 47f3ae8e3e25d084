"""Versions for the dashboard, with their measurements, and how objects are named and checked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from attune.api import ABTest, ModelVersion, Retriever, TrainingJob, TrainingSchedule
from kube_server import Thing
from rest_world import ago, an_object, condition

KINDS = {kind.__name__: kind for kind in (Retriever, ModelVersion, TrainingJob, ABTest, TrainingSchedule)}
STORE = "s3://models/attune/team/news"
SPACE = "sha256:" + "5e" * 32
CAUSE = "ErrorRate: 4.2% of 310 requests failed in 60 s, 3 times 0.4% (baseline) is 1.2%"


def checked(thing: Thing) -> Thing:
    """As the CRD would have it."""
    KINDS[thing["kind"]].model_validate(thing)
    return thing


def dated(number: int, hours: float, kind: str = "emb") -> str:
    """`emb-v12-20261102`: as the operator names them."""
    return f"{kind}-v{number}-{(datetime.now(UTC) - timedelta(hours=hours)).strftime('%Y%m%d')}"


AGES = {8: 2900, 9: 2100, 10: 760, 11: 420, 12: 31, 13: 0.6}
"""Hours since each embedding version was made."""
EMB = {number: dated(number, hours) for number, hours in AGES.items()}
RER = {2: dated(2, 1500, "rer"), 3: dated(3, 700, "rer")}
QUALITY = {8: (0.654, None), 9: (0.681, 0.654), 10: (0.702, 0.681), 11: (0.713, 0.681), 12: (0.751, 0.713)}
HALF = {8: None, 9: (0.004, 0.051), 10: (-0.006, 0.047), 11: (0.009, 0.055), 12: (0.014, 0.062)}


def evaluation(ndcg: float, active: float | None, ends: tuple[float, float] | None, **more: Any) -> Thing:
    """What an evaluation says: of the version, of what was active, of the base model and BM25."""

    def row(value: float) -> Thing:
        offsets = {
            "ndcgAt10": 0.0,
            "mrrAt10": -0.021,
            "recallAt10": 0.094,
            "contextPrecision": -0.013,
            "contextRecall": 0.087,
        }
        return {name: round(value + offset, 3) for name, offset in offsets.items()}

    found: Thing = row(ndcg) | {"queries": 678, "documents": 18_420, "score": round(ndcg + 0.04, 3)}
    found |= {"scoreMetric": "contextPrecision, contextRecall", "base": row(0.654), "bm25": row(0.598)}
    if active is not None and ends is not None:
        middle = ndcg - active
        widths = {"ndcgAt10": 1.0, "mrrAt10": 1.15, "recallAt10": 0.8, "contextPrecision": 1.2, "contextRecall": 0.85}
        found["baseline"] = row(active)
        found["intervals"] = {
            name: {"low": round(middle - w * (middle - ends[0]), 4), "high": round(middle + w * (ends[1] - middle), 4)}
            for name, w in widths.items()
        }
        found["hybrid"], found["hybridBaseline"] = row(round(ndcg + 0.062, 3)), row(round(active + 0.08, 3))
        found["intervals"]["hybridNdcgAt10"] = {"low": round(ends[0] - 0.018, 3), "high": round(ends[1] - 0.02, 3)}
        found["improvementPercent"] = round(100 * middle / active, 2)
        found["verdict"] = "better" if ends[0] > 0 else "notWorse"
    return found | more


def config(**more: Any) -> Thing:
    known = {"baseModel": "BAAI/bge-small-en-v1.5", "epochs": 3, "batchSize": 32, "learningRate": 2e-5, "seed": 42}
    return known | {"method": "full", "hardNegatives": {"perQuery": 4, "relativeMargin": 0.95}} | more


def dataset(examples: int, name: str) -> Thing:
    feedback, synthetic = round(0.21 * examples), round(0.13 * examples)
    return {
        "uri": f"{STORE}/data/{name}",
        "digest": "sha256:" + f"{examples:064x}",
        "examples": examples,
        "newPairs": round(0.08 * examples),
        "validationExamples": round(0.05 * examples),
        "heldOutQueries": 678,
        "documents": 18_420,
        "bySource": {"archive": examples - feedback - synthetic, "feedback": feedback, "synthetic": synthetic},
        "droppedByReason": {"nearDuplicate": 1_204, "tooShort": 388, "ratingTooLow": 97, "unknownDocument": 12},
    }


def a_version(number: int, stage: str, run: str | None, kind: str = "embedding", **status: Any) -> Thing:
    short = kind[:3]
    hours = AGES.get(number, 700) if kind == "embedding" else {2: 1500, 3: 700}[number]
    name = (EMB if kind == "embedding" else RER)[number]
    base = "BAAI/bge-small-en-v1.5" if kind == "embedding" else "BAAI/bge-reranker-base"
    spec: Thing = {"retriever": "news", "type": kind, "version": number, "baseModel": base}
    spec |= {
        "artifact": {"uri": f"{STORE}/versions/{name}"},
        "source": {"trainingJob": run} if run else {"import": base},
    }
    if run:
        more = {"learningRate": 5e-5, "maxSequenceLength": 256} if number == 12 else {}
        spec["config"] = config(baseModel=base, **more)
    known: Thing = {"stage": stage}
    if stage not in {"training", "evaluating"}:
        ndcg, active = QUALITY[number] if kind == "embedding" else (0.72 + 0.01 * number, 0.74 if number == 3 else None)
        ends = HALF[number] if kind == "embedding" else ((-0.012, 0.031) if number == 3 else None)
        known |= ended(number, hours, evaluation(ndcg, active, ends), name, short)
    return checked(an_object("ModelVersion", name, hours, spec, known | status))


def taken_back(version: Thing) -> Thing:
    version["status"]["conditions"].append(condition("RolledBack", 739.8, CAUSE, reason="ErrorRate"))
    return checked(version)


def ended(number: int, hours: float, metrics: Thing, name: str, short: str) -> Thing:
    pairs = 9_200 + 1_150 * number
    known: Thing = {
        "evaluationMetrics": metrics,
        "trainingMetrics": {"loss": 0.412, "epochs": 3, "trainingExamples": pairs, "trainingDurationSeconds": 5_480}
        | {"validationNdcgAt10": 0.769, "tunedShare": 0.7},
        "dataset": dataset(pairs, name),
        "artifact": {"uri": f"{STORE}/versions/{name}", "digest": "sha256:" + f"{number:02x}a4" * 16},
        "report": {"page": f"{STORE}/runs/{name}/report.html", "card": f"{STORE}/runs/{name}/model-card.md"},
        "conditions": [
            condition("Trained", hours - 1.6, f"3 epochs on {pairs:,} pairs in 91 min: loss 0.412, the weights kept."),
            condition("Evaluated", hours - 2.0, "678 held-out queries over 18,420 documents"),
            condition("ArtifactVerified", hours - 2.1, "12 files, 9 golden answers"),
        ],
    }
    if short == "emb":
        known["artifact"] |= {"dimensions": 384, "embeddingSpace": SPACE}
        known["embeddingSpace"] = SPACE
        known["index"] = {
            "collection": f"news_5e{number:02}ff_cf22c529",
            "documents": 18_420,
            "builtAt": ago(hours - 2.6),
        }
    return known
