"""The loop: observe → decide → apply → report, the same for every kind. Called by the work queue, once per key at a time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from pydantic import ValidationError

from attune.api import RetrieverStatus, TrainingScheduleStatus, kinds
from attune.cluster.apply import apply
from attune.cluster.observe import observe_model_version, observe_training_job
from attune.cluster.observe_ab_test import observe_ab_test
from attune.cluster.observe_news import observe_news
from attune.cluster.observe_retriever import observe_retriever
from attune.cluster.observe_training_schedule import observe_training_schedule
from attune.cluster.protocol import Cluster, Manifest, Ref
from attune.cluster.report import report
from attune.context import Context
from attune.decide import (
    Decision,
    Event,
    decide_ab_test,
    decide_model_version,
    decide_retriever,
    decide_training_job,
    decide_training_schedule,
)
from attune.decide.notifications.announce import announce
from attune.decide.rollback import alerts, watch
from attune.decide.schedule import telling
from attune.errors import AlreadyExists
from attune.observation import Alert, Defaults, SeenRetriever, SeenTrainingSchedule
from attune.settings import Settings
from attune.workqueue import Key

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loop:
    """The two halves of a kind's loop that differ."""

    observe: Callable[[Context, Manifest, datetime], Awaitable[Any]]
    decide: Callable[[Any, datetime], Decision]


async def _observe_retriever(context: Context, raw: Manifest, now: datetime) -> SeenRetriever:
    return await observe_retriever(context.cluster, raw, defaults_of(context.settings), now, context.inbox)


def _by(observe: Callable[[Cluster, Manifest, Defaults, datetime], Awaitable[Any]]) -> Any:
    """An observation that needs the cluster only."""

    async def observed(context: Context, raw: Manifest, now: datetime) -> Any:
        return await observe(context.cluster, raw, defaults_of(context.settings), now)

    return observed


LOOPS = {
    "Retriever": Loop(_observe_retriever, decide_retriever),
    "TrainingJob": Loop(_by(observe_training_job), decide_training_job),
    "ModelVersion": Loop(_by(observe_model_version), decide_model_version),
    "ABTest": Loop(_by(observe_ab_test), decide_ab_test),
    "TrainingSchedule": Loop(_by(observe_training_schedule), decide_training_schedule),
}


def defaults_of(settings: Settings) -> Defaults:
    """The part of the settings that decisions depend on."""
    return Defaults(
        trainer_image=settings.trainer_image,
        serving_image=settings.serving_image,
        finetune_enabled=settings.finetune_enabled,
        provider=settings.finetune_provider,
        openai_model=settings.openai_finetune_model,
        min_examples=settings.finetune_min_examples,
        auto_promote=settings.finetune_auto_promote,
        schedule=settings.finetune_schedule,
        prometheus_url=settings.prometheus_url,
        progress_interval=timedelta(seconds=settings.progress_seconds),
        retry_base=timedelta(seconds=settings.retry_seconds),
    )


async def reconcile(context: Context, key: Key) -> timedelta | None:
    """One look at one object. Returns when to look again; None: when something changes."""
    loop = LOOPS.get(key.kind)
    if loop is None:
        return None
    raw = await context.cluster.get(Ref(kinds.API_VERSION, key.kind, key.namespace, key.name))
    if raw is None:
        _settle(context, key, lambda _: "unknown")
        context.outbox.forget(key)
        return None
    now = context.now().replace(microsecond=0)
    try:
        seen = await loop.observe(context, raw, now)
        news = await observe_news(context.cluster, seen, context.outbox.deliveries(key))
    except ValidationError as error:
        log.error("unreadable object", problem=str(error))  # noqa: TRY400  the fault is the object's, the trace says nothing
        await _complain(context, raw, error)
        _settle(context, key, lambda _: "ignored")
        return None
    decision = announce(loop.decide(seen, now), seen, news, now)
    try:
        await apply(context.cluster, decision)
    except AlreadyExists as error:
        log.info("looked at an old state, looking again", problem=str(error))
        return timedelta()
    await report(context.cluster, raw, decision, now)
    context.outbox.settle(key, news.deliveries)
    context.outbox.offer(key, decision.notify)
    if isinstance(seen, SeenRetriever):
        _tell(context, key, seen, decision)
    if isinstance(seen, SeenTrainingSchedule) and isinstance(decision.status, TrainingScheduleStatus):
        for activity, outcome in telling.outcomes(seen.schedule.status, decision.status):
            context.metrics.scheduled(activity, outcome)
    return decision.requeue_after


def _tell(context: Context, key: Key, seen: SeenRetriever, decision: Decision) -> None:
    """Whoever sent an alert is answered, now that what came of it is stored; rollbacks are counted."""
    before, after = seen.retriever.status, decision.status
    if not isinstance(after, RetrieverStatus):
        after = before
    context.inbox.settle((key.namespace, key.name), seen.alerts, lambda alert: alerts.outcome_of(alert, before, after))
    for trigger in watch.rollbacks(before, after):
        context.metrics.rolled_back(trigger)


def _settle(context: Context, key: Key, outcome: Callable[[Alert], str]) -> None:
    """Alerts about a Retriever that is not there, or cannot be read."""
    if key.kind == "Retriever":
        place = key.namespace, key.name
        context.inbox.settle(place, context.inbox.alerts(place), outcome)


async def _complain(context: Context, raw: Manifest, error: ValidationError) -> None:
    """Its status cannot be trusted to be written back, so an event says what is wrong: stored by an older CRD, or by hand."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = (
        f"{field}: {first['msg']}, found {first['input']!r}; apply the CRDs of this release, then correct the field"
    )
    unreadable = Decision(events=(Event("Unreadable", message, warning=True),))
    await report(context.cluster, raw, unreadable, context.now().replace(microsecond=0))
