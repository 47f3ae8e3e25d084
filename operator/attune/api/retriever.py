"""Retriever: what a RAG application calls. Its models, its index, its data, its storage and its rollback policy."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from attune.api.base import ApiModel, Resource
from attune.api.common import LanguageModel, ResourceRequirements, SecretReference
from attune.api.notifications import NotificationTargets
from attune.api.retriever_status import RetrieverStatus
from attune.api.rules import Rule, Rules
from attune.api.values import (
    ARCHIVE_URI,
    FEEDBACK_URI,
    NO_PASSWORD,
    BaseModelUri,
    Duration,
    HttpUrl,
    ObjectName,
    StoreUri,
    duration_between,
    uri_of,
)
from attune.contract import ArchiveSource, EvaluationSource, FeedbackSource, TokenPrice

Prompt = Annotated[str, Field(max_length=1024)]


class EmbeddingModel(ApiModel):
    """The embedding model."""

    base_model: BaseModelUri = Field(
        description="Model that version 1 is imported from: a hub id (BAAI/bge-small-en-v1.5), file:///path, "
        "pvc://claim/path, s3:// or gs://."
    )
    query_prompt: Prompt | None = Field(
        None, description="Text put before each query, alike in mining, training, evaluation and serving; unset: none."
    )
    document_prompt: Prompt | None = Field(None, description="Text put before each document; unset: none.")


class RerankerModel(ApiModel):
    """The reranker."""

    base_model: BaseModelUri = Field(
        description="Model that version 1 is imported from: a hub id (BAAI/bge-reranker-base), file:///path, "
        "pvc://claim/path, s3:// or gs://."
    )


class Storage(ApiModel):
    """Where artifacts and snapshots of training data lie."""

    uri: StoreUri = Field(
        description="Root: pvc://claim/path, s3://bucket/path, gs://bucket/path, or file:///path on one-node clusters."
    )
    secret_ref: SecretReference | None = Field(
        None, description="Secret with the credentials (AWS_ACCESS_KEY_ID, … or GOOGLE_…) as environment variables."
    )


class SyntheticData(ApiModel):
    """Questions that a language model asks about articles."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.maxCostUSD) || has(self.price)",
            "maxCostUSD needs price, as the API does not tell what a token costs; set price.inputPerMillionUSD and "
            "price.outputPerMillionUSD, or limit by maxArticles",
            path=".price",
        ),
    )

    llm: LanguageModel = Field(description="Language model that writes the questions.")
    questions_per_article: int = Field(3, ge=1, le=20, description="Questions for each article.")
    max_articles: int | None = Field(None, ge=1, le=100_000_000, description="At most so many articles; unset: all.")
    max_cost_usd: float | None = Field(
        None,
        alias="maxCostUSD",
        gt=0,
        le=1_000_000,
        description="Stop before a run costs this much in US dollars (needs price); unset: no limit.",
    )
    price: TokenPrice | None = Field(None, description="What the model costs; without it no cost is told or limited.")
    concurrency: int = Field(8, ge=1, le=256, description="Requests under way at a time.")


FEEDBACK_RATINGS = Rules(
    Rule(
        "!has(self.negativeRating) || self.negativeRating < self.positiveRating",
        "negativeRating must be below positiveRating; ratings between the two are neutral",
        path=".negativeRating",
    ),
    Rule(
        "!has(self.minRating) || self.minRating <= self.positiveRating",
        "minRating must not be above positiveRating, or no rating is left to be negative",
        path=".minRating",
    ),
    Rule(
        "!has(self.maxRating) || self.maxRating >= self.positiveRating",
        "maxRating must not be below positiveRating, or no rating can be positive",
        path=".maxRating",
    ),
)


