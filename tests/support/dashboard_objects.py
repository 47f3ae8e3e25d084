"""Objects for the dashboard, as a team's would look after some months: every state a page has to show. Each is checked against its kind.

Times are relative to now, names and sentences are those that the operator writes.
"""

from __future__ import annotations

import math
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


def a_run(
    name: str, phase: str, hours: float, version: str | None = None, kind: str = "embedding", **status: Any
) -> Thing:
    spec = {"retriever": "news", "type": kind, "hyperparameters": {"epochs": 3}, "evalThreshold": 0.7}
    known: Thing = {"phase": phase, "startTime": ago(hours - 0.02)} if phase != "Pending" else {"phase": phase}
    if version:
        known["modelVersion"] = version
    labels = {"attune.dev/training-schedule": "monthly"} if name.startswith("news-monthly") else {}
    return checked(an_object("TrainingJob", name, hours, spec, known | status, labels=labels))


def attempt(number: int, stage: str, job: str, hours: float, minutes: float | None, code: int = 0, **why: Any) -> Thing:
    made: Thing = {"stage": stage, "number": number, "job": job, "startedAt": ago(hours)}
    if minutes is not None:
        made |= {
            "finishedAt": ago(hours - minutes / 60),
            "exitCode": code,
            **({"reason": "Completed"} if not code else why),
        }
    return made


def looks(hours: float, many: int, effect: float) -> list[Thing]:
    """An interval that narrows as queries come in."""
    found = []
    for n in range(1, many + 1):
        samples = 61 * n
        half = (1.05 if effect > 0.05 else 1.6) / math.sqrt(samples)
        middle = effect + 0.035 * math.sin(1.7 * n) / math.sqrt(n)
        found.append(
            {
                "at": ago(hours * (1 - n / many) + 0.01),
                "samplesA": 4 * samples,
                "samplesB": samples,
                "difference": round(middle, 5),
                "low": round(middle - half, 5),
                "high": round(middle + half, 5),
            }
        )
    return found


def a_test(name: str, phase: str, hours: float, a: str, b: str, **status: Any) -> Thing:
    metrics = [
        {"name": "user_feedback", "role": "primary", "direction": "increase"},
        {"name": "faithfulness", "role": "success", "direction": "increase"},
        {"name": "latency", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.1},
        {"name": "error", "role": "guardrail", "direction": "decrease", "nonInferiorityMargin": 0.005},
    ]
    spec: Thing = {
        "retriever": "news",
        "modelA": a,
        "modelB": b,
        "trafficSplit": 0.2,
        "minSamples": 400,
        "metrics": metrics,
    }
    return checked(an_object("ABTest", name, hours, spec, {"phase": phase, "modelA": a} | status))


def measured(hours: float, *, won: bool) -> Thing:
    """What a look saw: open while it runs, better where B won."""
    found = looks(hours, 20, 0.061 if won else 0.034)
    last = found[-1]

    def arm(feedback: float, faithful: float, milliseconds: float, errors: float, many: int) -> Thing:
        return {
            "user_feedback": {"mean": feedback, "samples": many, "standardError": round(0.487 / math.sqrt(many), 5)},
            "faithfulness": {
                "mean": faithful,
                "samples": many // 8,
                "standardError": round(0.3 / math.sqrt(many / 8), 5),
            },
            "latency": {"mean": math.log(milliseconds), "samples": many, "standardError": 0.012, "p99Milliseconds": 61},
            "error": {"mean": errors, "samples": many, "standardError": 0.001},
        }

    feedback = 0.612
    return {
        "startedAt": ago(hours),
        "lookedAt": ago(0.01),
        "samplesA": last["samplesA"],
        "samplesB": last["samplesB"],
        "metricsA": arm(feedback, 0.871, 18.2, 0.0021, last["samplesA"]),
        "metricsB": arm(feedback + last["difference"], 0.884, 18.9, 0.0016, last["samplesB"]),
        "pValues": {"user_feedback": 0.011 if won else 0.147, "faithfulness": 0.38},
        "intervals": {
            "user_feedback": {"low": last["low"], "high": last["high"]},
            "faithfulness": {"low": -0.031, "high": 0.057},
            "latency": {"low": 0.006, "high": 0.069},
            "error": {"low": -0.004, "high": 0.0031},
        },
        "confidence": 0.989 if won else 0.853,
        "sampleRatioPValue": 0.44,
        "looks": found,
    }


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


