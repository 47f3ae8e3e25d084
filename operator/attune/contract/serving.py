"""ServingConfig: what a serving replica is told (its one ConfigMap), and ReplicaReport: what it answers (/v1/versions)."""

import hashlib
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from attune.contract.base import Contract
from attune.contract.index import IndexSpec
from attune.contract.stage import ModelType

SERVING_KEY = "serving.json"
"""The key of the ConfigMap that holds the ServingConfig."""
PEERS_KEY = "peers.json"
"""The key beside it that names all replicas while a test runs: a JSON object, Pod → host:port. Replicas ask each other what was counted."""


class ServedVersion(Contract):
    """A version that replicas load: verified by its digest and golden answers before it may answer anything."""

    name: str = Field(description="Name of the ModelVersion.")
    type: ModelType
    uri: str = Field(description="Folder of the artifact.")
    digest: str = Field(description="sha256 of its manifest.json.")
    dimensions: int | None = Field(None, ge=1)
    embedding_space: str | None = None
    collection: str | None = Field(
        None, description="Its collection; absent for rerankers, and where there is nothing to search."
    )
    documents: int | None = Field(None, ge=0, description="Documents in the collection when it was complete.")
    path: Literal["local", "upstream"] = Field(
        "local", description="Answered by the model in memory, or by `upstream`."
    )


class ServedSplit(Contract):
    """The traffic of a running test: bucket(salt, query) < fraction * 10,000 goes to the challenger."""

    test: str = Field(description="Name of the ABTest.")
    challenger: str = Field(description="ModelVersion that gets the fraction.")
    fraction: float = Field(ge=0, le=1)
    salt: str = Field(description="Mixed into the hash, so that tests are independent of each other.")
    run: str = Field(
        "", description="Tells this test from others of the same name, in what is counted; the ABTest's uid."
    )


class ServedProbe(Contract):
    """Labelled queries that replicas ask themselves for a while after a promotion: held-out ones of a snapshot of training data."""

    uri: str = Field(description="Folder of the snapshot.")
    digest: str = Field(description="sha256 of its manifest.json.")
    seconds: float = Field(gt=0, description="For so long after this configuration began to answer.")
    queries: int = Field(64, ge=1, le=1000, description="How many of them, at most.")


class ServedModel(Contract):
    """Which version of one type answers. `active`, `previous` and the challenger are names in `versions`."""

    active: str
    previous: str | None = Field(None, description="Stays loaded: the inline guard and a rollback return to it.")
    split: ServedSplit | None = None
    probe: ServedProbe | None = Field(
        None, description="Absent where there is nothing to compare, or no labelled query."
    )


class ServedUpstream(Contract):
    """An inference server that answers in place of the local model. Its key: environment ATTUNE_UPSTREAM_API_KEY."""

    url: str
    api: Literal["openai", "tei"] = "openai"


class ServedJudge(Contract):
    """The language model that judges faithfulness on a sampled share of a test's queries. Its key: environment OPENAI_API_KEY."""

    url: str = Field(description="Root of its OpenAI API, e.g. https://api.openai.com/v1.")
    model: str
    share: float = Field(ge=0, le=1, description="Share of the distinct queries that are judged.")
    per_minute: float = Field(gt=0, description="Judgements a minute of each replica, at most.")
    tokens_per_day: int = Field(ge=0, description="Tokens a day of each replica; beyond, nothing is judged.")


