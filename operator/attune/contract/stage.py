"""StageSpec: everything one trainer stage needs to know, as one JSON file (`/etc/attune/stage.json`)."""

import hashlib
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from attune.contract.base import Contract
from attune.contract.hosted import OpenAITraining
from attune.contract.index import IndexWork, RetireWork

DataFormat = Literal["jsonl", "parquet", "csv"]
Positive = Annotated[int, Field(ge=1)]
Dimensions = Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(min_length=1, max_length=8)]


class Stage(StrEnum):
    """The stages of the trainer image, each one Job."""

    PREPARE = "prepare"
    TRAIN = "train"
    EVALUATE = "evaluate"
    INDEX = "index"
    IMPORT = "import"
    RETIRE = "retire"


class ModelType(StrEnum):
    """What a model does in retrieval."""

    EMBEDDING = "embedding"
    RERANKER = "reranker"


class ArchiveFields(Contract):
    """Names of the archive's columns."""

    id: str = Field("id", min_length=1, max_length=128, description="Column of the unique document id.")
    title: str = Field("title", min_length=1, max_length=128, description="Column of the title.")
    content: str = Field("content", min_length=1, max_length=128, description="Column of the text.")
    published_at: str = Field(
        "publishedAt",
        min_length=1,
        max_length=128,
        description="Column of the publication time; may be absent in the data.",
    )


class ArchiveSource(Contract):
    """Articles: the corpus, and title → content pairs."""

    uri: str = Field(
        description="Where the articles lie: file://, pvc://claim/path, s3://, gs://, http(s)://.",
        min_length=1,
        max_length=1024,
    )
    format: DataFormat = Field("jsonl", description="jsonl, parquet or csv.")
    fields: ArchiveFields = Field(default_factory=ArchiveFields, description="Names of the columns.")


class FeedbackFields(Contract):
    """Names of the feedback's columns."""

    query: str = Field("query", min_length=1, max_length=128, description="Column of the query.")
    document_id: str = Field(
        "documentId", min_length=1, max_length=128, description="Column of the rated document's id."
    )
    answer: str = Field(
        "answer", min_length=1, max_length=128, description="Column of the rated answer, where no document id is known."
    )
    rating: str = Field("rating", min_length=1, max_length=128, description="Column of the rating.")
    at: str = Field("at", min_length=1, max_length=128, description="Column of the time of the rating.")


class FeedbackSource(Contract):
    """Ratings of users: positive ones make pairs, negative ones labelled negatives."""

    uri: str = Field(
        description="Where the feedback lies: file://, pvc://claim/path, s3://, gs://, http(s)://.",
        min_length=1,
        max_length=1024,
    )
    format: DataFormat = Field("jsonl", description="jsonl, parquet or csv.")
    fields: FeedbackFields = Field(default_factory=FeedbackFields, description="Names of the columns.")
    positive_rating: float = Field(4, description="Ratings at or above this make positive pairs.")
    negative_rating: float | None = Field(
        None,
        description="Ratings at or below this make labelled negatives; those between are neutral. Unset: every rating below "
        "positiveRating does.",
    )
    min_rating: float | None = Field(
        None, description="Ratings below this are dropped and counted as ratingOutOfRange; unset: no bound."
    )
    max_rating: float | None = Field(
        None, description="Ratings above this are dropped and counted as ratingOutOfRange; unset: no bound."
    )
    implicit: bool = Field(
        False,
        description="The ratings are clicks: what was not clicked is no negative, and a pair weighs half.",
    )


class TokenPrice(Contract):
    """What a language model costs; the API itself does not tell."""

    input_per_million_usd: float = Field(
        alias="inputPerMillionUSD", ge=0, le=1_000_000, description="US dollars per million tokens that it reads."
    )
    output_per_million_usd: float = Field(
        alias="outputPerMillionUSD", ge=0, le=1_000_000, description="US dollars per million tokens that it writes."
    )


