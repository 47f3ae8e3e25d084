"""What a Retriever's status says: which versions serve, what is on its way, and how that came about."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from attune.api.base import ApiModel, Time
from attune.api.display import percent, shown
from attune.api.notifications import NotifyingStatus
from attune.contract import ModelType


class Split(ApiModel):
    """The traffic of a running test."""

    test: str = Field(description="Name of the ABTest.")
    challenger: str = Field(description="ModelVersion that gets the fraction.")
    fraction: float = Field(ge=0, le=1, description="Share of queries that the challenger answers.")
    uid: str | None = Field(
        None, max_length=64, description="uid of the ABTest: another one of the same name is another test."
    )


class Action(StrEnum):
    """What changed which version serves."""

    IMPORTED = "Imported"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"


class PromotionResult(StrEnum):
    """What became of a request for promotion."""

    PENDING = "Pending"
    PROMOTED = "Promoted"
    ROLLED_BACK = "RolledBack"
    REFUSED = "Refused"


CAUSE_LENGTH = 240
"""Of every sentence in a bounded list, so that the object stays under 10 kB."""


class Change(ApiModel):
    """One move of the pointer: who serves since when, and why."""

    type: ModelType = Field(description="embedding or reranker.")
    version: str = Field(description="ModelVersion that became active.")
    previous: str | None = Field(None, description="ModelVersion that it took over from.")
    action: Action = Field(description="Imported, Promoted or RolledBack.")
    request_id: str | None = Field(None, alias="requestID", description="The promotion.requestID that asked for it.")
    cause: str | None = Field(None, max_length=CAUSE_LENGTH, description="Why, with the numbers.")
    at: Time = Field(description="When.")


class Quarantined(ApiModel):
    """A version that was rolled back. Only a new, explicit request can promote it again."""

    version: str = Field(description="Name of the ModelVersion.")
    cause: str = Field(max_length=CAUSE_LENGTH, description="Why it was taken back, with the numbers.")
    at: Time = Field(description="When.")


class Candidate(ApiModel):
    """A version on its way to become active: servers load it, and the operator waits for all of them."""

    type: ModelType = Field(description="embedding or reranker.")
    version: str = Field(description="ModelVersion that is to become active.")
    request_id: str = Field(
        alias="requestID",
        max_length=384,
        description="The promotion.requestID that asks for it; auto, or abtest:NAME, where nobody had to ask.",
    )
    test: str | None = Field(None, description="ABTest that it is loaded for; unset: it is to become active.")
    since: Time = Field(description="When it was accepted.")
    message: str | None = Field(None, max_length=CAUSE_LENGTH, description="What it waits for.")


class Outcome(ApiModel):
    """The answer to one request for promotion. Its version takes it over into status.promotion."""

    version: str = Field(description="ModelVersion that was asked for.")
    request_id: str = Field(
        alias="requestID", max_length=384, description="The request; auto, or abtest:NAME, where nobody had to ask."
    )
    result: PromotionResult = Field(description="Promoted, RolledBack or Refused.")
    message: str | None = Field(None, max_length=CAUSE_LENGTH, description="Why, with the numbers.")
    at: Time = Field(description="When.")


class TestResult(StrEnum):
    """What the Retriever answered an ABTest."""

    __test__ = False  # no test of pytest's

    REFUSED = "Refused"
    PROMOTED = "Promoted"
    LOST = "Lost"


class TestOutcome(ApiModel):
    """The answer to an ABTest: it cannot run, its challenger was promoted, or lost. Test and version take it over."""

    __test__: ClassVar[bool] = False

    test: str = Field(description="Name of the ABTest.")
    uid: str = Field(max_length=64, description="Its uid.")
    version: str = Field(description="The challenger.")
    result: TestResult = Field(description="Refused, Promoted or Lost.")
    message: str = Field(max_length=CAUSE_LENGTH, description="Why, with the numbers.")
    at: Time = Field(description="When.")


class ActiveModel(ApiModel):
    """Which versions of one type serve. The only place where this is written down."""

    active: str | None = Field(None, description="ModelVersion that serves.")
    previous: str | None = Field(None, description="ModelVersion that served before, and that a rollback returns to.")
    split: Split | None = Field(None, description="The running test, if any.")
    promoted_at: Time | None = Field(None, description="When active became active.")
    baseline_error_rate: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Error rate of the version before, over rollback.window before the promotion; unset: not known, and "
        "rollback.minErrorRate stands for it.",
    )
    baseline_requests: int | None = Field(None, ge=0, description="Requests behind baselineErrorRate.")
    baseline_latency_p99_seconds: float | None = Field(
        None, ge=0, description="99th percentile of latency in the same time; only where latencyP99Multiplier is set."
    )


class AlertAction(StrEnum):
    """What came of an alert."""

    ROLLED_BACK = "RolledBack"
    IGNORED = "Ignored"


class HandledAlert(ApiModel):
    """An alert that was dealt with; Alertmanager delivers it again and again."""

    fingerprint: str = Field(max_length=64, description="Alertmanager's fingerprint.")
    starts_at: Time = Field(description="When the alert began.")
    action: AlertAction = Field(description="What came of it.")
    version: str | None = Field(None, max_length=253, description="ModelVersion that it names.")


class RetrieverSummary(ApiModel):
    """For `kubectl get`."""

    test: str | None = Field(None, description="Challenger and share of the running test.")


class RetrieverStatus(NotifyingStatus):
    """Which versions serve, and how it goes."""

    embedding: ActiveModel | None = Field(None, description="Which embedding versions serve.")
    reranker: ActiveModel | None = Field(None, description="Which reranker versions serve.")
    serving_generation: int | None = Field(
        None, ge=0, description="Counts changes of what is served; servers report the one they have."
    )
    candidates: Annotated[tuple[Candidate, ...], Field(max_length=2)] | None = Field(
        None, description="Versions that are about to become active, at most one of each type."
    )
    outcomes: Annotated[tuple[Outcome, ...], Field(max_length=6)] | None = Field(
        None, description="The newest answers to requests for promotion, newest last."
    )
    test_outcomes: Annotated[tuple[TestOutcome, ...], Field(max_length=6)] | None = Field(
        None, description="The newest answers to ABTests, newest last."
    )
    changes: Annotated[tuple[Change, ...], Field(max_length=10)] | None = Field(
        None, description="The newest moves of the pointers, newest last."
    )
    quarantined: Annotated[tuple[Quarantined, ...], Field(max_length=6)] | None = Field(
        None, description="Versions that were rolled back; only a new request promotes one of them again."
    )
    handled_alerts: Annotated[tuple[HandledAlert, ...], Field(max_length=20)] | None = Field(
        None, description="The newest alerts that were dealt with."
    )

    @shown
    def summary(self) -> RetrieverSummary | None:
        """The same facts for `kubectl get`."""
        split = next((m.split for m in (self.embedding, self.reranker) if m is not None and m.split is not None), None)
        return RetrieverSummary(test=f"{split.challenger} {percent(100 * split.fraction)}") if split else None

    def of(self, model_type: ModelType) -> ActiveModel | None:
        """The pointer of this type; None while nothing was ever active."""
        return self.embedding if model_type is ModelType.EMBEDDING else self.reranker

    def candidate(self, model_type: ModelType) -> Candidate | None:
        """The version of this type that is about to become active."""
        return next((c for c in self.candidates or () if c.type is model_type), None)

    def is_quarantined(self, version: str) -> bool:
        """Whether it was rolled back, and not promoted again since."""
        return any(q.version == version for q in self.quarantined or ())
