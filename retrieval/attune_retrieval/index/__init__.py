"""Vector stores behind one interface: LanceDB, PostgreSQL with pgvector, Qdrant. One collection per embedding space.

`open_store` gives the store that an IndexSpec names. The index stage fills collections, serving searches them.
"""

from attune_retrieval.index.collection import Collection, Described, Document, Hit, Identity, Store, bucket_of
from attune_retrieval.index.filters import Condition, parse_filter
from attune_retrieval.index.fusion import Fusion, search
from attune_retrieval.index.hurry import hurried
from attune_retrieval.index.stores import open_store

__all__ = [
    "Collection",
    "Condition",
    "Described",
    "Document",
    "Fusion",
    "Hit",
    "Identity",
    "Store",
    "bucket_of",
    "hurried",
    "open_store",
    "parse_filter",
    "search",
]