class SyntheticSource(Contract):
    """Questions that a language model asks about articles. The key is OPENAI_API_KEY of the environment, never here."""

    base_url: str = Field(alias="baseURL", description="Root of an API that speaks OpenAI's chat completions.")
    model: str = Field(min_length=1, max_length=256, description="Name of the model, as that server calls it.")
    questions_per_article: int = Field(3, ge=1, le=20, description="Questions for each article.")
    max_articles: int | None = Field(None, ge=1, description="At most so many articles; unset: all.")
    max_cost_usd: float | None = Field(
        None, alias="maxCostUSD", gt=0, description="A run asks no more before this is spent; needs price."
    )
    price: TokenPrice | None = Field(None, description="What the model costs; needed by maxCostUSD.")
    concurrency: int = Field(8, ge=1, le=256, description="Requests under way at a time.")


class EvaluationSource(Contract):
    """A labelled set of the user's own: lines {query, id, grade}."""

    uri: str = Field(description="Where the labelled queries lie.", min_length=1, max_length=1024)


class DataSpec(Contract):
    """The data a prepare stage reads; a source that is None is not used."""

    archive: ArchiveSource | None = None
    titles: bool = Field(True, description="Whether the archive's titles make training pairs; it is the corpus anyway.")
    leads: bool = Field(
        False,
        description="Whether each training article's title and first words make a training pair, too; never for rerankers.",
    )
    feedback: FeedbackSource | None = None
    synthetic: SyntheticSource | None = None
    evaluation: EvaluationSource | None = None
    labels: str | None = Field(
        None, description="Labelled training pairs {query, id}; by hand only (`attune-trainer run --labels`)."
    )
    min_examples: int = Field(
        1, ge=0, description="Fewer pairs end the stage with InsufficientData; 0: only the held-out set is wanted."
    )


class HardNegatives(Contract):
    """How wrong answers are mined."""

    per_query: int = Field(4, ge=0, le=32, description="Mined negatives per pair; 0 mines none.")
    relative_margin: float = Field(
        0.95, gt=0, le=1, description="A negative must score below this share of the positive's score."
    )


class Lora(Contract):
    """Low-rank adapters (Hu et al. 2021): what is trained with method lora; merged into the weights at the end."""

    rank: int = Field(16, ge=1, le=512, description="Rank of the adapters; more learns more and takes more memory.")
    alpha: int = Field(32, ge=1, le=4096, description="Adapters are scaled by alpha / rank.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Share of the adapters' inputs that is dropped in training.")


class TrainingConfig(Contract):
    """Everything that determines the weights, apart from the data. Equal config and data digest = the same training."""

    base_model: str = Field(
        description="Hub id or URI of the model training starts from.", min_length=1, max_length=1024
    )
    method: Literal["full", "queryOnly", "lora"] = Field(
        "full", description="full, queryOnly (document vectors frozen) or lora."
    )
    lora: Lora | None = Field(None, description="Adapters of method lora; unset: rank 16, alpha 32, dropout 0.05.")
    matryoshka_dimensions: Dimensions | None = Field(
        None, description="Shorter lengths that vectors are trained to be cut to as well."
    )
    loss: Literal["multipleNegativesRanking", "cachedMultipleNegativesRanking", "guided", "bce", "listwise"] | None = (
        Field(None, description="Loss; unset: multipleNegativesRanking for embeddings, bce for rerankers.")
    )
    epochs: int = Field(3, ge=1, le=100, description="Passes over the training pairs.")
    batch_size: int = Field(32, ge=2, le=4096, description="Pairs per optimizer step (and in-batch negatives).")
    learning_rate: float = Field(2e-5, gt=0, le=1, description="Peak learning rate.")
    warmup_steps: int = Field(
        100, ge=0, le=1_000_000, description="Steps of linear warm-up, at most a tenth of all steps."
    )
    max_sequence_length: int = Field(
        512,
        ge=8,
        le=32768,
        description="Tokens of each text that are trained on. A version reads as many, and no fewer than its base model (at most 512).",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 on GPUs and CPUs that compute it fast, else fp32."
    )
    seed: int = Field(42, ge=0, le=2**31 - 1, description="Seed of shuffling, splitting and initialisation.")
    hard_negatives: HardNegatives = Field(default_factory=HardNegatives, description="Mining of hard negatives.")
    split_ratio: float = Field(
        0.9, gt=0, lt=1, description="Share of documents that are trained on; the rest is held out."
    )
    early_stopping_patience: int = Field(
        2, ge=0, le=100, description="Evaluations without improvement before training stops; 0 never stops early."
    )
    min_improvement: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="Rise of the validation metric that counts as improvement; the last weights are kept where none was better by as "
        "much, or by two standard errors.",
    )
    query_prompt: str = Field(
        "", max_length=1024, description="Text put before each query, in training, evaluation and serving alike."
    )
    document_prompt: str = Field("", max_length=1024, description="Text put before each document.")
    openai: OpenAITraining | None = Field(
        None, description="Set: an API gives the vectors (provider openai), and nothing is trained of baseModel here."
    )


