"""Progress of a running stage: one JSON line on standard output, read by the operator as the tail of the pod's log."""

import json
from datetime import datetime

from pydantic import Field, ValidationError

from attune.contract.base import Contract

_KEY = "attuneProgress"


class Progress(Contract):
    """How far a stage is. Absent numbers are not known yet."""

    stage: str = Field(description="prepare, train, evaluate, index or import.")
    percent: float | None = Field(None, ge=0, le=100, description="Share of this stage that is done.")
    epoch: float | None = Field(None, ge=0, description="Epochs done, fractional.")
    step: int | None = Field(None, ge=0, description="Optimizer steps done.")
    loss: float | None = Field(None, description="Training loss, smoothed.")
    examples_per_second: float | None = Field(None, ge=0, description="Training examples per second.")
    estimated_remaining_seconds: float | None = Field(
        None, ge=0, description="Seconds until this stage is done, estimated."
    )
    updated_at: datetime | None = Field(None, description="When this was measured.")


def progress_line(progress: Progress) -> str:
    """The line a stage prints (without the line break)."""
    return json.dumps({_KEY: progress.model_dump(mode="json", by_alias=True, exclude_none=True)}, separators=(",", ":"))


def last_progress(log_tail: str) -> Progress | None:
    """The newest progress in a tail of log lines; lines of other programs and cut lines are passed over."""
    for line in reversed(log_tail.splitlines()):
        if _KEY not in line:
            continue
        try:
            return Progress.model_validate(json.loads(line)[_KEY])
        except (ValueError, KeyError, TypeError, ValidationError):
            continue
    return None