class RetrieverData(ApiModel):
    """What models are trained and measured on."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.synthetic) || has(self.archive)",
            "synthetic questions are asked about the articles of data.archive; define data.archive too",
            path=".synthetic",
        ),
    )

    archive: Annotated[ArchiveSource, uri_of(ARCHIVE_URI)] | None = Field(
        None, description="Articles: the corpus that is searched, and title → content pairs."
    )
    feedback: Annotated[FeedbackSource, uri_of(FEEDBACK_URI), FEEDBACK_RATINGS] | None = Field(
        None, description="Ratings by users: positive ones make pairs, negative ones labelled negatives."
    )
    synthetic: SyntheticData | None = Field(None, description="Questions asked by a language model about the articles.")
    evaluation: Annotated[EvaluationSource, uri_of(ARCHIVE_URI)] | None = Field(
        None,
        description="Labelled queries {query, id, grade}; unset: a part of the data is held out, by document and date.",
    )


class Index(ApiModel):
    """The vector store. Each embedding version has a collection of its own there."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.store == 'lancedb' || has(self.uri)",
            "uri is missing; pgvector takes postgresql://host/database, qdrant http://host:6333",
            path=".uri",
        ),
        Rule(
            "!has(self.uri) || (self.store == 'lancedb' ? self.uri.matches('^(file:///|pvc://|s3://|gs://)') : "
            "self.store == 'pgvector' ? self.uri.matches('^postgres(ql)?://') : self.uri.matches('^https?://'))",
            "uri does not fit the store; lancedb takes file:///, pvc://, s3:// or gs://, pgvector postgresql://, "
            "qdrant http:// or https://",
            shown="'\"' + self.uri + '\" does not fit store ' + self.store + '; lancedb takes file:///, pvc://, "
            "s3:// or gs://, "
            "pgvector postgresql://, qdrant http:// or https://'",
            path=".uri",
        ),
        Rule(f"!has(self.uri) || {NO_PASSWORD.rule.replace('self', 'self.uri')}", NO_PASSWORD.message, path=".uri"),
    )

    store: Literal["lancedb", "pgvector", "qdrant"] = Field(
        "lancedb", description="lancedb (files, no server), pgvector or qdrant."
    )
    uri: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None, description="Where the store is; unset with lancedb: the folder index under storage.uri."
    )
    secret_ref: SecretReference | None = Field(
        None, description="Secret with the store's credentials as environment variables."
    )
    distance: Literal["cosine", "dot", "l2"] = Field("cosine", description="Distance between vectors.")
    hybrid: bool = Field(True, description="Search by words (BM25) as well, and fuse both rankings.")
    shards: int = Field(
        1, ge=1, le=4096, description="Pods that build a collection together, a part of the corpus each."
    )
    refresh_interval: Annotated[Duration, duration_between("1m", "720h")] = Field(
        "1h",
        description="How often new and changed articles are added to every live collection (active, previous, tested).",
    )


class Upstream(ApiModel):
    """An inference server that answers in place of the local model."""

    url: HttpUrl = Field(description="Root of its API.")
    api: Literal["openai", "tei"] = Field(
        "openai", description="Which API it speaks: openai or tei (text-embeddings-inference)."
    )


class Serving(ApiModel):
    """The Pods that answer queries."""

    deploy: bool = Field(
        True,
        description="true: the operator runs a Deployment and a Service. false: it only writes the ConfigMap, "
        "for a server of yours.",
    )
    replicas: int = Field(1, ge=0, le=1000, description="Pods of the Deployment.")
    resources: ResourceRequirements | None = Field(None, description="Resources of the serving container.")
    config_map_name: ObjectName | None = Field(
        None, description="ConfigMap that tells servers what to serve; unset: NAME-serving."
    )
    experiment_salt: Annotated[str, Field(max_length=64)] | None = Field(
        None,
        description="Mixed into the assignment of queries to arms; the same salt on two Retrievers gives the "
        "same assignment. Unset: the uid.",
    )
    upstream: Upstream | None = Field(None, description="Inference server that answers instead of the local model.")


class Prometheus(ApiModel):
    """A Prometheus to ask."""

    url: HttpUrl = Field(description="Root of its HTTP API, e.g. http://prometheus.monitoring:9090.")
    secret_ref: SecretReference | None = Field(None, description="Secret with username and password, or token.")


