"""What a TrainingSchedule makes: the Job of a data preparation, TrainingJobs; and the schedules that FINETUNE_SCHEDULE makes.

A preparation is the prepare stage of the TrainingJob that would be created now, with the schedule as its owner.
"""

from datetime import UTC, datetime

from attune.api import (
    Retriever,
    TrainingJob,
    TrainingJobSpec,
    TrainingSchedule,
    kinds,
    labels,
    names,
)
from attune.contract import ArtifactRef, ModelType, Stage, StageSpec
from attune.desired import hosted, stage_spec
from attune.desired.stage_job import StageJob
from attune.objects import Manifest
from attune.observation import SeenTrainingJob, SeenTrainingSchedule

TRAINS_AT = {"weekly": "0 2 * * 0", "monthly": "0 2 1 * *"}
"""FINETUNE_SCHEDULE → when training is considered. Data is prepared weekly in any case."""


def as_run(seen: SeenTrainingSchedule) -> SeenTrainingJob:
    """The TrainingJob that would be created now, as a decision about it would see it."""
    schedule = seen.schedule
    spec = TrainingJobSpec.model_validate(_job_spec(schedule))
    return SeenTrainingJob(
        job=TrainingJob(metadata=schedule.metadata, spec=spec),
        defaults=seen.defaults,
        retriever=seen.retriever,
        active=seen.active,
        first_stage=seen.first_stage,
        base_version=seen.base_version,
        siblings=tuple(v for v in seen.versions if v.spec.type is spec.type),
    )


def preparation_spec(seen: SeenTrainingSchedule, retriever: Retriever) -> StageSpec:
    """What a preparation is asked for, whichever one it is: equal specs count and prepare the same of the same data."""
    spec = stage_spec.for_training(as_run(seen), retriever, Stage.PREPARE)
    return spec.model_copy(update={"owner": stage_spec.owner_of(seen.schedule)})


def preparation(seen: SeenTrainingSchedule, retriever: Retriever, run: int, attempt: int) -> StageJob:
    """One attempt of the preparation of a scheduled time."""
    run_of = as_run(seen)
    spec = preparation_spec(seen, retriever).model_copy(update={"run": run, "superseded": superseded(seen)})
    return StageJob(
        spec=spec,
        attempt=attempt,
        api_version=kinds.API_VERSION,
        compute=run_of.job.spec.compute,
        image=seen.defaults.trainer_image,
        secrets=stage_spec.stage_secrets(retriever, spec),
        env=tuple(hosted.env(hosted.keys_of_run(run_of, Stage.PREPARE))),
        run=run,
    )


def superseded(seen: SeenTrainingSchedule) -> ArtifactRef | None:
    """The snapshot that the preparation before made, where nothing else refers to it: it goes once there is another."""
    old = seen.schedule.status.dataset
    if old is None or seen.snapshots is None or old.uri in seen.snapshots:
        return None
    return ArtifactRef(name="dataset", uri=old.uri, digest=old.digest)


def training_job(schedule: TrainingSchedule, at: datetime) -> Manifest:
    """The TrainingJob of a scheduled time. It belongs to the schedule, as a CronJob's Jobs do; its version to the Retriever."""
    meta = schedule.metadata
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": "TrainingJob",
        "metadata": {
            "name": names.scheduled_job_name(meta.name, meta.uid, at),
            "namespace": meta.namespace,
            "labels": {
                labels.RETRIEVER: schedule.spec.retriever,
                labels.TYPE: schedule.spec.template.type.value,
                labels.TRAINING_SCHEDULE: names.label_value(meta.name),
                labels.TRAINING_SCHEDULE_UID: meta.uid,
            },
            "annotations": {labels.SCHEDULED_FOR: f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"},
            "ownerReferences": [_controlled_by(schedule)],
        },
        "spec": _job_spec(schedule),
    }


def scheduled_for(schedule: TrainingSchedule, job: TrainingJob) -> datetime | None:
    """The scheduled time that the schedule made this TrainingJob for; None for one that somebody copied."""
    told = (job.metadata.annotations or {}).get(labels.SCHEDULED_FOR)
    try:
        at = datetime.fromisoformat(told) if told else None
    except ValueError:
        return None
    if at is None or at.tzinfo is None:
        return None
    meta = schedule.metadata
    return at if job.metadata.name == names.scheduled_job_name(meta.name, meta.uid, at) else None


def default(retriever: Retriever, model_type: ModelType, every: str) -> Manifest:
    """The schedule of a Retriever that has none of its own. Made once and never written again, so nobody has to fight for it."""
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": "TrainingSchedule",
        "metadata": {
            "name": _default_name(retriever.metadata.name, model_type, every),
            "namespace": retriever.metadata.namespace,
            "labels": {
                labels.RETRIEVER: retriever.metadata.name,
                labels.TYPE: model_type.value,
                labels.DEFAULT_SCHEDULE: every,
            },
            "ownerReferences": [_controlled_by(retriever)],
        },
        "spec": {
            "retriever": retriever.metadata.name,
            "training": {"schedule": TRAINS_AT[every]},
            "template": {"type": model_type.value},
        },
    }


def default_of(schedule: TrainingSchedule) -> str | None:
    """weekly or monthly, where the operator made this schedule; None for one that a user wrote, or copied."""
    every = (schedule.metadata.labels or {}).get(labels.DEFAULT_SCHEDULE)
    if every is None:
        return None
    name = _default_name(schedule.spec.retriever, schedule.spec.template.type, every)
    return every if schedule.metadata.name == name else None


def _default_name(retriever: str, model_type: ModelType, every: str) -> str:
    suffix = "" if model_type is ModelType.EMBEDDING else f"-{model_type.value}"
    return names.child_name(retriever, f"default-{every}{suffix}")


def _job_spec(schedule: TrainingSchedule) -> Manifest:
    template = schedule.spec.template.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
    return {"retriever": schedule.spec.retriever, **template}


def _controlled_by(owner: Retriever | TrainingSchedule) -> Manifest:
    return {
        "apiVersion": kinds.API_VERSION,
        "kind": owner.kind,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
