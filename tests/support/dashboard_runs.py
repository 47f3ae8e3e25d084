"""Runs for the dashboard: one that trains, one that waits, some that have ended."""

from __future__ import annotations

from typing import Any

from dashboard_versions import EMB, checked, dataset, evaluation
from kube_server import Thing
from rest_world import ago, an_object, condition


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


def runs() -> list[Thing]:
    """The newest first."""
    return [*under_way(), *ended()]


def under_way() -> list[Thing]:
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
    ]


def ended() -> list[Thing]:
    small = "312 pairs (archive 290, feedback 22) < 1,000 (minExamples); lower dataSource.minExamples, or wait for more articles"
    return [
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