class JudgeSampling(ApiModel):
    """How much of the traffic of a running test is judged. Every judgement is two calls."""

    share: float = Field(0.05, ge=0, le=1, description="Share of the distinct queries; 0 judges nothing.")
    per_minute: float = Field(10, gt=0, le=10_000, description="Judgements a minute of each serving Pod, at most.")
    tokens_per_day: int = Field(
        200_000, ge=0, le=10_000_000_000, description="Tokens a day of each serving Pod; beyond, nothing is judged."
    )


class Judge(LanguageModel):
    """The language model that judges."""

    sampling: JudgeSampling = Field(
        default_factory=JudgeSampling, description="How much of the traffic of a running test is judged."
    )


class Rollback(ApiModel):
    """When a newly promoted version is taken back by itself."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!self.enabled || self.inlineGuard || has(self.prometheus)",
            "nothing watches the error rate; set inlineGuard: true, or give prometheus.url, or enabled: false",
            path=".inlineGuard",
        ),
    )

    enabled: bool = Field(True, description="Roll back automatically.")
    error_rate_multiplier: float = Field(
        3,
        gt=1,
        le=1000,
        description="Roll back when the error rate exceeds this multiple of the one before the promotion.",
    )
    window: Annotated[Duration, duration_between("1m", "24h")] = Field(
        "15m",
        description="How long a newly promoted version is watched; before it, over the same time, the baseline is taken.",
    )
    min_requests: int = Field(100, ge=1, le=1_000_000_000, description="Fewer requests prove nothing.")
    min_error_rate: float = Field(0.01, ge=0, le=1, description="An error rate below this is never a reason.")
    latency_p99_multiplier: float | None = Field(
        None,
        gt=1,
        le=1000,
        description="Also roll back when the 99th percentile of latency exceeds this multiple; unset: latency is "
        "no reason.",
    )
    max_recall_drop: float = Field(
        0.2,
        gt=0,
        le=1,
        description="Also roll back when the share of labelled queries with a relevant document among the first ten falls by "
        "more than this against the version before; 1: never.",
    )
    prometheus: Prometheus | None = Field(
        None,
        description="Where the metrics are read; unset: ATTUNE_PROMETHEUS_URL of the operator, and without that only alerts, the "
        "inline guard and labelled queries act.",
    )
    inline_guard: bool = Field(
        True, description="Serving itself stops using a version whose answers fail, before any metric is scraped."
    )


class History(ApiModel):
    """What is kept."""

    keep_versions: int = Field(
        3,
        ge=1,
        le=100,
        description="Versions kept per type; older artifacts and collections are deleted, never one that serves, "
        "is tested or could be rolled back to.",
    )


class RetrieverSpec(ApiModel):
    """What a RAG application calls, and how it is kept sharp."""

    embedding: EmbeddingModel = Field(description="The embedding model.")
    reranker: RerankerModel | None = Field(None, description="The reranker; unset: results are not reranked.")
    storage: Storage = Field(description="Where artifacts and snapshots of training data lie.")
    data: RetrieverData | None = Field(
        None,
        description="What models are trained and measured on; unset: models can be imported, not trained or measured.",
    )
    index: Index = Field(default_factory=Index, description="The vector store.")
    serving: Serving = Field(default_factory=Serving, description="The Pods that answer queries.")
    judge: Judge | None = Field(
        None,
        description="Language model that judges faithfulness and relevance of answers; unset: these two are not "
        "measured.",
    )
    rollback: Rollback = Field(
        default_factory=Rollback, description="When a newly promoted version is taken back by itself."
    )
    history: History = Field(default_factory=History, description="What is kept.")
    notifications: NotificationTargets | None = Field(
        None, description="Who is told when a training or a test ends, and when a version is promoted or rolled back."
    )


class Retriever(Resource):
    """A Retriever as the API server stores it."""

    kind: Literal["Retriever"] = "Retriever"
    spec: RetrieverSpec
    status: RetrieverStatus = Field(default_factory=RetrieverStatus)