class GeneralSource(Contract):
    """A general set of the user's own."""

    uri: str = Field(
        description="Where it lies: a folder in BEIR's form (corpus.jsonl, queries.jsonl, qrels/test.tsv), or a JSONL file of "
        'lines {"query", "text"}.',
        min_length=1,
        max_length=1024,
    )


class JudgeSource(Contract):
    """The language model that judges faithfulness and relevance. Its key: environment OPENAI_API_KEY."""

    url: str = Field(description="Root of an OpenAI-compatible API.")
    model: str = Field(description="Name of the model.")


class EvaluationConfig(Contract):
    """How a candidate is measured."""

    score_metric: str | None = Field(
        None, description="Metric compared with evalThreshold; unset: mean of the measured RAGAS metrics."
    )
    k: int = Field(
        10, ge=1, le=1000, description="Depth of the context that contextPrecision and contextRecall look at."
    )
    resamples: int = Field(1000, ge=100, le=100_000, description="Bootstrap resamples by document.")
    judged_queries: int = Field(50, ge=0, le=1000, description="Held-out queries that the judge sees; 0: none.")
    general: GeneralSource | None = Field(
        None, description="Set that guards against forgetting; unset: docstrings of Python's standard library."
    )
    max_general_drop: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Fall of nDCG@10 on it beyond which training prefers weights nearer to the base model's.",
    )


class ArtifactRef(Contract):
    """An exported model in the artifact store."""

    name: str = Field(description="Name of the ModelVersion.")
    uri: str = Field(description="Folder of the artifact.")
    digest: str | None = Field(None, description="sha256 of its manifest.json; verified before use.")


class OwnerRef(Contract):
    """The custom resource a stage works for."""

    kind: str
    namespace: str
    name: str
    uid: str


class StageSpec(Contract):
    """One stage of one run. The digest of this value names the work: the same digest gives the same result."""

    contract: Literal["attune.dev/stage/v1alpha1"] = "attune.dev/stage/v1alpha1"
    stage: Stage
    type: ModelType = ModelType.EMBEDDING
    owner: OwnerRef
    retriever: str
    storage: str = Field(description="Root of the artifact store (`Retriever.spec.storage.uri`).")
    config: TrainingConfig
    data: DataSpec = Field(default_factory=DataSpec)
    dataset: ArtifactRef | None = Field(None, description="Snapshot made by prepare; needed by train and evaluate.")
    last_trained: ArtifactRef | None = Field(
        None, description="Snapshot that this type was last trained on; prepare counts the pairs that are new since."
    )
    model: ArtifactRef | None = Field(
        None, description="Where the version's artifact is (train, import) or lies (evaluate)."
    )
    active: ArtifactRef | None = Field(None, description="The version that serves now, to compare with.")
    first_stage: ArtifactRef | None = Field(
        None, description="The embedding version whose candidates a reranker orders; absent: BM25."
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    judge: JudgeSource | None = Field(None, description="Absent: faithfulness and relevance are not measured.")
    index: IndexWork | None = Field(None, description="What the index stage fills; needed by index.")
    run: int | None = Field(
        None, description="Which run, where prepare is done again and again: each looks at the sources anew."
    )
    superseded: ArtifactRef | None = Field(
        None,
        description="An earlier snapshot that nothing refers to; prepare deletes it once another one is published.",
    )
    retire: RetireWork | None = Field(None, description="What the retire stage deletes; needed by retire.")

    def digest(self) -> str:
        """`sha256:<hex>` of the canonical JSON: equal values have equal digests, in every process."""
        return "sha256:" + hashlib.sha256(self.to_json().encode()).hexdigest()
