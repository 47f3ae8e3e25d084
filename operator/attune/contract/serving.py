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


class ServedModel(Contract):
    """Which version of one type answers. `active`, `previous` and the challenger are names in `versions`."""

    active: str
    previous: str | None = Field(None, description="Stays loaded: the inline guard and a rollback return to it.")
    split: ServedSplit | None = None


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

    def ready(self, name: str, digest: str) -> bool:
        """Whether this replica could answer by that version at once."""
        return any(v.name == name and v.digest == digest and v.state is VersionState.READY for v in self.versions)
