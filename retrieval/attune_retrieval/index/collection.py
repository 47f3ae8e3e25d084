"""What a vector store is to Attune: named collections of documents, each of one embedding space, searched by vector and by words.

Implemented by `lance`, `postgres` and `qdrant`. Everything blocks; serving calls it from a pool of threads, so that every
method may be called by several threads at once.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import xxhash

from attune.contract.index import Distance
from attune_retrieval.errors import BadData
from attune_retrieval.graph import Floats
from attune_retrieval.index.filters import Condition

BUCKETS = 4096
"""Documents are spread over so many buckets by hash of the id; shard i of n has the buckets with bucket % n == i."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a collection is for. Opening it for anything else is an error: vectors of two spaces cannot be compared."""

    space: str
    dimensions: int
    distance: Distance = "cosine"


@dataclass(frozen=True, slots=True)
class Document:
    """One article. `content` is what is embedded; words are taken from title and content."""

    id: str
    title: str
    content: str
    published_at: str | None = None

    @property
    def digest(self) -> str:
        """Changes when anything of the document does."""
        parts = "\x00".join((self.title, self.content, self.published_at or ""))
        return hashlib.sha256(parts.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Hit:
    """A document that was found. The higher the score the better; its scale depends on who gave it."""

    id: str
    score: float
    title: str = ""
    content: str = ""
    published_at: str | None = None


@dataclass(frozen=True, slots=True)
class Described:
    """A collection as it is. `hybrid` is False where the store cannot search by words."""

    name: str
    identity: Identity
    documents: int
    hybrid: bool = True


def bucket_of(identifier: str) -> int:
    """The bucket of a document, for ever: xxh3_64 of its id in UTF-8, modulo 4096."""
    return xxhash.xxh3_64_intdigest(identifier.encode()) % BUCKETS


class Collection(Protocol):
    """One collection that exists. Errors: BadData, or StoreUnavailable where the store does not answer."""

    name: str

    def describe(self) -> Described:
        """What it is for, and how many documents are in it now."""
        ...

    def count(self, shard: int = 0, shards: int = 1) -> int:
        """Documents of one shard of the corpus."""
        ...

    def digests(self, shard: int = 0, shards: int = 1) -> Iterator[tuple[str, str]]:
        """(id, digest) of every document of a shard."""
        ...

    def write(self, documents: Sequence[Document], vectors: Floats, *, new: bool) -> None:
        """Put documents with their vectors, shape (len(documents), dimensions); `new`: none of the ids is there yet."""
        ...

    def delete(self, ids: Sequence[str]) -> None:
        """Remove documents; absent ones are fine."""
        ...

    def vectors(self, ids: Sequence[str]) -> dict[str, Floats]:
        """The stored vectors of those ids that are there."""
        ...

    def finish(self) -> None:
        """Build what makes searching fast, over all that is there. May be called again, and by two at once."""
        ...

    def dense(self, vector: Floats, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        """The k nearest documents, best first. Scores: cosine, dot product, or minus the distance for l2."""
        ...

    def by_words(self, query: str, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        """The k best documents by BM25 over title and content; none for a query without a word."""
        ...


class Store(Protocol):
    """A place with collections."""

    def create(self, name: str, identity: Identity) -> Collection:
        """The collection, made if it is not there. BadData (SpaceMismatch, DimensionMismatch) if it is for something else."""
        ...

    def open(self, name: str, identity: Identity | None = None) -> Collection:
        """The collection; BadData: CollectionMissing, or as `create` where an identity is expected."""
        ...

    def drop(self, name: str) -> bool:
        """Remove a collection with all in it; False where there was none."""
        ...

    def names(self) -> list[str]:
        """Names of all collections, sorted."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


def check(name: str, found: Identity, expected: Identity | None) -> None:
    """BadData unless a collection is for what is expected of it."""
    if expected is None:
        return
    if found.dimensions != expected.dimensions:
        raise BadData(
            f"collection {name} has vectors of {found.dimensions} dimensions, the model of {expected.dimensions}; "
            "it needs a collection of its own",
            reason="DimensionMismatch",
        )
    if found.space != expected.space or found.distance != expected.distance:
        raise BadData(
            f"collection {name} is of embedding space {found.space} ({found.distance}), the model of {expected.space} "
            f"({expected.distance}); their vectors cannot be compared, it needs a collection of its own",
            reason="SpaceMismatch",
        )


def missing(name: str, where: str) -> BadData:
    """The error of a collection that is not there."""
    return BadData(
        f"there is no collection {name} in {where}; the index stage makes it, `kubectl get mv` shows how far it is",
        reason="CollectionMissing",
    )


def similarities(vector: Floats, others: Floats, distance: Distance) -> Floats:
    """Exact scores as `Collection.dense` gives them, shape (len(others),)."""
    if distance == "l2":
        return np.asarray(-np.linalg.norm(others - vector, axis=1), dtype=np.float32)
    products = others @ vector
    if distance == "dot":
        return np.asarray(products, dtype=np.float32)
    norms = np.linalg.norm(others, axis=1) * np.linalg.norm(vector)
    return np.asarray(products / np.maximum(norms, 1e-12), dtype=np.float32)
