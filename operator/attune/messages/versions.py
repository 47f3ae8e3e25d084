"""Answers about versions and their past."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from attune.api import ModelVersionSpec, ModelVersionStatus, PromotionStatus, VersionStage
from attune.api.model_version import VersionSource
from attune.contract import Contract, ModelType
from attune.contract.metrics import Interval

NEXT = "Where the next page begins: the parameter cursor of the next request; absent on the last page."


class Version(Contract):
    """A ModelVersion in a list. A metric that was not measured is absent."""

    name: str = Field(description="Name of the ModelVersion.")
    namespace: str = Field(description="Its namespace.")
    retriever: str = Field(description="Retriever it belongs to.")
    type: ModelType = Field(description="embedding or reranker.")
    version: int = Field(description="Its number.")
    stage: VersionStage | None = Field(None, description="Where it is in its life; absent before the operator saw it.")
    base_model: str = Field(description="Model it was trained from, or that was imported.")
    source: VersionSource = Field(description="The run or the import it comes from.")
    metrics: dict[str, float] = Field(default_factory=dict, description="What was measured on held-out queries.")
    improvement_percent: float | None = Field(
        None, description="Change of nDCG@10 against the version that was active then."
    )
    verdict: str | None = Field(None, description="better, notWorse or worse than the version that was active then.")
    queries: int | None = Field(None, description="Held-out queries behind the metrics.")
    intervals: dict[str, Interval] | None = Field(
        None, description="95% intervals of the difference to the version that was active then, by metric."
    )
    baseline: dict[str, float] | None = Field(None, description="The same metrics of the version that was active then.")
    documents: int | None = Field(None, description="Documents in its collection.")
    created_at: datetime | None = Field(None, description="When it was created.")
    promoted_at: datetime | None = Field(None, description="When it last became active.")
    deprecated_at: datetime | None = Field(None, description="When it last ceased to be active.")
    retired: str | None = Field(None, description="Retiring or Retired: its files are deleted; absent: they are there.")
    notes: str | None = Field(None, description="What else is to be known, e.g. why it failed.")
    request_id: str | None = Field(None, alias="requestID", description="The newest request for its promotion.")
    promotion: PromotionStatus | None = Field(None, description="What became of it.")


class VersionPage(Contract):
    """A page of versions, the newest first."""

    items: tuple[Version, ...] = Field(description="The versions.")
    next_cursor: str | None = Field(None, description=NEXT)


class VersionDetail(Version):
    """A ModelVersion with everything that is stored of it."""

    spec: ModelVersionSpec = Field(description="What it was made as.")
    status: ModelVersionStatus = Field(description="What the operator says of it.")


class Moved(Contract):
    """What was asked for. The events of the version tell what becomes of it."""

    version: str = Field(description="The ModelVersion that is to serve.")
    request_id: str = Field(alias="requestID", description="The request that was stored.")
    before: str | None = Field(None, description="The version that serves now.")
    result: Literal["Asked", "Pending", "Promoted", "RolledBack", "Refused"] = Field(
        description="Asked; or, where the same request was made before, what became of it."
    )
    message: str = Field(description="In words.")


class EntryKind(StrEnum):
    """What a dated entry is about."""

    DATA = "data"
    RUN = "run"
    VERSION = "version"
    TEST = "test"
    PROMOTION = "promotion"
    ROLLBACK = "rollback"
    RETIREMENT = "retirement"


class Subject(Contract):
    """The object that says so."""

    kind: str = Field(description="Retriever, TrainingJob, ModelVersion or ABTest.")
    name: str = Field(description="Its name.")


class Entry(Contract):
    """Something that happened, as the stored objects tell it."""

    at: datetime = Field(description="When.")
    kind: EntryKind = Field(description="What it is about.")
    what: str = Field(description="One CamelCase word for programs.")
    message: str = Field(description="In words, with the numbers.")
    object: Subject = Field(description="The object that says so.")


class Timeline(Contract):
    """The past of a version: data, run, version, test, promotion, rollback. The oldest entry first."""

    version: str = Field(description="The ModelVersion.")
    entries: tuple[Entry, ...] = Field(description="What happened.")
    hidden: tuple[str, ...] = Field(
        (), description="Resources that the caller may not read: their entries are missing."
    )
