"""Answers about ABTests: what `kubectl attune test show -o json` says, and what is stored."""

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from attune.api import ABTestPhase, ABTestSpec, ABTestStatus, Look, TestPromotion, Winner
from attune.contract import Contract
from attune.messages.versions import NEXT


class TestRow(Contract):
    """An ABTest in a list."""

    __test__: ClassVar[bool] = False  # no test of pytest's

    name: str = Field(description="Name of the ABTest.")
    namespace: str = Field(description="Its namespace.")
    retriever: str = Field(description="Retriever whose queries it splits.")
    phase: ABTestPhase = Field(description="Where it is; Pending before the operator saw it.")
    a: str | None = Field(None, description="ModelVersion of arm A; absent until it starts, where none is named.")
    b: str = Field(description="ModelVersion of arm B, the challenger.")
    split: float = Field(description="Share of queries that B answers.")
    samples_a: int | None = Field(None, description="Distinct queries of A.")
    samples_b: int | None = Field(None, description="Distinct queries of B.")
    winner: Winner | None = Field(None, description="A, B or inconclusive.")
    since: datetime | None = Field(None, description="When its phase began.")
    created_at: datetime | None = Field(None, description="When it was created.")


class TestPage(Contract):
    """A page of ABTests, the newest first."""

    __test__: ClassVar[bool] = False

    items: tuple[TestRow, ...] = Field(description="The ABTests.")
    next_cursor: str | None = Field(None, description=NEXT)


class MetricArm(Contract):
    """One arm's number; of latency the geometric mean in milliseconds."""

    value: float = Field(description="Mean.")
    samples: int | None = Field(None, description="Samples it is the mean of.")
    p99: float | None = Field(None, description="latency only: the 99th percentile in milliseconds, for reading.")


class MetricResult(Contract):
    """One metric, and what it says for the decision. Differences are B minus A, in the unit of the metric."""

    name: str = Field(description="Its name.")
    role: str = Field(description="primary, success, guardrail; shown: no metric of the test.")
    direction: str = Field(description="increase or decrease: which change is good.")
    margin: float | None = Field(None, description="nonInferiorityMargin of a guardrail.")
    a: MetricArm | None = Field(None, description="Arm A; absent before it has a value.")
    b: MetricArm | None = Field(None, description="Arm B.")
    difference: float | None = Field(None, description="B minus A.")
    low: float | None = Field(None, description="Lower end of its interval.")
    high: float | None = Field(None, description="Upper end of its interval.")
    percent: float | None = Field(None, description="The difference in percent of A; absent where A is about 0.")
    low_percent: float | None = Field(None, description="Lower end, in percent of A.")
    high_percent: float | None = Field(None, description="Upper end, in percent of A.")
    p: float | None = Field(None, description="p-value, corrected for the number of metrics.")
    level: float | None = Field(None, description="Level of the interval, e.g. 0.95.")
    harmful_from: float | None = Field(None, description="Difference from which on a guardrail is harmed.")
    meaning: str = Field(description="better, worse, open, withinMargin, harmed, noValues or notTested.")


class Rules(Contract):
    """How it is decided."""

    method: str = Field(description="sequential, groupSequential or fixedHorizon.")
    alpha: float = Field(description="Probability of calling a difference that is none.")
    correction: str = Field(description="holm or bonferroni.")
    samples: int | None = Field(None, description="fixedHorizon: distinct queries of each arm at the one look.")
    min_samples: int = Field(description="Distinct queries per arm before anything is decided.")
    max_duration: str = Field(description="After this time it ends.")


class Attention(Contract):
    """A condition that is not as it should be."""

    type: str = Field(description="Type of the condition.")
    reason: str = Field(description="Its reason.")
    message: str = Field(description="What is wrong, with the numbers.")
    since: datetime | None = Field(None, description="Since when.")


class TestDetail(TestRow):
    """An ABTest with its result."""

    __test__: ClassVar[bool] = False

    reason: str | None = Field(None, description="Why it is in this phase, in one CamelCase word.")
    message: str | None = Field(None, description="Why it is in this phase, with the numbers.")
    started_at: datetime | None = Field(None, description="When the split was first served.")
    ends_at: datetime | None = Field(None, description="When it ends at the latest, while it runs.")
    concluded_at: datetime | None = Field(None, description="When it ended.")
    looked_at: datetime | None = Field(None, description="When the metrics were last read.")
    confidence: float | None = Field(None, description="1 minus the p-value of the primary metric.")
    rules: Rules = Field(description="How it is decided.")
    metrics: tuple[MetricResult, ...] = Field(description="What was measured, and what it means.")
    sample_ratio_p_value: float | None = Field(None, description="Below 0.001 the result is not to be trusted.")
    problems: tuple[Attention, ...] = Field((), description="What is wrong.")
    notes: str | None = Field(None, description="What a reader of the numbers should know.")
    recommendation: str | None = Field(None, description="What to do, in a sentence with the numbers.")
    promotion: TestPromotion | None = Field(None, description="What became of B's promotion.")
    looks: tuple[Look, ...] = Field((), description="The primary metric over time.")
    spec: ABTestSpec = Field(description="The rules, as they are stored.")
    status: ABTestStatus = Field(description="What the operator says of it.")


class Cancelling(Contract):
    """A test that was asked to end."""

    name: str = Field(description="Name of the ABTest.")
    phase: ABTestPhase = Field(description="Where it is.")
    message: str = Field(description="In words.")