def a_schedule() -> Thing:
    spec = {
        "retriever": "news",
        "dataPreparation": {"schedule": "0 2 * * 0"},
        "training": {"schedule": "0 2 1 * *", "minNewPairs": 500},
        "template": {"type": "embedding"},
    }
    status = {"nextTraining": ago(-190), "nextPreparation": ago(-46), "newPairs": 312, "lastTraining": ago(31.2)}
    status["lastTrainingJob"] = "news-monthly-29"
    return checked(an_object("TrainingSchedule", "monthly", 4800, spec, status))


def runs() -> list[Thing]:
    progress = {
        "stage": "train",
        "percent": 43.0,
        "epoch": 1.29,
        "step": 910,
        "loss": 0.508,
        "examplesPerSecond": 146.0,
    }
    progress["estimatedRemainingSeconds"] = 340
    prepared = attempt(1, "prepare", "news-lr-prepare-1-8a211a7b", 0.55, 4.2)
    small = "312 pairs (archive 290, feedback 22) < 1,000 (minExamples); lower dataSource.minExamples, or wait for more articles"
    lost = {
        "reason": "OutOfMemory",
        "message": "the container was killed at 8.0 GiB; raise compute.resources or lower batchSize",
    }
    return [
        a_run(
            "news-lr",
            "Training",
            0.6,
            EMB[13],
            message="train: Job news-lr-train-2-8a211a7b runs (attempt 2 of 3)",
            progress=progress,
            dataset=dataset(23_870, "news-lr"),
            failures=1,
            attempts=[
                prepared,
                attempt(1, "train", "news-lr-train-1-8a211a7b", 0.48, 6.0, 137, **lost),
                attempt(2, "train", "news-lr-train-2-8a211a7b", 0.37, None),
            ],
            conditions=[condition("DataPrepared", 0.48, "23,870 training pairs (archive 15,754, feedback 5,013)")],
        ),
        a_run(
            "news-rerank",
            "Pending",
            0.2,
            kind="reranker",
            reason="WaitingForRun",
            message="news-lr runs; one at a time",
        ),
        a_run(
            "news-monthly-29",
            "Succeeded",
            31.2,
            EMB[12],
            completionTime=ago(28.6),
            message=f"{EMB[12]}: nDCG@10 0.713 (active) → 0.751 (+5.3%, 95% CI +0.014 to +0.062) on 678 queries",
            dataset=dataset(23_000, EMB[12]),
            evaluation={"metrics": evaluation(0.751, 0.713, (0.014, 0.062))},
        ),
        a_run(
            "news-small",
            "Failed",
            200,
            reason="InsufficientData",
            message=small,
            completionTime=ago(199.9),
            failures=1,
            attempts=[
                attempt(
                    1, "prepare", "news-small-prepare-1-77c1", 199.98, 3.1, 65, reason="InsufficientData", message=small
                )
            ],
        ),
        a_run(
            "tune-11",
            "Succeeded",
            420,
            EMB[11],
            completionTime=ago(418),
            message=f"{EMB[11]}: nDCG@10 0.681 (active) → 0.713",
        ),
    ]


def tests() -> list[Thing]:
    wins = f"Promote {EMB[11]}: user_feedback +10.0% (95% CI +0.9% to +17.4%) on 6,100 distinct queries; latency within 10%."
    waits = "Wait: user_feedback 0.612 (A) and 0.646 (B), p 0.147, on 4,880 and 1,220 distinct queries; nothing is proven yet."
    return [
        a_test("news-v12", "Running", 26, EMB[11], EMB[12], **measured(26, won=False), recommendation=waits),
        a_test(
            "news-v11",
            "Concluded",
            420,
            EMB[9],
            EMB[11],
            **measured(400, won=True) | {"startedAt": ago(400), "lookedAt": ago(333)},
            winner="B",
            concludedAt=ago(333),
            message="user_feedback: p 0.011 < 0.05",
            recommendation=wins,
            promotion={"result": "Promoted", "message": "loaded and verified by 3 replicas"},
        ),
        a_test(
            "news-v10",
            "Cancelled",
            800,
            EMB[9],
            EMB[10],
            concludedAt=ago(790),
            reason="CancelRequested",
            message="cancelled: spec.cancel is true",
        ),
    ]


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
        a_schedule(),
    ]
