"""The validation set of a reranker: each query with its answer and texts that are none, ranked after every epoch."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from attune_trainer import cross_encoder
from attune_trainer.evaluate.ranking import MEASURES
from attune_trainer.train.pairs import Pair
from attune_trainer.train.validation import Score

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

MAX_QUERIES = 200
CANDIDATES = 20
AT_ONCE = 512
Scorer = Callable[[Sequence[tuple[str, str]]], Iterable[float]]
"""(query, text) pairs to their relevance."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A query and its candidates; the first `answers` of them are right."""

    query: str
    names: tuple[str, ...]
    texts: tuple[str, ...]
    answers: frozenset[str]


def candidates(validation: Sequence[Pair], training: Sequence[Pair], seed: int) -> tuple[Asked, ...]:
    """Each validation query with its answers, its mined negatives and random texts, 20 in all; a sample where there are many."""
    rng = np.random.default_rng([seed, 5])
    documents = {pair.document: pair.positive for pair in (*training, *validation)}
    names = sorted(documents)
    answers: dict[str, set[str]] = {}
    for pair in validation:
        answers.setdefault(pair.query, set()).add(pair.document)
    asked = []
    for row in sorted(rng.permutation(len(validation))[:MAX_QUERIES]):
        pair = validation[row]
        found = {name: documents[name] for name in sorted(answers[pair.query])}
        for name, text in zip(pair.negative_documents, pair.negatives, strict=True):
            found.setdefault(name, text)
        for draw in rng.permutation(len(names)):
            if len(found) >= CANDIDATES:
                break
            found.setdefault(names[draw], documents[names[draw]])
        asked.append(Asked(pair.query, tuple(found), tuple(found.values()), frozenset(answers[pair.query])))
    return tuple(asked)


@dataclass
class RerankerSubject:
    """A cross-encoder over a validation set; an empty one: nothing is looked at."""

    model: "CrossEncoder"
    held_out: tuple[Asked, ...]
    collapsed: str = "the scores became the same for all texts"
    alike: str = "1 minus their standard deviation"
    reason: str = "ScoresCollapsed"

    @property
    def validated(self) -> bool:
        return bool(self.held_out)

    def look(self, check: Callable[[], None]) -> Score:
        """nDCG@10 over the candidates, and how alike the scores are."""
        return look(lambda pairs: cross_encoder.scores(self.model, pairs), self.held_out, check)


def look(score: Scorer, held_out: Sequence[Asked], check: Callable[[], None]) -> Score:
    """nDCG@10 over the candidates, and how alike the scores are, by whatever gives scores."""
    pairs = [(asked.query, text) for asked in held_out for text in asked.texts]
    scores: list[float] = []
    for start in range(0, len(pairs), AT_ONCE):
        check()
        scores += [float(found) for found in score(pairs[start : start + AT_ONCE])]
    ndcg, at = [], 0
    for asked in held_out:
        own = np.array(scores[at : at + len(asked.names)])
        at += len(asked.names)
        # Equal scores rank the answer last: a model that says the same of everything must not look good.
        order = sorted(range(len(own)), key=lambda n: (-own[n], asked.names[n] in asked.answers))
        ranked = [asked.names[n] for n in order]
        ndcg.append(MEASURES["ndcg_at10"](ranked, dict.fromkeys(asked.answers, 1), 10))
    return Score(float(np.mean(ndcg)), 1.0 - float(np.std(scores)), tuple(ndcg))
