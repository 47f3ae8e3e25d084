"""Answers about Retrievers: what serves, what is on its way, what is wrong; and who the caller is."""

from datetime import datetime
from typing import Any

from pydantic import Field

from attune.api import Change, Condition, Quarantined
from attune.contract import Contract, ModelType
from attune.messages.ab_tests import Attention
from attune.messages.versions import NEXT


class ServedSplit(Contract):
    """The traffic of a running test."""

    test: str = Field(description="Name of the ABTest.")
    challenger: str = Field(description="ModelVersion that gets the fraction.")
    fraction: float = Field(description="Share of queries that it answers.")
    uid: str | None = Field(None, description="uid of the ABTest.")


class Served(Contract):
    """What serves of one type."""

    active: str | None = Field(None, description="ModelVersion that serves.")
    since: datetime | None = Field(None, description="Since when.")
    previous: str | None = Field(None, description="ModelVersion that a rollback leads back to.")
    split: ServedSplit | None = Field(None, description="The running test, if any.")
    metrics: dict[str, float] | None = Field(None, description="What was measured of the active version.")
    improvement_percent: float | None = Field(None, description="Its change of nDCG@10 when it was measured.")
    index: dict[str, Any] | None = Field(None, description="Its collection.")
    staged: tuple[str, ...] | None = Field(None, description="Versions that could be promoted.")


class Promoting(Contract):
    """A version that is about to become active, or is loaded for a test."""

    type: ModelType = Field(description="embedding or reranker.")
    version: str = Field(description="The ModelVersion.")
    request_id: str = Field(alias="requestID", description="The request that asks for it.")
    test: str | None = Field(None, description="ABTest that it is loaded for.")
    since: datetime = Field(description="When it was accepted.")
    message: str | None = Field(None, description="What it waits for.")


class Training(Contract):
    """A run that is not over."""

    name: str = Field(description="Name of the TrainingJob.")
    type: ModelType = Field(description="embedding or reranker.")
    phase: str | None = Field(None, description="Where it is.")
    percent: float | None = Field(None, description="Share of the running stage that is done.")
    remaining_seconds: float | None = Field(None, description="Until the running stage is done, estimated.")
    message: str | None = Field(None, description="Why it is in this phase.")


class Testing(Contract):
    """A test that is not over."""

    name: str = Field(description="Name of the ABTest.")
    phase: str | None = Field(None, description="Where it is.")
    a: str | None = Field(None, description="ModelVersion of arm A.")
    b: str = Field(description="ModelVersion of arm B.")
    fraction: float = Field(description="Share of queries that B answers.")
    started_at: datetime | None = Field(None, description="When the split was first served.")
    message: str | None = Field(None, description="Why it is in this phase.")
    samples_a: int | None = Field(None, description="Distinct queries of A.")
    samples_b: int | None = Field(None, description="Distinct queries of B.")


class Scheduled(Contract):
    """A TrainingSchedule, in a few numbers."""

    name: str = Field(description="Name of the TrainingSchedule.")
    type: ModelType = Field(description="embedding or reranker.")
    next_preparation: datetime | None = Field(None, description="When data is prepared next.")
    next_training: datetime | None = Field(None, description="When training is considered next.")
    new_pairs: int | None = Field(None, description="Pairs that are new since the last training.")
    min_new_pairs: int = Field(description="With fewer of them nothing is trained.")
    last_training: datetime | None = Field(None, description="Scheduled time of the last training.")
    not_ready: str | None = Field(None, description="Why nothing happens.")
    skipped: str | None = Field(None, description="Why the last time of training started none.")


class RetrieverView(Contract):
    """A Retriever: what serves, what is on its way, what is wrong. As `kubectl attune status -o json`.

    What the caller may not list is absent, and named in `hidden`.
    """

    retriever: str = Field(description="Name of the Retriever.")
    namespace: str = Field(description="Its namespace.")
    created_at: datetime | None = Field(None, description="When it was created.")
    generation: int | None = Field(None, description="Counts changes of what is served.")
    models: dict[ModelType, Served] = Field(description="What serves, by type.")
    promoting: tuple[Promoting, ...] = Field((), description="Versions on their way.")
    training: tuple[Training, ...] | None = Field(None, description="Runs that are not over.")
    tests: tuple[Testing, ...] | None = Field(None, description="Tests that are not over.")
    schedules: tuple[Scheduled, ...] | None = Field(None, description="When it is trained again.")
    quarantined: tuple[Quarantined, ...] = Field((), description="Versions that were taken back.")
    serving: str | None = Field(None, description="What its replicas do, in words.")
    problems: tuple[Attention, ...] = Field((), description="Conditions that need attention.")
    conditions: tuple[Condition, ...] = Field((), description="All conditions.")
    changes: tuple[Change, ...] = Field((), description="The newest changes of what serves, the oldest first.")
    hidden: tuple[str, ...] = Field((), description="Resources that the caller may not list: what they say is absent.")


class RetrieverPage(Contract):
    """A page of Retrievers, the newest first."""

    items: tuple[RetrieverView, ...] = Field(description="The Retrievers.")
    next_cursor: str | None = Field(None, description=NEXT)


class WhoAmI(Contract):
    """Who the caller is, and what the caller may do in the namespace."""

    user: str = Field(description="Name of the user, as the API server knows it.")
    groups: tuple[str, ...] = Field((), description="Groups of the user.")
    namespace: str = Field(description="The namespace that was asked about.")
    rights: dict[str, tuple[str, ...]] = Field(description="Resource → verbs that are allowed on it.")
    actions: dict[str, bool] = Field(
        description="train, promote, rollback, abTest, cancelABTest, deleteRun: whether the caller may."
    )
