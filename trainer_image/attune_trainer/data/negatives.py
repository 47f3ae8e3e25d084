"""Hard negatives: texts that look like the answer and are not. Called by prepare.py.

Candidates come from the base model (dense) and from BM25, in turns. A candidate is taken only if the base model scores
it clearly below the positive (`relativeMargin`): what scores as high may well be a second right answer. Never taken:
another known answer of the same query, a text close to the positive, a document outside the training side.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, zip_longest

import numpy as np
from numpy.typing import NDArray

from attune_trainer.data.bm25 import Bm25
from attune_trainer.data.dedup import Distinct
from attune_trainer.data.nearest import Wanted, nearest
from attune_trainer.data.records import Document, Pair
from attune_trainer.errors import BadConfig

Encode = Callable[[list[str]], NDArray[np.float32]]
Vectors = NDArray[np.float32]

CANDIDATES = 100
"""From each of the two rankings."""
NEAR_THE_TOP, NEAR_THE_TOP_SHARE = 100, 0.01
"""A pair is suspect whose own document is neither among so many (the larger of number and share) of the base model's
ranking, nor among BM25's CANDIDATES."""
CLOSE = 0.5
"""Estimated Jaccard similarity to the positive from which a text is no negative (those from dedup.NEAR on are gone)."""
_ENCODE_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Mining:
    """Settings of one mining run."""

    per_query: int
    relative_margin: float
    query_prompt: str = ""
    document_prompt: str = ""


@dataclass(frozen=True, slots=True)
class Pool:
    """What negatives are taken from: training documents, and the other known facts about documents and queries."""

    train: Sequence[Document]
    distinct: Distinct
    positives: Mapping[str, set[str]]
    rejected: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Mined:
    """Pairs with their negatives; `suspect`: positions of pairs whose document neither ranking has near the top;
    `above_line`: candidates that were left out as possible positives."""

    pairs: list[Pair]
    suspect: list[int]
    above_line: int


def mine(pairs: Sequence[Pair], pool: Pool, encode: Encode, mining: Mining, report: Callable[[float], None]) -> Mined:
    """Give every pair its negatives. `report` gets 0..1.

    Memory: the vectors of documents and queries, and two rankings of CANDIDATES per query; scores only by blocks.
    """
    rows = {identifier: row for row, identifier in enumerate({pair.query_id: None for pair in pairs})}
    queries = list({pair.query_id: pair.query for pair in pairs}.values())
    documents = _with_positives(pool, pairs)
    texts = [document.content for document in documents]
    share = len(texts) / (len(texts) + len(queries))
    vectors = embed(texts, mining.document_prompt, encode, lambda done: report(0.7 * share * done))
    asked = embed(queries, mining.query_prompt, encode, lambda done: report(0.7 * (share + (1 - share) * done)))
    chooser = _Chooser(pool, documents, mining, vectors)
    query_rows = np.array([rows[pair.query_id] for pair in pairs], dtype=np.int64)
    positive_rows = np.array([chooser.row[pair.doc_id] for pair in pairs], dtype=np.int64)
    positive_scores = np.einsum("pd,pd->p", asked[query_rows], vectors[positive_rows])
    wanted = Wanted(query_rows, positive_scores)
    dense = nearest(asked, vectors[: len(pool.train)], CANDIDATES, wanted, lambda done: report(0.7 + 0.15 * done))
    found, scores = Bm25(texts[: len(pool.train)]).search(queries, CANDIDATES, lambda done: report(0.85 + 0.1 * done))
    lexical = [row[score > 0].tolist() for row, score in zip(found, scores, strict=True)]
    mined, suspect = [], []
    near = max(NEAR_THE_TOP, int(NEAR_THE_TOP_SHARE * len(pool.train)))
    for number, (pair, row, positive) in enumerate(
        zip(pairs, query_rows.tolist(), positive_rows.tolist(), strict=True)
    ):
        mined.append(
            chooser.choose(
                pair, asked[row], float(positive_scores[number]), (dense.positions[row].tolist(), lexical[row])
            )
        )
        if positive < len(pool.train) and dense.ranks[number] >= near and positive not in lexical[row]:
            suspect.append(number)
    report(1.0)
    return Mined(mined, suspect, chooser.above_line)


