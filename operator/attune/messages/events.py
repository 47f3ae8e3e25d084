"""Data of the server-sent events. Each event is the whole present state, so a missed one does not matter."""

from typing import Literal

from pydantic import Field

from attune.api import Phase, PromotionStatus, VersionStage
from attune.contract import Contract, Progress

STATE, END = "state", "end"
"""Names of the events: `state` while it goes on; `end` once, with the last state, and then the stream is over."""


class VersionState(Contract):
    """How a version is, and how far what makes it is."""

    name: str = Field(description="Name of the ModelVersion.")
    stage: VersionStage | None = Field(None, description="Where it is in its life.")
    run: str | None = Field(None, description="TrainingJob that makes it.")
    phase: Phase | None = Field(None, description="Where that run is; absent where the caller may not watch it.")
    message: str | None = Field(None, description="What goes on, with the numbers.")
    progress: Progress | None = Field(None, description="How far the running stage is: of the run, or of its index.")
    active: bool = Field(False, description="Whether it serves.")
    request_id: str | None = Field(None, alias="requestID", description="The newest request for its promotion.")
    promotion: PromotionStatus | None = Field(None, description="What became of it.")
    deleted: bool = Field(False, description="The object is gone.")
    kind: Literal["ModelVersion"] = "ModelVersion"


class RunState(Contract):
    """How far a TrainingJob is."""

    name: str = Field(description="Name of the TrainingJob.")
    phase: Phase = Field(description="Where it is.")
    reason: str | None = Field(None, description="Why, in one CamelCase word.")
    message: str | None = Field(None, description="Why, with the numbers.")
    model_version: str | None = Field(None, description="ModelVersion that it makes.")
    progress: Progress | None = Field(None, description="How far the running stage is.")
    deleted: bool = Field(False, description="The object is gone.")
    kind: Literal["TrainingJob"] = "TrainingJob"
