"""Answers about TrainingJobs and TrainingSchedules."""

from datetime import datetime

from pydantic import Field

from attune.api import Phase, TrainingJobSpec, TrainingJobStatus, TrainingScheduleSpec, TrainingScheduleStatus
from attune.contract import Contract, ModelType, Progress
from attune.messages.versions import NEXT


class Run(Contract):
    """A TrainingJob in a list."""

    name: str = Field(description="Name of the TrainingJob.")
    namespace: str = Field(description="Its namespace.")
    retriever: str = Field(description="Retriever it is for.")
    type: ModelType = Field(description="embedding or reranker.")
    phase: Phase = Field(description="Where it is; Pending before the operator saw it.")
    reason: str | None = Field(None, description="Why it is in this phase, in one CamelCase word.")
    message: str | None = Field(None, description="Why it is in this phase, with the numbers.")
    model_version: str | None = Field(None, description="ModelVersion that it makes.")
    progress: Progress | None = Field(None, description="How far the running stage is.")
    score: float | None = Field(None, description="The number that evalThreshold was compared with.")
    examples: int | None = Field(None, description="Training pairs.")
    failures: int | None = Field(None, description="Failed attempts so far.")
    schedule: str | None = Field(None, description="TrainingSchedule that made it.")
    created_at: datetime | None = Field(None, description="When it was created.")
    started_at: datetime | None = Field(None, description="When the first stage began.")
    completed_at: datetime | None = Field(None, description="When it succeeded or failed.")


class RunPage(Contract):
    """A page of TrainingJobs, the newest first."""

    items: tuple[Run, ...] = Field(description="The TrainingJobs.")
    next_cursor: str | None = Field(None, description=NEXT)


class RunDetail(Run):
    """A TrainingJob with everything that is stored of it."""

    spec: TrainingJobSpec = Field(description="What it is to do.")
    status: TrainingJobStatus = Field(description="What the operator says of it.")


class Schedule(Contract):
    """A TrainingSchedule, as it is stored."""

    name: str = Field(description="Name of the TrainingSchedule.")
    namespace: str = Field(description="Its namespace.")
    retriever: str = Field(description="Retriever it is for.")
    created_at: datetime | None = Field(None, description="When it was created.")
    spec: TrainingScheduleSpec = Field(description="When to train again.")
    status: TrainingScheduleStatus = Field(description="What was started, and what is next.")


class SchedulePage(Contract):
    """A page of TrainingSchedules, the newest first."""

    items: tuple[Schedule, ...] = Field(description="The TrainingSchedules.")
    next_cursor: str | None = Field(None, description=NEXT)
