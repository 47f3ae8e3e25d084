"""Bodies of the POSTs. Fields of a TrainingJob and an ABTest are those of the custom resources, bounds and defaults too."""

from typing import Annotated

from pydantic import Field

from attune.api import ABTestSpec, TrainingJobSpec
from attune.api.values import ObjectName
from attune.contract import Contract

_NAME = "Name of the object; unset: one is made from the Retriever's."
RequestId = Annotated[str, Field(min_length=1, max_length=128)]


class TrainRequest(TrainingJobSpec):
    """A TrainingJob to create: its spec, and a name."""

    name: ObjectName | None = Field(None, description=_NAME)


class ABTestRequest(ABTestSpec):
    """An ABTest to create: its spec, and a name."""

    name: ObjectName | None = Field(None, description=_NAME)


class MoveRequest(Contract):
    """How a version is asked for. An empty body is fine."""

    request_id: RequestId | None = Field(
        None,
        alias="requestID",
        description="The promotion.requestID to set; unset: made from Idempotency-Key, or a new one.",
    )
    force: bool = Field(
        False, description="true: also the other way round, or a version that was taken back, is meant."
    )
