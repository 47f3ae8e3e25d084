"""Trains a linear map of an API's vectors: W, shape (d, d), from the identity, in seconds on a CPU. Called by `hosted.stages`.

Loss: cross-entropy over scaled cosines of a query to its document, to the others of its batch and to the mined negatives (InfoNCE,
van den Oord 2018), plus lambda * |W - I|^2 / d, which keeps what the API's model knows where the data says nothing. What is known
to be right is masked out of the negatives. Several lambdas are tried; the weights kept are those of the best validation nDCG@10,
and the identity where nothing beats it by LEAST_RISE.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from attune_retrieval.graph import Floats
from attune_retrieval.hosted import Adapter, Side
from attune_trainer.errors import Diverged
from attune_trainer.evaluate.heldout import HeldOut
from attune_trainer.evaluate.measure import measure_rankings
from attune_trainer.evaluate.ranking import TopK

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)
SCALE = 20.0
"""Cosines are multiplied by it (temperature 0.05), as sentence-transformers does."""
SMALLEST_BATCH, LARGEST_BATCH, STEPS = 32, 256, 20
"""Between two looks at validation there are so many steps, or one pass over the pairs where that is more."""
MOST_LOOKS, PATIENCE = 40, 4
LEARNING_RATE = 5e-4
LAMBDAS = (10.0, 1.0)
LEAST_RISE = 0.005
"""Of the validation nDCG@10, for the vectors to be changed at all."""
WITHOUT_VALIDATION = (10.0, 10)
"""Lambda and looks where there is nothing to choose by."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Training pairs as vectors: row i of `queries` is answered by row `answers[i]` of `documents`.

    `negatives` holds rows of `documents` for each pair, -1 where there are fewer; `right` the known answers of each query.
    """

    queries: Floats
    documents: Floats
    answers: NDArray[np.int64]
    negatives: NDArray[np.int64]
    right: Sequence[frozenset[int]]


@dataclass(frozen=True, slots=True)
class Validation:
    """Queries and documents as vectors, in the order of `held_out`."""

    held_out: HeldOut
    queries: Floats
    documents: Floats

    def ndcg(self, adapter: Adapter) -> float:
        """Mean nDCG@10 of the mapped vectors."""
        search = TopK(adapter.map(self.queries, "query"), 10)
        search.add(adapter.map(self.documents, "document"), 0)
        rankings = [[self.held_out.documents[position] for position in row] for row in search.positions]
        return float(measure_rankings(rankings, self.held_out).per_query["ndcg_at10"].mean())


@dataclass(frozen=True, slots=True)
class Fitted:
    """The map that was kept. `epoch` (passes over the pairs) 0: the identity; `regularization`: the lambda it was trained with."""

    adapter: Adapter
    loss: float
    epoch: int
    epochs: int
    regularization: float
    ndcg: float | None
    ndcg_before: float | None


def fit(rows: Rows, validation: Validation | None, side: Side, seed: int, advance: Callable[[float], None]) -> Fitted:
    """Train. `advance` hears 0..1 and may raise. Raises Diverged (NotANumber)."""
    size = rows.queries.shape[1]
    unchanged = Adapter(np.eye(size, dtype=np.float32), side)
    if validation is None:
        strength, looks = WITHOUT_VALIDATION
        run = _Run(rows, side, seed, strength)
        loss = 0.0
        for look in range(looks):
            advance(look / looks)
            loss = run.go_on()
        return Fitted(run.adapter(), loss, run.epochs, run.epochs, strength, None, None)
    before = validation.ndcg(unchanged)
    best = Fitted(unchanged, 0.0, 0, 0, 0.0, before, before)
    for number, strength in enumerate(LAMBDAS):

        def part(share: float, number: int = number) -> None:
            advance((number + share) / len(LAMBDAS))

        found = _best_of(_Run(rows, side, seed, strength), validation, part)
        log.info("lambda %g: validation nDCG@10 %.4f after epoch %d", strength, found.ndcg or 0.0, found.epoch)
        if (found.ndcg or 0.0) > max(best.ndcg or 0.0, before + LEAST_RISE):
            best = found
    return replace(best, ndcg_before=before)


def _best_of(run: "_Run", validation: Validation, advance: Callable[[float], None]) -> Fitted:
    """One lambda, until validation has not risen for PATIENCE looks."""
    best: Fitted | None = None
    since = 0
    for look in range(MOST_LOOKS):
        advance(look / MOST_LOOKS)
        loss = run.go_on()
        adapter = run.adapter()
        score = validation.ndcg(adapter)
        if best is None or score > (best.ndcg or 0.0):
            best, since = Fitted(adapter, loss, run.epochs, run.epochs, run.strength, score, None), 0
        elif (since := since + 1) >= PATIENCE:
            break
    assert best is not None
    return replace(best, epochs=run.epochs)


class _Run:
    """One map under training."""

    def __init__(self, rows: Rows, side: Side, seed: int, strength: float) -> None:
        import torch

        from attune_retrieval.graph import available_cpus

        torch.set_num_threads(available_cpus())
        self.rows, self.side, self.seed, self.strength = rows, side, seed, strength
        self.epochs = 0
        self.queries, self.documents = torch.from_numpy(rows.queries), torch.from_numpy(rows.documents)
        size = rows.queries.shape[1]
        self.change = torch.zeros((size, size), requires_grad=True)
        self.identity = torch.eye(size)
        self.optimizer = torch.optim.Adam([self.change], lr=LEARNING_RATE)

    def adapter(self) -> Adapter:
        """The map as it is now."""
        weight: Any = (self.identity + self.change).detach().numpy().astype(np.float32)
        return Adapter(np.array(weight), self.side)

    def go_on(self) -> float:
        """Until the next look; the mean loss."""
        losses: list[float] = []
        while len(losses) < STEPS:
            losses += self._pass()
        mean = float(np.mean(losses))
        if not np.isfinite(mean):
            raise Diverged(
                "the loss of the adapter is no number; the API's vectors or the pairs are at fault", reason="NotANumber"
            )
        return mean

    def _pass(self) -> list[float]:
        count = len(self.rows.answers)
        size = min(LARGEST_BATCH, max(SMALLEST_BATCH, count // STEPS))
        order = np.random.default_rng([self.seed, 5, self.epochs]).permutation(count)
        self.epochs += 1
        losses = []
        for start in range(0, count, size):
            loss = self._loss(order[start : start + size])
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            losses.append(float(loss.detach()))
        return losses

    def _loss(self, batch: NDArray[np.int64]) -> "Tensor":
        import torch
        from torch.nn.functional import cross_entropy, normalize

        negatives = self.rows.negatives[batch]
        others = np.unique(np.concatenate([self.rows.answers[batch], negatives[negatives >= 0]]))
        column = {int(document): place for place, document in enumerate(others)}
        weight = self.identity + self.change
        asked = normalize(self.queries[batch] @ weight.T, dim=1)
        given = self.documents[others]
        if self.side == "both":
            given = normalize(given @ weight.T, dim=1)
        wanted = torch.tensor([column[int(answer)] for answer in self.rows.answers[batch]])
        hidden = torch.zeros((len(batch), len(others)), dtype=torch.bool)
        for place, pair in enumerate(batch):
            known = [column[d] for d in self.rows.right[pair] if d in column and d != self.rows.answers[pair]]
            hidden[place, known] = True
        scores = (SCALE * asked @ given.T).masked_fill(hidden, float("-inf"))
        return cross_entropy(scores, wanted) + self.strength * self.change.square().sum() / len(self.identity)
