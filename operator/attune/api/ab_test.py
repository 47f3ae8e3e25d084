"""ABTest: one experiment between two versions, on live traffic."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attune.api.base import ApiModel, Resource, Time
from attune.api.display import shown
from attune.api.experiment import ExperimentSettings
from attune.api.notifications import NotifyingStatus
from attune.api.retriever_status import PromotionResult
from attune.api.rules import Rule, immutable
from attune.api.values import ObjectName
from attune.contract.metrics import Interval


class ABTestPhase(StrEnum):
    """Where a test is. Concluded, Cancelled and Failed are final."""

    PENDING = "Pending"
    RUNNING = "Running"
    CONCLUDED = "Concluded"
    CANCELLED = "Cancelled"
    FAILED = "Failed"


class ABTestSpec(ExperimentSettings):
    """One experiment: A is what serves now, B the challenger. Its rules cannot be changed while it runs."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.modelA) || self.modelA != self.modelB",
            "modelA and modelB are the same version; name another one, or leave modelA out to use the active version",
            path=".modelB",
        ),
        *immutable(
            "a test is decided by the rules it was started with; cancel it and create another ABTest",
            *("retriever", "modelA", "modelB", "minSamples", "metrics", "analysis"),
        ),
        Rule(
            "self.trafficSplit >= oldSelf.trafficSplit",
            "trafficSplit may only be raised: queries that B answers would go back to A; cancel the test to stop it",
            path=".trafficSplit",
        ),
        Rule(
            "self.cancel || !oldSelf.cancel",
            "a test that was cancelled stays so; create another ABTest",
            path=".cancel",
        ),
    )

    retriever: ObjectName = Field(description="Name of the Retriever in the same namespace.")
    model_a: ObjectName | None = Field(
        None, description="ModelVersion of arm A; unset: the active version at the start."
    )
    model_b: ObjectName = Field(
        description="ModelVersion of arm B, the challenger: staged, of the same Retriever and type."
    )
    auto_promote: bool = Field(False, description="Promote B if it wins.")
    cancel: bool = Field(False, description="true ends the test; all queries go to A again.")


class Winner(StrEnum):
    """The outcome of a test."""

    A = "A"
    B = "B"
    INCONCLUSIVE = "inconclusive"


class ArmMetric(ApiModel):
    """One metric of one arm."""

    mean: float = Field(description="Mean over the samples.")
    samples: int = Field(ge=0, description="Samples it is the mean of.")
    standard_error: float | None = Field(None, ge=0, description="Standard error of the mean.")
    p99_milliseconds: float | None = Field(
        None,
        ge=0,
        description="latency only: the 99th percentile over all requests, for reading; nothing is decided by it.",
    )


class Look(ApiModel):
    """What one look at the primary metric showed; for the plot, and for the planned looks of groupSequential."""

    at: Time = Field(description="When.")
    samples_a: int = Field(ge=0, description="Distinct queries of A by then.")
    samples_b: int = Field(ge=0, description="Distinct queries of B by then.")
    difference: float | None = Field(None, description="B minus A.")
    low: float | None = Field(None, description="Lower end of the interval.")
    high: float | None = Field(None, description="Upper end of the interval.")


class PlannedLook(ApiModel):
    """One of the looks that groupSequential spends alpha on."""

    at: Time = Field(description="When.")
    samples: int = Field(ge=0, description="Distinct queries of both arms by then.")


class TestPromotion(ApiModel):
    """What became of B's promotion after it won."""

    __test__: ClassVar[bool] = False  # no test of pytest's

    result: PromotionResult = Field(description="Pending, Promoted or Refused.")
    message: str | None = Field(None, max_length=512, description="What it waits for, or why it was refused.")


MOST_LOOKS = 20
"""Looks that are kept of a test, so that the object stays under 10 kB."""


class ABTestSummary(ApiModel):
    """For `kubectl get`."""

    samples: str | None = Field(None, description="Distinct queries of A and of B.")


class ABTestStatus(NotifyingStatus):
    """How the test stands, and what came of it."""

    phase: ABTestPhase | None = Field(None, description="Pending, Running, Concluded, Cancelled or Failed.")
    reason: str | None = Field(None, description="Why it is in this phase, in one CamelCase word.")
    message: str | None = Field(None, description="Why it is in this phase, with the numbers.")
    model_a: str | None = Field(None, description="ModelVersion of arm A, as resolved at the start.")
    winner: Winner | None = Field(None, description="A, B or inconclusive.")
    samples_a: int | None = Field(None, ge=0, description="Distinct queries of arm A.")
    samples_b: int | None = Field(None, ge=0, description="Distinct queries of arm B.")
    metrics_a: dict[str, ArmMetric] | None = Field(None, description="Metrics of arm A, by name.")
    metrics_b: dict[str, ArmMetric] | None = Field(None, description="Metrics of arm B, by name.")
    p_values: dict[str, float] | None = Field(
        None, description="p-values by metric, corrected; valid at any time with method sequential."
    )
    intervals: dict[str, Interval] | None = Field(None, description="Confidence intervals of B minus A, by metric.")
    confidence: float | None = Field(None, ge=0, le=1, description="1 minus the p-value of the primary metric.")
    sample_ratio_p_value: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Below 0.001 the arms do not get the shares they should, and the result is not to be trusted.",
    )
    recommendation: str | None = Field(None, description="What to do, in a sentence with the numbers.")
    started_at: Time | None = Field(None, description="When the split was first served.")
    looked_at: Time | None = Field(None, description="When the metrics were last read.")
    ledger: str | None = Field(
        None,
        max_length=128,
        description="Which ledger of counted queries the numbers are of; p-values of another one do not count.",
    )
    lowest_p_values: dict[str, float] | None = Field(
        None,
        description="Smallest p-value by metric since its difference last changed its sign, not corrected; pValues are made from them.",
    )
    looks: Annotated[tuple[Look, ...], Field(max_length=MOST_LOOKS)] | None = Field(
        None, description="The primary metric over time, thinned out."
    )
    planned_looks: Annotated[tuple[PlannedLook, ...], Field(max_length=MOST_LOOKS)] | None = Field(
        None, description="groupSequential only: the looks that were taken."
    )
    promotion: TestPromotion | None = Field(None, description="autoPromote: what became of B's promotion.")
    concluded_at: Time | None = Field(None, description="When it ended.")

    @shown
    def summary(self) -> ABTestSummary | None:
        """The same numbers for `kubectl get`."""
        if self.samples_a is None and self.samples_b is None:
            return None
        return ABTestSummary(samples=f"{self.samples_a or 0}/{self.samples_b or 0}")


class ABTest(Resource):
    """An ABTest as the API server stores it."""

    kind: Literal["ABTest"] = "ABTest"
    spec: ABTestSpec
    status: ABTestStatus = Field(default_factory=ABTestStatus)
