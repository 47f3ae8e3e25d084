"""A collection whose store is away at the moment: opened, and checked, at its first use. Made by `loading`."""

import threading
from collections.abc import Iterator, Sequence

from attune_retrieval.graph import Floats
from attune_retrieval.index import Collection, Condition, Described, Document, Hit, Identity, Store


class Reopening:
    """Implements `Collection` by the real one, once that can be opened; until then every call raises StoreUnavailable."""

    def __init__(self, store: Store, name: str, identity: Identity) -> None:
        self.name = name
        self._store = store
        self._identity = identity
        self._lock = threading.Lock()
        self._found: Collection | None = None

    @property
    def _real(self) -> Collection:
        with self._lock:
            if self._found is None:
                self._found = self._store.open(self.name, self._identity)
            return self._found

    def describe(self) -> Described:
        return self._real.describe()

    def count(self, shard: int = 0, shards: int = 1) -> int:
        return self._real.count(shard, shards)

    def digests(self, shard: int = 0, shards: int = 1) -> Iterator[tuple[str, str]]:
        return self._real.digests(shard, shards)

    def write(self, documents: Sequence[Document], vectors: Floats, *, new: bool) -> None:
        self._real.write(documents, vectors, new=new)

    def delete(self, ids: Sequence[str]) -> None:
        self._real.delete(ids)

    def vectors(self, ids: Sequence[str]) -> dict[str, Floats]:
        return self._real.vectors(ids)

    def finish(self) -> None:
        self._real.finish()

    def dense(self, vector: Floats, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        return self._real.dense(vector, k, conditions)

    def by_words(self, query: str, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        return self._real.by_words(query, k, conditions)
