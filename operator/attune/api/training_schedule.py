"""TrainingSchedule: weekly data preparation, monthly retraining when enough is new."""

from typing import ClassVar, Literal

from pydantic import Field

from attune.api.base import ApiModel, Resource, Status, Time
from attune.api.model_version import StageRun
from attune.api.rules import Rule
from attune.api.training_job import TrainingTemplate
from attune.api.values import Cron, ObjectName, TimeZone
from attune.contract import DatasetSummary


class DataPreparation(ApiModel):
    """When new data is taken in and counted."""

    schedule: Cron = Field(
        "0 2 * * 0", description="Cron: minute hour day-of-month month day-of-week. '0 2 * * 0' is Sundays at 02:00."
    )


class TrainingPlan(ApiModel):
    """When a TrainingJob is created."""

    schedule: Cron = Field(
        "0 2 1 * *",
        description="Cron: minute hour day-of-month month day-of-week. '0 2 1 * *' is the first of each month at "
        "02:00.",
    )
    min_new_pairs: int = Field(
        500, ge=0, le=100_000_000, description="Train only if so many pairs are new since the last training; 0: always."
    )


class TrainingScheduleSpec(ApiModel):
    """When to train again."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.retriever == oldSelf.retriever",
            "retriever is immutable: create another TrainingSchedule",
            path=".retriever",
        ),
    )

    retriever: ObjectName = Field(description="Name of the Retriever in the same namespace.")
    data_preparation: DataPreparation = Field(
        default_factory=DataPreparation, description="When new data is taken in and counted."
    )
    training: TrainingPlan = Field(default_factory=TrainingPlan, description="When a TrainingJob is created.")
    time_zone: TimeZone = Field(
        "UTC", description="Time zone of the schedules: a name of the IANA database, e.g. Europe/Berlin."
    )
    suspend: bool = Field(False, description="true: nothing new is started; what runs goes on.")
    concurrency_policy: Literal["Forbid", "Allow"] = Field(
        "Forbid",
        description="Forbid: skip a training while one of this schedule runs. Allow: start it beside that one.",
    )
    starting_deadline_seconds: int | None = Field(
        None,
        ge=10,
        le=31_536_000,
        description="A time that was missed (operator away, suspended) is made up for once, so late at most; unset: however late.",
    )
    template: TrainingTemplate = Field(
        description="The TrainingJobs to create: their spec without retriever, suspend and force."
    )
    history_limit: int = Field(3, ge=0, le=100, description="Finished TrainingJobs of this schedule to keep.")


class Preparation(StageRun):
    """One data preparation."""

    run: int = Field(ge=1, description="Its scheduled time, as YYYYMMDDhhmm in UTC.")
    scheduled_for: Time = Field(description="Scheduled time that it was started for.")
    asked: str | None = Field(
        None,
        max_length=71,
        description="Digest of what was asked for; where that has changed, a training prepares anew.",
    )


class Cursor(ApiModel):
    """How far a schedule was followed."""

    schedule: str = Field(max_length=256, description="Schedule and time zone that were followed.")
    until: Time = Field(
        description="Times up to this one were acted on or passed over; a later one is due, or was missed."
    )


class TrainingScheduleStatus(Status):
    """What was started, and what is next."""

    last_preparation: Time | None = Field(
        None, description="Scheduled time of the last data preparation that succeeded; dataset and newPairs are of it."
    )
    preparation: Preparation | None = Field(None, description="The newest data preparation, and its stage Jobs.")
    dataset: DatasetSummary | None = Field(None, description="Snapshot that the last preparation made.")
    new_pairs: int | None = Field(
        None,
        ge=0,
        description="Pairs of that snapshot that are new since the last training of this type, by whomever; unset: unknown.",
    )
    last_training: Time | None = Field(None, description="Scheduled time of the last training that was started.")
    last_training_job: str | None = Field(None, description="TrainingJob that was created then.")
    training_due: Time | None = Field(None, description="Scheduled time of a training that waits for its data.")
    next_preparation: Time | None = Field(None, description="When data is prepared next; unset while suspended.")
    next_training: Time | None = Field(None, description="When training is considered next; unset while suspended.")
    preparation_cursor: Cursor | None = Field(None, description="How far dataPreparation.schedule was followed.")
    training_cursor: Cursor | None = Field(None, description="How far training.schedule was followed.")


class TrainingSchedule(Resource):
    """A TrainingSchedule as the API server stores it."""

    kind: Literal["TrainingSchedule"] = "TrainingSchedule"
    spec: TrainingScheduleSpec
    status: TrainingScheduleStatus = Field(default_factory=TrainingScheduleStatus)
