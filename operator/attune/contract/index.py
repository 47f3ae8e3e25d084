"""The vector store, as the index stage and serving are told of it. One collection per embedding version."""

import hashlib
from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from attune.contract.base import Contract

IndexStore = Literal["lancedb", "pgvector", "qdrant"]
Distance = Literal["cosine", "dot", "l2"]


class IndexSpec(Contract):
    """Where collections are. Credentials come from the environment of the process, never from here."""

    store: IndexStore = "lancedb"
    uri: str = Field(description="lancedb: file://, pvc://, s3://, gs://; pgvector: postgresql://; qdrant: http(s)://.")
    distance: Distance = "cosine"
    hybrid: bool = Field(True, description="Search by words (BM25) as well, and fuse both rankings.")


class IndexWork(Contract):
    """What an index stage is to do: one shard of the corpus into one collection, or the check that all are in."""

    index: IndexSpec
    collection: str = Field(min_length=1, description="Name of the version's collection; made if it is not there.")
    shards: int = Field(1, ge=1, le=4096, description="Into how many parts the corpus is cut, by hash of the id.")


class RetireWork(Contract):
    """What a retire stage deletes. Never anything that serves: the operator decides, at the moment of creating the Job."""

    index: IndexSpec | None = None
    collections: tuple[str, ...] = Field((), description="Collections to drop; absent ones are fine.")
    artifacts: tuple[str, ...] = Field((), description="Artifact folders to delete; absent ones are fine.")


class IndexSummary(Contract):
    """A complete collection, or one shard of it."""

    collection: str
    documents: int = Field(ge=0, description="Documents in the collection (of this shard, for a shard).")
    embedded: int = Field(ge=0, description="Documents that were embedded by this run; the others were there already.")
    removed: int = Field(0, ge=0, description="Documents that left the corpus and were removed.")
    digest: str = Field(description="Digest of the corpus: ids and texts, whatever their order.")
    shard: int | None = Field(None, ge=0, description="Number of the shard; absent when all of the corpus was done.")
    sampled: int = Field(0, ge=0, description="Vectors that were computed anew and compared with those stored.")


_PREFIX = "sha256sum:"


def corpus_digest(documents: Iterable[tuple[str, str]]) -> str:
    """Digest of (id, text) pairs, whatever their order: the sum of their sha256 modulo 2^256 (Bellare & Micciancio's AdHash)."""
    total = 0
    for identifier, text in documents:
        item = f"{len(identifier)}:{identifier}{text}".encode()
        total += int.from_bytes(hashlib.sha256(item).digest())
    return f"{_PREFIX}{total % 2**256:064x}"


def combine_digests(digests: Iterable[str]) -> str:
    """The digest of all documents from those of disjoint parts; ValueError for one that `corpus_digest` did not make."""
    return f"{_PREFIX}{sum(int(one.removeprefix(_PREFIX), 16) for one in digests) % 2**256:064x}"


__all__ = [
    "Distance",
    "IndexSpec",
    "IndexStore",
    "IndexSummary",
    "IndexWork",
    "RetireWork",
    "combine_digests",
    "corpus_digest",
]