class ServingConfig(Contract):
    """Everything a replica needs. It keeps serving the last one it had, whatever is away."""

    contract: Literal["attune.dev/serving/v1alpha1"] = "attune.dev/serving/v1alpha1"
    namespace: str
    retriever: str
    generation: int = Field(ge=1, description="Counts changes of what is served (Retriever.status.servingGeneration).")
    embedding: ServedModel | None = Field(None, description="Absent until the first version is active.")
    reranker: ServedModel | None = None
    versions: tuple[ServedVersion, ...] = Field((), description="What to load: all that is pointed to, and preloads.")
    index: IndexSpec | None = Field(None, description="Where the collections are; absent: nothing to search.")
    inline_guard: bool = Field(
        True, description="A request that fails in a new version is answered by the previous one."
    )
    upstream: ServedUpstream | None = None
    judge: ServedJudge | None = Field(None, description="Absent: faithfulness is not measured on live traffic.")

    def of(self, model_type: ModelType) -> ServedModel | None:
        """The pointers of this type."""
        return self.embedding if model_type is ModelType.EMBEDDING else self.reranker

    def version(self, name: str) -> ServedVersion | None:
        """The version of this name, if it is to be loaded."""
        return next((v for v in self.versions if v.name == name), None)

    def digest(self) -> str:
        """`sha256:<hex>` of the JSON: what a replica reports as `configDigest` once it acts by it."""
        return "sha256:" + hashlib.sha256(self.to_json().encode()).hexdigest()


class VersionState(StrEnum):
    """How far a replica is with a version."""

    LOADING = "Loading"
    READY = "Ready"
    FAILED = "Failed"


class VersionReport(Contract):
    """One version in one replica."""

    name: str
    type: ModelType
    digest: str
    state: VersionState
    reason: str | None = Field(None, description="CamelCase, where it failed: ArtifactCorrupt, StoreUnavailable, …")
    message: Annotated[str, Field(max_length=1024)] | None = None
    collection: str | None = Field(None, description="The collection it searches, once that was found to be there.")


class GuardReport(Contract):
    """What the inline guard of one replica did for a version: the last attempts, and whether it is still asked."""

    version: str
    type: ModelType
    open: bool = Field(description="Not asked any more: the previous version answers.")
    failures: int = Field(
        ge=0,
        description="Failed ones of the last attempts; those that the previous version failed at, too, are left out.",
    )
    attempts: int = Field(ge=0, description="How many the last attempts are.")
    reason: str = Field("", max_length=64, description="What went wrong most often: model_failed, timed_out, …")
    message: Annotated[str, Field(max_length=256)] = Field("", description="The newest failure, in words.")


class ProbeReport(Contract):
    """The newest probe of a version: labelled queries, with a relevant document among the first ten, or not."""

    version: str
    type: ModelType
    previous: str = Field(description="The version that was asked the same.")
    queries: int = Field(ge=0)
    hits: int = Field(ge=0, description="Queries with a relevant document among the first ten.")
    previous_hits: int = Field(ge=0, description="The same, of the previous version.")
    lost: int = Field(ge=0, description="Queries that only the previous version had an answer to.")
    won: int = Field(ge=0, description="Queries that only this version had an answer to.")


class ReplicaReport(Contract):
    """GET /v1/versions."""

    contract: Literal["attune.dev/replica/v1alpha1"] = "attune.dev/replica/v1alpha1"
    replica: str = Field(description="Name of the Pod, or of the machine.")
    process: str = Field("", description="This process: the label of its counters, another one after each start.")
    namespace: str | None = None
    retriever: str | None = None
    generation: int | None = Field(None, description="Of the configuration that answers traffic now.")
    config_digest: str | None = Field(None, description="Digest of the newest valid configuration it has read.")
    problem: str | None = Field(None, description="Why the newest configuration is not followed: invalid, not ready, …")
    active: dict[str, str] = Field(default_factory=dict, description="Type → version that answers now.")
    versions: tuple[VersionReport, ...] = ()
    guards: tuple[GuardReport, ...] = Field((), description="Of the active versions that have a previous one.")
    probes: tuple[ProbeReport, ...] = Field((), description="Of the active versions that are probed.")

    def ready(self, name: str, digest: str) -> bool:
        """Whether this replica could answer by that version at once."""
        return any(v.name == name and v.digest == digest and v.state is VersionState.READY for v in self.versions)