def embed(texts: Sequence[str], prompt: str, encode: Encode, report: Callable[[float], None]) -> Vectors:
    """Vectors of `texts`, (len x dimensions), encoded longest first in blocks so that little is padded."""
    order = sorted(range(len(texts)), key=lambda number: (-len(texts[number]), number))
    vectors: Vectors | None = None
    for start in range(0, len(order), _ENCODE_BLOCK):
        block = order[start : start + _ENCODE_BLOCK]
        encoded = np.asarray(encode([prompt + texts[number] for number in block]), dtype=np.float32)
        if not np.isfinite(encoded).all():
            raise BadConfig("the base model gives NaN or infinite vectors; try precision: fp32, or another base model")
        if vectors is None:
            vectors = np.empty((len(texts), encoded.shape[1]), np.float32)
        vectors[block] = encoded
        report((start + len(block)) / len(order))
    return vectors if vectors is not None else np.empty((0, 1), np.float32)


def _with_positives(pool: Pool, pairs: Sequence[Pair]) -> list[Document]:
    """Training documents first; behind them the positives that lie elsewhere (validation): scored, never a negative."""
    train = {document.id for document in pool.train}
    others = {pair.doc_id: Document(pair.doc_id, "", pair.pos) for pair in pairs if pair.doc_id not in train}
    return [*pool.train, *others.values()]


class _Chooser:
    """Picks the negatives of one pair after the other."""

    def __init__(self, pool: Pool, documents: Sequence[Document], mining: Mining, vectors: Vectors) -> None:
        self.pool, self.mining, self.documents, self.vectors = pool, mining, documents, vectors
        self.row = {document.id: row for row, document in enumerate(documents)}
        position = {document.id: at for at, document in enumerate(pool.distinct.documents)}
        self.position = np.array([position[document.id] for document in documents], dtype=np.int64)
        self.train = frozenset(document.id for document in pool.train)
        self.above_line = 0

    def choose(self, pair: Pair, query: Vectors, score: float, ranked: tuple[list[int], list[int]]) -> Pair:
        """`pair` with its negatives; `score`: the positive's; `ranked`: the dense and the lexical candidates."""
        line = score - (1 - self.mining.relative_margin) * abs(score)
        taken = self._rejected(pair)
        known = self.pool.positives.get(pair.query_id, ())
        seen = {self.row[identifier] for identifier in (*known, pair.doc_id) if identifier in self.row} | set(taken)

        def acceptable(ranking: list[int]) -> Iterator[int]:
            for candidate in ranking:
                if candidate in seen:
                    continue
                seen.add(candidate)
                if float(self.vectors[candidate] @ query) >= line:
                    self.above_line += 1
                elif not self._close(self.row[pair.doc_id], candidate):
                    yield candidate

        in_turns = chain.from_iterable(zip_longest(*map(acceptable, ranked)))
        mined = (candidate for candidate in in_turns if candidate is not None)
        taken += islice(mined, self.mining.per_query - len(taken))
        chosen = [self.documents[row] for row in taken]
        return replace(pair, neg=tuple(d.content for d in chosen), neg_ids=tuple(d.id for d in chosen))

    def _rejected(self, pair: Pair) -> list[int]:
        """What people called wrong goes first, whatever it scores."""
        ids = [identifier for identifier in self.pool.rejected.get(pair.query_id, ()) if identifier in self.train]
        return [self.row[identifier] for identifier in ids if identifier != pair.doc_id][: self.mining.per_query]

    def _close(self, positive: int, candidate: int) -> bool:
        others = self.position[[candidate]]
        return bool(self.pool.distinct.similarity(int(self.position[positive]), others)[0] >= CLOSE)
