"""The validation set of a run: small, fixed, searched after every epoch. Called by whatever trains."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
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
ROWS_PER_DOCUMENT, ROWS_IN_A_LOOK, FEW_DOCUMENTS = 3, 6, 300
"""Training rows for each document. A document is read once, though further, a row's texts forwards and backwards: so a look costs a
twentieth of an epoch, and there are eight of them. What is asked once, or has few documents anyway, may have twice as many."""


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


@dataclass(frozen=True, slots=True)
class ValidationSet:
    """Validation queries against their documents, their hard negatives and a sample of training documents."""

    whole: HeldOut
    """Searched once, after the training: how much words are worth beside vectors differs with the number of documents."""
    looks: HeldOut
    """The same queries over the documents that are hardest to tell from theirs: searched again and again, read as far as in training."""

    @property
    def rows_of_looks(self) -> list[int]:
        """Where the documents of `looks` are in `whole`."""
        at = {name: row for row, name in enumerate(self.whole.documents)}
        return [at[name] for name in self.looks.documents]


def validation_set(validation: Sequence[Pair], training: Sequence[Pair], seed: int) -> ValidationSet | None:
    """None without validation pairs. Sampled where there is more than looks should cost."""
    if not validation:
        return None
    rng = np.random.default_rng([seed, 1])
    chosen = [validation[i] for i in sorted(rng.permutation(len(validation))[:MAX_QUERIES])]
    own = {pair.document: pair.positive for pair in chosen}
    order = rng.permutation(len(training))
    grades: dict[str, dict[str, int]] = {}
    for pair in chosen:
        grades.setdefault(pair.query, {})[pair.document] = 1

    def over(enough: int) -> HeldOut:
        texts = dict(own)
        for name, text in chain(_hardest_first(chosen), _in_order(training, order)):
            if len(texts) >= enough:
                break
            texts.setdefault(name, text)
        names = tuple(sorted(texts))
        return HeldOut(names, tuple(texts[name] for name in names), {query: query for query in grades}, grades)

    enough = min(MAX_DOCUMENTS, len(training) // ROWS_PER_DOCUMENT)
    return ValidationSet(over(enough), over(min(enough, max(FEW_DOCUMENTS, len(training) // ROWS_IN_A_LOOK))))


def _hardest_first(pairs: Sequence[Pair]) -> Iterator[tuple[str, str]]:
    """Names and texts of mined negatives: the first one of every pair, then the second ones."""
    rounds = zip_longest(*(zip(pair.negative_documents, pair.negatives, strict=True) for pair in pairs))
    return (one for ones in rounds for one in ones if one is not None)


def _in_order(pairs: Sequence[Pair], rows: Iterable[int]) -> Iterator[tuple[str, str]]:
    return ((pairs[row].document, pairs[row].positive) for row in rows)


@dataclass
class EmbeddingSubject:
    """An embedding model over a validation set; None: nothing is looked at."""

    model: "SentenceTransformer"
    held_out: HeldOut | None
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
        return look(TorchEncoder(self.model, check, self.precision), self.held_out)


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
