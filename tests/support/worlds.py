"""Builders, and the loop that drives the real reconcile against the fake cluster until nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from attune.api import names
from attune.context import Context
from attune.contract import (
    DatasetSummary,
    EvaluationMetrics,
    EvaluationSummary,
    IndexSummary,
    ModelSummary,
    ModelType,
    Stage,
    StageResult,
    StageSpec,
    TrainingMetrics,
    corpus_digest,
)
from attune.errors import ClusterError
from attune.reconcile import reconcile
from attune.settings import load_settings
from attune.telemetry.metrics import Metrics
from attune.workqueue import Key
from fake_cluster import Clock, FakeCluster, Killed, Outcome
from wakeups import Wakeups

BEGINNING = datetime(2026, 3, 1, tzinfo=UTC)
KINDS = ("Retriever", "ModelVersion", "TrainingJob", "ABTest", "TrainingSchedule")


def scripted(spec: StageSpec, attempt: int) -> Outcome:
    """A trainer where everything goes well."""
    made: dict[str, Any] = {}
    if spec.stage is Stage.PREPARE:
        made["dataset"] = DatasetSummary(
            uri="file:///store/datasets/d", digest="sha256:d", examples=1200, by_source={"archive": 1200}
        )
    elif spec.stage is Stage.EVALUATE:
        metrics = EvaluationMetrics(
            ndcg_at10=0.9,
            context_precision=0.9,
            queries=200,
            score=0.9,
            score_metric="contextPrecision",
            improvement_percent=12.5,
            verdict="better",
            baseline={"ndcgAt10": 0.8},
            intervals={"ndcgAt10": {"low": 0.05, "high": 0.15}},
        )
        made["evaluation"] = EvaluationSummary(metrics=metrics, not_measured={"faithfulness": "no judge configured"})
    elif spec.stage is Stage.INDEX:
        assert spec.index is not None
        made["index"] = IndexSummary(
            collection=spec.index.collection, documents=1194, embedded=1194, digest=corpus_digest([("1", "text")])
        )
    elif spec.stage is not Stage.RETIRE:
        assert spec.model is not None
        training = TrainingMetrics(loss=0.5, epochs=3, training_examples=1200, training_duration_seconds=60)
        made["model"] = ModelSummary(
            uri=spec.model.uri,
            digest=f"sha256:{spec.model.name}",
            dimensions=384 if spec.type is ModelType.EMBEDDING else None,
            embedding_space=f"space of {spec.model.name}" if spec.type is ModelType.EMBEDDING else None,
            training=training,
        )
    result = StageResult(
        stage=spec.stage,
        spec_digest=spec.digest(),
        succeeded=True,
        reason="Completed",
        message=f"{spec.stage} done",
        **made,
    )
    return Outcome(0, result)


def failing(
    stage: Stage, *, code: int, attempts: range = range(1, 100), reason: str = "", message: str = ""
) -> Callable[[StageSpec, int], Outcome]:
    """As `scripted`, but these attempts of one stage of a TrainingJob fail."""

    def trainer(spec: StageSpec, attempt: int) -> Outcome:
        if spec.owner.kind != "TrainingJob" or spec.stage is not stage or attempt not in attempts:
            return scripted(spec, attempt)
        result = None
        if reason:
            result = StageResult(
                stage=stage, spec_digest=spec.digest(), succeeded=False, reason=reason, message=message
            )
        return Outcome(int(code), result)

    return trainer


def of_one_space(spec: StageSpec, attempt: int) -> Outcome:
    """As `scripted`, but every embedding version is of one embedding space, as method queryOnly makes them."""
    outcome = scripted(spec, attempt)
    if outcome.result is None or outcome.result.model is None:
        return outcome
    model = outcome.result.model.model_copy(update={"embedding_space": "one space"})
    return Outcome(0, outcome.result.model_copy(update={"model": model}))


def retriever(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "attune.dev/v1alpha1",
        "kind": "Retriever",
        "metadata": {"name": "news", "namespace": "news"},
        "spec": {
            "embedding": {"baseModel": "pvc://models/minilm"},
            "storage": {"uri": "pvc://store/attune"},
            "data": {"archive": {"uri": "pvc://data/archive.jsonl"}},
            **spec,
        },
    }


def training_job(name: str = "tune", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "attune.dev/v1alpha1",
        "kind": "TrainingJob",
        "metadata": {"name": name, "namespace": "news"},
        "spec": {"retriever": "news", "type": "embedding", **spec},
    }


def training_schedule(name: str = "weekly", **spec: Any) -> dict[str, Any]:
    """Prepares and trains on Sundays at 02:00 UTC, unless told otherwise."""
    return {
        "apiVersion": "attune.dev/v1alpha1",
        "kind": "TrainingSchedule",
        "metadata": {"name": name, "namespace": "news"},
        "spec": {
            "retriever": "news",
            "training": {"schedule": "0 2 * * 0"},
            "template": {"type": "embedding"},
            **spec,
        },
    }


def counting(spec: StageSpec, attempt: int) -> Outcome:
    """As `scripted`, with data that grows by 600 pairs a week, counted since the snapshot that was last trained on."""
    outcome = scripted(spec, attempt)
    if spec.stage is not Stage.PREPARE or outcome.result is None or outcome.result.dataset is None:
        return outcome
    at = spec.run or next(
        (int(part) for part in spec.owner.name.split("-") if len(part) == 12 and part.isdigit()), None
    )
    week = names.scheduled_time(at) if at is not None else None
    total = 1200 if week is None else 1200 + 600 * ((week - BEGINNING).days // 7)
    known = int(spec.last_trained.digest.partition(":")[2]) if spec.last_trained and spec.last_trained.digest else 0
    dataset = outcome.result.dataset.model_copy(
        update={
            "examples": total,
            "digest": f"sha256:{total}",
            "uri": f"pvc://store/attune/news/news/datasets/{total}",
            "new_pairs": max(0, total - known),
        }
    )
    return Outcome(0, outcome.result.model_copy(update={"dataset": dataset}))


@dataclass
class World:
    """The operator, the cluster behind it, and time."""

    cluster: FakeCluster
    context: Context
    restarts: int = 0
    errors: list[str] = field(default_factory=list)
    _wakeups: Wakeups | None = None
    _runs_with: Context | None = None

    async def settle(self, rounds: int = 120) -> None:
        """Look at what is due, run the Jobs, let ten seconds pass; until two rounds change nothing."""
        quiet = 0
        for _ in range(rounds):
            before = len(self.cluster.history), len(self.cluster.objects)
            requeue = await self.look()
            self.cluster.run_jobs()
            self.cluster.run_deployments()
            quiet = quiet + 1 if (len(self.cluster.history), len(self.cluster.objects)) == before else 0
            if quiet >= 2 and not requeue:
                return
            self.cluster.clock.advance(timedelta(seconds=10))

    async def look(self) -> bool:
        """One reconcile of all that is due; a kill starts the operator anew. True when one wants to be looked at within the minute."""
        wakeups = self._running()
        for key in wakeups.take():
            try:
                wakeups.again(key, await reconcile(self.context, key))
            except Killed:
                self.restarts += 1
                self._wakeups = None
                return True
            except ClusterError as error:
                self.errors.append(str(error))
                wakeups.again(key, timedelta())
        return wakeups.soon()

    def _running(self) -> Wakeups:
        """What the running process knows; one that was killed, or has other settings, is another one and looks at everything."""
        if self._wakeups is None or self._runs_with is not self.context:
            self._wakeups, self._runs_with = Wakeups(self.cluster, KINDS), self.context
        told = {k for k in self._wakeups.neighbours.known() if self.context.outbox.deliveries(k) or self._alerted(k)}
        self._wakeups.due |= told
        return self._wakeups

    def _alerted(self, key: Key) -> bool:
        return key.kind == "Retriever" and bool(self.context.inbox.alerts((key.namespace, key.name)))


def make_world(trainer: Callable[[StageSpec, int], Outcome] = scripted, **environ: str) -> World:
    """An empty cluster with an operator; `FINETUNE_*` settings as keyword arguments."""
    clock = Clock()
    cluster = FakeCluster(clock=clock, trainer=trainer)
    settings = load_settings({"FINETUNE_ENABLED": "true", **environ})
    return World(cluster, Context(cluster=cluster, settings=settings, metrics=Metrics(), now=clock))
