"""The validation set of a run: small, fixed, searched after every epoch. Called by `embedding` and `watch`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from attune_retrieval.encoding import Encoder, Vectors
from attune_trainer.encode import TorchEncoder
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.measure import measure_rankings
from attune_trainer.evaluate.ranking import TopK
from attune_trainer.hardware import Precision
from attune_trainer.train.pairs import Pair

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

MAX_QUERIES = 500
MAX_DOCUMENTS = 1500
TRAINING_ROWS_PER_DOCUMENT = 3
"""A look costs one forward pass a document, a training row several passes: this keeps looks near 5% of the run."""


class Subject(Protocol):
    """The model under training, as the watch sees it."""

    collapsed: str
    """What has happened when everything it gives has become the same, in words."""
    alike: str
    """What `Score.similarity` is, in words."""
    reason: str
    """The same as one CamelCase word."""

    @property
    def validated(self) -> bool:
        """Whether there is anything to look at."""
        ...

    def look(self, check: Callable[[], None]) -> "Score":
        """How good it is now; `check` is called now and then, and may raise."""
        ...


@dataclass(frozen=True, slots=True)
class Score:
    """What one look at the validation set says."""

    ndcg: float
    similarity: float
    """Mean cosine between different documents: near 1 when all vectors have become the same."""
    queries: tuple[float, ...] = ()
    """nDCG@10 of each query, always in the same order."""


def chance(one: Sequence[float], other: Sequence[float]) -> float:
    """How far the means of two looks at the same queries may lie apart by chance: two standard errors of their paired difference.

    0 where that cannot be said: other queries, or fewer than two.
    """
    if len(one) != len(other) or len(one) < 2:
        return 0.0
    differences = np.asarray(one) - np.asarray(other)
    return float(2 * differences.std(ddof=1) / np.sqrt(len(differences)))


def validation_set(validation: Sequence[Pair], training: Sequence[Pair], seed: int) -> HeldOut | None:
    """Validation queries against their documents, their hard negatives and a sample of training documents.

    None without validation pairs. Sampled where there is more than a look after every epoch should cost.
    """
    if not validation:
        return None
    rng = np.random.default_rng([seed, 1])
    chosen = [validation[i] for i in sorted(rng.permutation(len(validation))[:MAX_QUERIES])]
    texts = {pair.document: pair.positive for pair in chosen}
    for pair in chosen:
        for name, text in zip(pair.negative_documents, pair.negatives, strict=True):
            texts.setdefault(name, text)
    enough = min(MAX_DOCUMENTS, len(training) // TRAINING_ROWS_PER_DOCUMENT)
    for row in rng.permutation(len(training)):
        if len(texts) >= enough:
            break
        texts.setdefault(training[row].document, training[row].positive)
    documents = tuple(sorted(texts))
    grades: dict[str, dict[str, int]] = {}
    for pair in chosen:
        grades.setdefault(pair.query, {})[pair.document] = 1
    return HeldOut(documents, tuple(texts[name] for name in documents), {query: query for query in grades}, grades)


@dataclass
class EmbeddingSubject:
    """An embedding model over a validation set; None: nothing is looked at."""

    model: "SentenceTransformer"
    held_out: HeldOut | None
    reads: int
    """Tokens of each text that are read, as by the version that comes out; training may read fewer."""
    precision: Precision = "fp32"
    """What the looks are computed in; rankings need no more than training itself."""
    collapsed: str = "the document vectors collapsed"
    alike: str = "mean cosine to each other"
    reason: str = "VectorsCollapsed"

    @property
    def validated(self) -> bool:
        return self.held_out is not None

    def look(self, check: Callable[[], None]) -> Score:
        assert self.held_out is not None
        in_training, self.model.max_seq_length = self.model.max_seq_length, self.reads
        try:
            return look(TorchEncoder(self.model, check, self.precision), self.held_out)
        finally:
            self.model.max_seq_length = in_training


def look(encoder: Encoder, held_out: HeldOut) -> Score:
    """nDCG@10 of the model as it is now, and how alike its document vectors are."""
    queries = encoder.encode(list(held_out.queries), "query")
    documents = encoder.encode(held_out.texts, "document")
    return score(queries, documents, held_out, mean_similarity(documents))


def score(queries: Vectors, documents: Vectors, held_out: HeldOut, similarity: float) -> Score:
    """nDCG@10 of searching the validation set's documents for its queries, both as unit vectors."""
    search = TopK(queries, 10)
    search.add(documents, 0)
    rankings = [[held_out.documents[position] for position in row] for row in search.positions]
    measured = measure_rankings(rankings, held_out)
    found = measured.per_query["ndcg_at10"]
    return Score(float(found.mean()), similarity, tuple(found.tolist()))


def mean_similarity(vectors: Vectors) -> float:
    """Mean off-diagonal cosine of unit vectors: (|sum|^2 - n) / (n (n - 1)), without the n-by-n matrix."""
    count = len(vectors)
    if count < 2:
        return 0.0
    total = vectors.astype(np.float64).sum(axis=0)
    return float((total @ total - count) / (count * (count - 1)))
