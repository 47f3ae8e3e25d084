"""The store that an IndexSpec names. The clients of the others are not imported."""

from attune.contract import IndexSpec
from attune_retrieval.errors import BadConfig
from attune_retrieval.index.collection import Store


def open_store(spec: IndexSpec) -> Store:
    """A store, not necessarily reached yet. BadConfig for an address that does not fit it."""
    if spec.store == "lancedb":
        from attune_retrieval.index.lance import LanceStore

        return LanceStore(spec.uri)
    if spec.store == "pgvector":
        if not spec.uri.startswith(("postgresql://", "postgres://")):
            raise BadConfig(f"{spec.uri}: pgvector needs postgresql://host/database", reason="BadAddress")
        from attune_retrieval.index.postgres import PostgresStore

        return PostgresStore(spec.uri)
    from attune_retrieval.index.qdrant import QdrantStore

    return QdrantStore(spec.uri)
