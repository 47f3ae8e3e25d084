"""Method queryOnly: the side for queries is trained against document vectors that stay as they are. Called by `embedding`.

Every vector of a document is computed once, before the first step, and used again in each: a step costs the queries alone. What comes
out shares the collection of the version it started from, so that promotion and rollback embed nothing anew.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from torch import Tensor

from attune.contract import TrainingConfig
from attune_retrieval.graph import Floats
from attune_trainer import towers
from attune_trainer.encode import TorchEncoder
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.train.arguments import run_watched
from attune_trainer.train.contrastive import ContrastiveLoss
from attune_trainer.train.dropout import without_dropout
from attune_trainer.train.embedding import Trained, planned, trainer
from attune_trainer.train.feed import DocumentRows, PairCollator
from attune_trainer.train.losses import SCALE
from attune_trainer.train.pairs import Pair
from attune_trainer.train.validation import Score, ValidationSet, mean_similarity, score
from attune_trainer.train.watch import Surroundings, Watch

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

VECTOR = "sentence_embedding"


def train_queries(
    config: TrainingConfig,
    pairs: Sequence[Pair],
    validation: ValidationSet | None,
    folders: tuple[Path, Path],
    around: Surroundings,
) -> Trained:
    """Train the query side of the base model in `folders[0]`; `folders[1]` is scratch."""
    base, scratch = folders
    sides = towers.load(config, base)
    sides.document.eval().requires_grad_(False)
    without_dropout(sides.query)
    frozen = TorchEncoder(sides.document, around.check)
    whole = sides.document.max_seq_length
    sides.query.max_seq_length = min(config.max_sequence_length, int(whole or config.max_sequence_length))
    documents = FrozenDocuments.of(pairs, frozen)
    subject = QuerySubject(sides.query, validation.looks if validation else None, frozen)
    watch = Watch(sides.query, config, planned(config, pairs), subject, around)
    collator = QueryCollator(
        preprocess_fn=sides.query.preprocess,
        pairs=pairs,
        texts_put_before={"query": str(sides.query.prompts["query"] or "")},
        documents=documents,
    )
    inner = MultipleNegativesRankingLoss(sides.query, scale=SCALE, directions=("query_to_doc", "doc_to_query"))
    loss = QueryLoss(sides.query, inner, around.world, always_recompute=config.loss == "cachedMultipleNegativesRanking")
    run_watched(trainer(watch, scratch, pairs, collator, loss), watch, scratch)
    sides.query.max_seq_length = whole
    return Trained(sides.query, watch.metrics(len(pairs)), watch.plan, validation, sides.document)


@dataclass(frozen=True, slots=True)
class FrozenDocuments:
    """Each document's vector, by its name: `vectors` has shape (documents x dimensions)."""

    positions: dict[str, int]
    vectors: Floats

    @staticmethod
    def of(pairs: Sequence[Pair], encoder: TorchEncoder) -> "FrozenDocuments":
        """Positives and negatives of all pairs, each embedded once."""
        texts = {pair.document: pair.positive for pair in pairs}
        for pair in pairs:
            for name, text in zip(pair.negative_documents, pair.negatives, strict=True):
                texts.setdefault(name, text)
        positions = {name: position for position, name in enumerate(texts)}
        return FrozenDocuments(positions, encoder.encode(list(texts.values()), "document"))

    def __getitem__(self, names: Sequence[str]) -> Tensor:
        """Shape (names x dimensions)."""
        return torch.from_numpy(self.vectors[[self.positions[name] for name in names]])


@dataclass
class QueryCollator(PairCollator):
    """Positions to the tokens of queries, and the vectors of their documents."""

    documents: FrozenDocuments = field(default_factory=lambda: FrozenDocuments({}, np.zeros((0, 0), np.float32)))

    def columns_of_documents(self, documents: Sequence[DocumentRows]) -> dict[str, Any]:
        made = {f"positive_{VECTOR}": self.documents[[rows[0][1].document for rows in documents]]}
        if self.mined:
            made[f"negative_{VECTOR}"] = self.documents[[name for name, _ in self.negatives_of(documents)]]
        return made


class QueryLoss(ContrastiveLoss):
    """The first column is embedded; the others are vectors already."""

    def forward(self, sentence_features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        queries, *documents = list(sentence_features)
        return self.of_all([*self.embed([queries]), *(column[VECTOR] for column in documents)], labels)


@dataclass
class QuerySubject:
    """The query side over a validation set whose documents were embedded once; None: nothing is looked at."""

    model: "SentenceTransformer"
    held_out: HeldOut | None
    documents: TorchEncoder
    collapsed: str = "the query vectors collapsed"
    alike: str = "mean cosine to each other"
    reason: str = "VectorsCollapsed"
    _vectors: Floats | None = field(init=False, default=None)

    @property
    def validated(self) -> bool:
        return self.held_out is not None

    def look(self, check: Callable[[], None]) -> Score:
        assert self.held_out is not None
        if self._vectors is None:
            self._vectors = self.documents.encode(self.held_out.texts, "document")
        queries = TorchEncoder(self.model, check).encode(list(self.held_out.queries), "query")
        return score(queries, self._vectors, self.held_out, mean_similarity(queries))
