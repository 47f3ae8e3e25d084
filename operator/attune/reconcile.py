"""The loop: observe → decide → apply → report, the same for every kind. Called by the work queue, once per key at a time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from pydantic import ValidationError

from attune.api import kinds
from attune.cluster.apply import apply
from attune.cluster.observe import observe_model_version, observe_retriever, observe_training_job
from attune.cluster.observe_ab_test import observe_ab_test
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
)
from attune.errors import AlreadyExists
from attune.observation import Defaults
from attune.settings import Settings
from attune.workqueue import Key

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Loop:
    """The two halves of a kind's loop that differ."""

    observe: Callable[[Cluster, Manifest, Defaults, datetime], Awaitable[Any]]
    decide: Callable[[Any, datetime], Decision]


LOOPS = {
    "Retriever": Loop(observe_retriever, decide_retriever),
    "TrainingJob": Loop(observe_training_job, decide_training_job),
    "ModelVersion": Loop(observe_model_version, decide_model_version),
    "ABTest": Loop(observe_ab_test, decide_ab_test),
}


def defaults_of(settings: Settings) -> Defaults:
    """The part of the settings that decisions depend on."""
    return Defaults(
        trainer_image=settings.trainer_image,
        serving_image=settings.serving_image,
        finetune_enabled=settings.finetune_enabled,
        provider=settings.finetune_provider,
        min_examples=settings.finetune_min_examples,
        auto_promote=settings.finetune_auto_promote,
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
        return None
    now = context.now().replace(microsecond=0)
    try:
        seen = await loop.observe(context.cluster, raw, defaults_of(context.settings), now)
    except ValidationError as error:
        log.error("unreadable object", problem=str(error))  # noqa: TRY400  the fault is the object's, the trace says nothing
        await _complain(context, raw, error)
        return None
    decision = loop.decide(seen, now)
    try:
        await apply(context.cluster, decision)
    except AlreadyExists as error:
        log.info("looked at an old state, looking again", problem=str(error))
        return timedelta()
    await report(context.cluster, raw, decision, now)
    return decision.requeue_after


async def _complain(context: Context, raw: Manifest, error: ValidationError) -> None:
    """Its status cannot be trusted to be written back, so an event says what is wrong: stored by an older CRD, or by hand."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    message = (
        f"{field}: {first['msg']}, found {first['input']!r}; apply the CRDs of this release, then correct the field"
    )
    unreadable = Decision(events=(Event("Unreadable", message, warning=True),))
    await report(context.cluster, raw, unreadable, context.now().replace(microsecond=0))
