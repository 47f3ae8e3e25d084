"""What was measured of a model. A metric that was not measured is absent, never zero."""

from typing import Annotated

from pydantic import Field

from attune.contract.base import Contract

HYBRID_INTERVAL = "hybridNdcgAt10"
"""Name among `intervals` of the difference in hybrid searches."""

Unit = Annotated[float, Field(ge=0, le=1)]


class Interval(Contract):
    """A confidence interval of a difference: candidate minus active (95%, paired bootstrap by document), or B minus A of an ABTest
    (at its alpha, corrected for several metrics)."""

    low: float = Field(description="Lower end.")
    high: float = Field(description="Upper end.")


class RetrievalMetrics(Contract):
    """Ranking quality on held-out queries; all in 0..1."""

    ndcg_at10: Unit | None = Field(None, description="Normalized discounted cumulative gain of the first 10.")
    mrr_at10: Unit | None = Field(
        None, description="Mean reciprocal rank of the first relevant document in the first 10."
    )
    recall_at10: Unit | None = Field(None, description="Share of relevant documents found in the first 10.")
    context_precision: Unit | None = Field(
        None, description="Rank-aware average precision by document ids, as RAGAS defines it."
    )
    context_recall: Unit | None = Field(
        None, description="Share of the relevant documents that were retrieved, by ids."
    )
    faithfulness: Unit | None = Field(
        None, description="Faithfulness of answers, by the judge; absent without a judge."
    )
    relevance: Unit | None = Field(None, description="Relevance of answers, by the judge; absent without a judge.")


class Judgements(Contract):
    """How many judgements of one metric there are. What the judge gave no readable answer to is left out, never zero."""

    scored: int = Field(ge=0, description="Judgements that gave a number.")
    asked: int = Field(ge=0, description="Judgements that were wanted: queries times repeats.")


class JudgeSummary(Contract):
    """What a language model was asked, to measure faithfulness and relevance."""

    model: str = Field(description="The language model.")
    queries: int = Field(ge=0, description="Held-out queries in the sample.")
    repeats: int = Field(ge=1, description="Judgements of each answer.")
    faithfulness: Judgements | None = Field(None, description="Judgements behind the candidate's faithfulness.")
    relevance: Judgements | None = Field(None, description="Judgements behind the candidate's relevance.")
    calls: int = Field(0, ge=0, description="Requests that it answered, also with an error.")
    tokens: int = Field(0, ge=0, description="Tokens that it says it used.")


class GeneralMetrics(Contract):
    """Whether the candidate still knows what the base model knew: both on texts that have nothing to do with the data."""

    name: str = Field(description="Which general set.")
    queries: int = Field(ge=0, description="Queries of it that were asked.")
    documents: int = Field(ge=0, description="Documents that were searched.")
    ndcg_at10: Unit = Field(description="nDCG@10 of the candidate.")
    base: Unit = Field(description="nDCG@10 of the untouched base model.")
    active: Unit | None = Field(None, description="nDCG@10 of the version that was active; absent without one.")
    drop: float = Field(description="Base minus candidate; compared with evaluation.maxGeneralDrop.")
    interval: Interval = Field(description="95% interval of candidate minus base.")


class EvaluationMetrics(RetrievalMetrics):
    """Metrics of a version, beside them those of the version that was active at the time."""

    queries: int | None = Field(None, ge=0, description="Number of held-out queries behind the numbers.")
    documents: int | None = Field(None, ge=0, description="Number of documents that were searched.")
    score: Unit | None = Field(None, description="The number that evalThreshold is compared with.")
    score_metric: str | None = Field(None, description="Which metrics the score is made of.")
    improvement_percent: float | None = Field(
        None, description="Change of nDCG@10 against the active version, in percent of the active version's."
    )
    verdict: str | None = Field(None, description="better, notWorse or worse than the active version, by the interval.")
    intervals: dict[str, Interval] | None = Field(
        None,
        description="95% intervals of the difference to the active version (else to base), by metric; hybridNdcgAt10: in hybrid searches.",
    )
    baseline: RetrievalMetrics | None = Field(None, description="The same metrics of the active version.")
    base: RetrievalMetrics | None = Field(None, description="The same metrics of the untouched base model.")
    bm25: RetrievalMetrics | None = Field(None, description="The same metrics of BM25, as a sanity line.")
    hybrid: RetrievalMetrics | None = Field(
        None,
        description="The same in a hybrid search: its vectors fused with BM25; of a reranker, that search's best 50 as it orders them.",
    )
    hybrid_baseline: RetrievalMetrics | None = Field(
        None,
        description="The same with the active version instead (else base; of a reranker without an active one: as they were found).",
    )
    judge: JudgeSummary | None = Field(None, description="What the judge was asked; absent without a judge.")
    general: GeneralMetrics | None = Field(
        None, description="Whether it forgot what the base model knew; absent where that was not measured."
    )


class TrainingMetrics(Contract):
    """What training itself reported."""

    loss: float | None = Field(None, description="Mean training loss over the last epoch.")
    epochs: float | None = Field(
        None, ge=0, description="Epochs that were run; early stopping may end before spec.epochs."
    )
    training_examples: int | None = Field(None, ge=0, description="Pairs in the training split.")
    training_duration_seconds: float | None = Field(
        None, ge=0, description="Wall-clock seconds of training, resumes included."
    )
    best_epoch: float | None = Field(None, ge=0, description="Epoch whose weights were kept.")
    validation_ndcg_at10: Unit | None = Field(None, description="Best nDCG@10 on the validation split.")
    tuned_share: Unit | None = Field(
        None,
        description="Share of the tuned weights in the mean with the base model's that was kept; 1: the tuned ones.",
    )
    dense_weight: Unit | None = Field(
        None,
        description="Share of the vectors' scores in a hybrid search, as the validation set wants it; BM25 has the rest.",
    )
    rerank_weight: Unit | None = Field(
        None,
        description="Of a reranker: its share beside the search whose candidates it orders, as the validation set wants it.",
    )
    validation_loss: float | None = Field(None, description="Loss on the validation file, as the API reported it.")
    api_tokens: int | None = Field(
        None, ge=0, description="Tokens that the API counted: trained on (fineTune), or embedded (adapter)."
    )
    fine_tuned_model: str | None = Field(
        None, max_length=256, description="Name that the API gave the fine-tuned model."
    )
