"""The rules of an experiment, shared by ABTest and by a TrainingJob that ends in one."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attune.api.base import ApiModel
from attune.api.rules import Rule, map_keyed_by
from attune.api.values import Duration, duration_between


class Metric(ApiModel):
    """One metric of an experiment."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.role != 'guardrail' || has(self.nonInferiorityMargin)",
            "a guardrail needs nonInferiorityMargin: how much worse B may be and still pass, e.g. 0.02",
            path=".nonInferiorityMargin",
        ),
        Rule(
            "self.role == 'guardrail' || !has(self.nonInferiorityMargin)",
            "nonInferiorityMargin is for guardrails only; remove it, or set role: guardrail",
            path=".nonInferiorityMargin",
        ),
        Rule(
            "!(self.name in ['latency', 'error']) || self.direction == 'decrease'",
            "latency and error are better when they are lower; set direction: decrease",
            path=".direction",
        ),
    )

    name: str = Field(
        min_length=1,
        max_length=63,
        pattern="^[a-zA-Z][a-zA-Z0-9_]*$",
        description="latency (the logarithm of milliseconds) and error (0 or 1) are measured by serving, faithfulness by "
        "the judge; any other name is what the application sends to /v1/feedback: clickThrough, answerAccepted, …",
    )
    role: Literal["primary", "success", "guardrail"] = Field(
        "success",
        description="primary decides; success must not contradict it; a guardrail must not get worse than its margin.",
    )
    direction: Literal["increase", "decrease"] = Field("increase", description="Which change is good.")
    non_inferiority_margin: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Guardrails only: how much worse B may be, as a share of A's value; for error as a share of A's rate of "
        "success, so 0.01 lets B fail in one request of a hundred more.",
    )


class Analysis(ApiModel):
    """How it is decided."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.method == 'fixedHorizon' || !has(self.samples)",
            "samples is for fixedHorizon only: the other methods may look at any time; remove it, or set method: fixedHorizon",
            path=".samples",
        ),
    )

    method: Literal["sequential", "groupSequential", "fixedHorizon"] = Field(
        "sequential",
        description="sequential: may be looked at any time. groupSequential: at a few planned looks. "
        "fixedHorizon: once, at the end.",
    )
    alpha: float = Field(0.05, gt=0, le=0.5, description="Probability of calling a difference that is none.")
    correction: Literal["holm", "bonferroni"] = Field(
        "holm", description="Correction for several metrics (primary and success; guardrails need none)."
    )
    samples: int | None = Field(
        None,
        ge=2,
        le=100_000_000,
        description="fixedHorizon only: look once as soon as both arms have this many distinct queries; unset: at maxDuration.",
    )
    interval: Annotated[Duration, duration_between("10s", "24h")] = Field(
        "60s", description="How often the metrics are read."
    )


Metrics = Annotated[tuple[Metric, ...], Field(min_length=1, max_length=10), map_keyed_by("name")]


class ExperimentSettings(ApiModel):
    """The rules of an experiment."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metrics.exists_one(m, m.role == 'primary')",
            "exactly one metric must have role primary; the others are success or guardrail",
            path=".metrics",
        ),
    )

    traffic_split: float = Field(
        0.2, gt=0, lt=1, description="Share of queries that B answers; once the test runs it may only be raised."
    )
    min_samples: int = Field(
        100, ge=1, le=100_000_000, description="Distinct queries per arm before anything is decided."
    )
    max_duration: Annotated[Duration, duration_between("1m", "2160h")] = Field(
        "168h", description="After this time the test ends, as inconclusive if nothing was shown."
    )
    metrics: Metrics = Field(description="What is compared; exactly one is primary.")
    analysis: Analysis = Field(default_factory=Analysis, description="How it is decided.")
