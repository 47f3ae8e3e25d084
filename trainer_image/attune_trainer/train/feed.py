"""Feeds the trainer with the planned batches. Used by `embedding`; needs torch, so it is imported only when training.

The data set of the trainer holds positions alone: epoch times number of pairs, plus row. The collator turns a position
into texts, so that the mined negative of a row can be another one each epoch without the text being stored twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.cross_encoder.data_collator import CrossEncoderDataCollator
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

from attune_trainer.train.batches import Plan
from attune_trainer.train.examples import Example
from attune_trainer.train.pairs import Pair, negative_in
from attune_trainer.train.world import ALONE, World


class PlanSampler(DefaultBatchSampler):
    """All batches of the run, in the order of the plan; with several processes, this one's share of each.

    A process that has no row of a batch gets its first one, so that it can take part; the loss leaves it out.
    """

    def __init__(self, plan: Plan, rows: int, world: World = ALONE) -> None:
        self.plan = plan
        self.rows = rows
        self.world = world
        self.epoch = 0

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.plan.batches:
            yield [batch.epoch * self.rows + row for row in batch.share(self.world) or batch.rows[:1]]

    def __len__(self) -> int:
        return self.plan.steps


DocumentRows = Sequence[tuple[int, Pair]]
"""Pairs of a batch that have the same document, each with the epoch."""


@dataclass
class PairCollator(SentenceTransformerDataCollator):
    """Positions to the columns query, positive and, where negatives were mined, negative, and to numbers of documents.

    The first has a text for each position, the others one for each document; a document's rows stand side by side.
    """

    pairs: Sequence[Pair] = field(default=(), repr=False)
    texts_put_before: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        query, document = self.texts_put_before.get("query", ""), self.texts_put_before.get("document", "")
        self.prompts = {
            column: prompt
            for column, prompt in {"anchor": query, "positive": document, "negative": document}.items()
            if prompt
        }
        self.mined = any(pair.negatives for pair in self.pairs)
        self.document_numbers = {
            name: number for number, name in enumerate({pair.document: None for pair in self.pairs})
        }

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        places = [divmod(feature["position"], len(self.pairs)) for feature in features]
        chosen = [(epoch, self.pairs[row]) for epoch, row in places]
        documents = [list(rows) for _, rows in groupby(chosen, key=lambda row: row[1].document)]
        made = self.tokens("anchor", [pair.query for _, pair in chosen])
        made |= self.columns_of_documents(documents)
        made["label"] = torch.tensor([self.document_numbers[pair.document] for _, pair in chosen])
        return made

    def columns_of_documents(self, documents: Sequence[DocumentRows]) -> dict[str, Any]:
        """The column of the answers, and that of the mined negatives."""
        made = self.tokens("positive", [rows[0][1].positive for rows in documents])
        if self.mined:
            made |= self.tokens("negative", [text for _, text in self.negatives_of(documents)])
        return made

    def negatives_of(self, documents: Sequence[DocumentRows]) -> list[tuple[str, str]]:
        """Name and text of each document's mined negative."""
        return [negative_in([pair for _, pair in rows], rows[0][0]) for rows in documents]

    def maybe_warn_about_column_order(self, column_names: list[str]) -> None:
        """Columns are made one by one here, and put in their order: nothing to warn of."""

    def tokens(self, column: str, texts: Sequence[str]) -> dict[str, Any]:
        """One column of texts to its columns of tokens, named after it."""
        made: dict[str, Any] = super().__call__([{column: text} for text in texts])
        return made


@dataclass
class ExampleCollator(CrossEncoderDataCollator):
    """Positions to token columns of (query, text), their labels, and the number of the list that each is in."""

    rows: Sequence[Example] = field(default=(), repr=False)

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        chosen = [self.rows[feature["position"] % len(self.rows)] for feature in features]
        made: dict[str, Any] = dict(self.preprocess_fn([(row.query, row.text) for row in chosen]))
        made["labels"] = torch.tensor([row.label for row in chosen], dtype=torch.float32)
        made["lists"] = torch.tensor([row.group for row in chosen])
        return {name: value for name, value in made.items() if isinstance(value, torch.Tensor)}
