"""Feeds the trainer with the planned batches. Used by `embedding`; needs torch, so it is imported only when training.

The data set of the trainer holds positions alone: epoch times number of pairs, plus row. The collator turns a position
into texts, so that the mined negative of a row can be another one each epoch without the text being stored twice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler
from sentence_transformers.cross_encoder.data_collator import CrossEncoderDataCollator
from sentence_transformers.sentence_transformer.data_collator import SentenceTransformerDataCollator

from attune_trainer.train.batches import Plan
from attune_trainer.train.examples import Example
from attune_trainer.train.pairs import Pair
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
            yield [batch.epoch * self.rows + row for row in self.world.share(batch.rows) or batch.rows[:1]]

    def __len__(self) -> int:
        return self.plan.steps


@dataclass
class PairCollator(SentenceTransformerDataCollator):
    """Positions to the columns query, positive and, where negatives were mined, negative."""

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

    def __call__(self, features: list[dict[str, Any]]) -> dict[str, Any]:
        return self.collate([self._texts(feature["position"]) for feature in features])

    def collate(self, texts: list[dict[str, Any]]) -> dict[str, Any]:
        """Columns of texts to columns of tokens."""
        made: dict[str, Any] = super().__call__(texts)
        return made

    def _texts(self, position: int) -> dict[str, str]:
        epoch, row = divmod(position, len(self.pairs))
        pair = self.pairs[row]
        texts = {"anchor": pair.query, "positive": pair.positive}
        if self.mined:
            texts["negative"] = pair.negatives[epoch % len(pair.negatives)]
        return texts


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
