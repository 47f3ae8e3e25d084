"""What a TrainingSchedule's next step depends on. Most looks find nothing due, and ask for little."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from pydantic import ValidationError

from attune.api import ModelVersion, TrainingJob, TrainingSchedule, kinds, labels
from attune.cluster.observe import (
    active_version,
    first_stage_of,
    read_base_version,
    read_retriever,
    read_stage_jobs,
    versions_of,
)
from attune.cluster.protocol import Cluster, Manifest
from attune.decide.schedule import history, preparing, ticks
from attune.desired import training_schedule as desired
from attune.observation import Defaults, SeenTrainingSchedule

R = TypeVar("R", ModelVersion, TrainingJob, TrainingSchedule)


async def observe_training_schedule(
    cluster: Cluster, raw: Manifest, defaults: Defaults, now: datetime
) -> SeenTrainingSchedule:
    """A TrainingSchedule with everything around it, as far as this look needs it."""
    schedule = TrainingSchedule.model_validate(raw)
    meta, spec = schedule.metadata, schedule.spec
    retriever, stage_jobs, found = await asyncio.gather(
        read_retriever(cluster, meta.namespace, spec.retriever),
        read_stage_jobs(cluster, meta.namespace, meta.uid),
        cluster.list(kinds.API_VERSION, "TrainingJob", meta.namespace, {labels.TRAINING_SCHEDULE_UID: meta.uid}),
    )
    jobs = tuple(job for job in _readable(found, TrainingJob) if _belongs_to(job, schedule))
    seen = SeenTrainingSchedule(schedule, defaults, retriever, stage_jobs, jobs)
    surplus = len(history.ended(seen)) > spec.history_limit
    idle = ticks.is_idle(schedule, now)
    if idle and not surplus and desired.default_of(schedule) is None:
        return seen
    seen = await _with_versions(cluster, seen)
    return seen if idle or not preparing.may_begin(seen) else await _with_snapshots(cluster, seen)


async def _with_versions(cluster: Cluster, seen: SeenTrainingSchedule) -> SeenTrainingSchedule:
    """The versions and the other schedules of its Retriever."""
    spec, meta = seen.schedule.spec, seen.schedule.metadata
    raw, schedules, active, first_stage, base = await asyncio.gather(
        versions_of(cluster, meta.namespace, spec.retriever),
        read_schedules(cluster, meta.namespace),
        active_version(cluster, seen.retriever, spec.template.type),
        first_stage_of(cluster, seen.retriever, spec.template.type),
        read_base_version(cluster, meta.namespace, spec.template.base_model),
    )
    return replace(
        seen,
        versions=tuple(v for v in _readable(raw, ModelVersion) if v.metadata.deletion_timestamp is None),
        active=active,
        first_stage=first_stage,
        base_version=base,
        others=tuple(s for s in schedules if s.spec.retriever == spec.retriever and s.metadata.uid != meta.uid),
    )


async def _with_snapshots(cluster: Cluster, seen: SeenTrainingSchedule) -> SeenTrainingSchedule:
    """Which snapshots are referred to. Runs that users made have no label of ours, so all of the namespace are read."""
    runs = await cluster.list(kinds.API_VERSION, "TrainingJob", seen.schedule.metadata.namespace)
    datasets = [
        *(version.status.dataset for version in seen.versions),
        *(run.status.dataset for run in _readable(runs, TrainingJob)),
        *(schedule.status.dataset for schedule in seen.others),
    ]
    return replace(seen, snapshots=frozenset(dataset.uri for dataset in datasets if dataset is not None))


async def read_schedules(cluster: Cluster, namespace: str) -> tuple[TrainingSchedule, ...]:
    """All TrainingSchedules of a namespace that can be read."""
    found = await cluster.list(kinds.API_VERSION, "TrainingSchedule", namespace)
    return tuple(_readable(found, TrainingSchedule))


def _readable(found: Iterable[Manifest], model: type[R]) -> list[R]:
    """Those that can be read; one that cannot says so itself, in its own look."""
    things = []
    for raw in found:
        with suppress(ValidationError):
            things.append(model.model_validate(raw))
    return things


def _belongs_to(job: TrainingJob, schedule: TrainingSchedule) -> bool:
    """By its owner, not by labels alone: those are copied with the rest of a file."""
    return any(owner.uid == schedule.metadata.uid for owner in job.metadata.owner_references or ())
