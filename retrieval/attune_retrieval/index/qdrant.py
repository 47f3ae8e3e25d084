"""Collections of Qdrant: a dense vector and a sparse one of words, whose inverse document frequencies Qdrant keeps itself.

What a collection is for stands in a small collection of its own (`attune_collections`), since not every release of Qdrant keeps
metadata. An address `file://…` or `:memory:` is the client's local mode, for tests and notebooks.
"""

import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import httpx
import numpy as np
import stamina
import xxhash
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from attune_retrieval.errors import BadConfig, StoreUnavailable
from attune_retrieval.graph import Floats
from attune_retrieval.index.collection import BUCKETS, Described, Document, Hit, Identity, bucket_of, check, missing
from attune_retrieval.index.filters import Condition
from attune_retrieval.index.hurry import tries
from attune_retrieval.words import words

T = TypeVar("T")

REGISTRY = "attune_collections"
DENSE, SPARSE = "dense", "words"
K1, B, MEAN_LENGTH = 1.5, 0.75, 128
"""BM25; the mean length is fixed, since a sparse vector is made before the collection is complete."""
PAGE = 256
_NAMESPACE = uuid.UUID("6f1d7a52-5c3e-4a1c-9e0b-8d3f2a7c4b10")
_DISTANCES = {"cosine": models.Distance.COSINE, "dot": models.Distance.DOT, "l2": models.Distance.EUCLID}


class QdrantStore:
    """One Qdrant. The key, if it needs one: QDRANT_API_KEY in the environment."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        key = os.environ.get("QDRANT_API_KEY")
        self._client: Any
        if uri == ":memory:":
            self._client = QdrantClient(":memory:")
        elif uri.startswith("file://"):
            self._client = QdrantClient(path=uri.removeprefix("file://"))
        elif uri.startswith(("http://", "https://")):
            self._client = QdrantClient(url=uri, api_key=key, timeout=30, check_compatibility=False)
        else:
            raise BadConfig(f"{uri}: qdrant needs http://host:6333 or https://", reason="BadAddress")

    def create(self, name: str, identity: Identity) -> "QdrantCollection":
        if not self._exists(name):
            self.run(f"make {name}", lambda: self._make(name, identity))
        if self._told(name) is None:
            self.run("remember what it is for", lambda: self._tell(name, identity))
        return self.open(name, identity)

    def open(self, name: str, identity: Identity | None = None) -> "QdrantCollection":
        found = self._told(name) if self._exists(name) else None
        if found is None:
            raise missing(name, self.uri)
        check(name, found, identity)
        return QdrantCollection(self, self._client, name, found)

    def drop(self, name: str) -> bool:
        if not self._exists(name):
            return False
        self.run(f"drop {name}", lambda: self._client.delete_collection(name))
        if self._exists(REGISTRY):
            self.run("forget it", lambda: self._client.delete(REGISTRY, [_point(name)]))
        return True

    def names(self) -> list[str]:
        found = self.run("list", self._client.get_collections).collections
        return sorted(c.name for c in found if c.name != REGISTRY)

    def close(self) -> None:
        self._client.close()

    def run(self, action: str, work: Callable[[], T]) -> T:
        """Do it, again where the server is away for a while."""
        try:
            for attempt in stamina.retry_context(on=_passing, **tries(6, 0.2, 8.0)):
                with attempt:
                    return work()
        except (ApiException, httpx.HTTPError, OSError) as error:
            raise StoreUnavailable(
                f"{self.uri}: could not {action}: {type(error).__name__}: {str(error)[:300]}; check index.uri, that the server "
                "answers from this pod, and QDRANT_API_KEY (index.secretRef)"
            ) from error
        raise AssertionError("stamina returns or raises")

    def _exists(self, name: str) -> bool:
        return bool(self.run("look", lambda: self._client.collection_exists(name)))

    def _make(self, name: str, identity: Identity) -> None:
        try:
            self._client.create_collection(
                name,
                vectors_config={
                    DENSE: models.VectorParams(size=identity.dimensions, distance=_DISTANCES[identity.distance])
                },
                sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            )
        except (UnexpectedResponse, ValueError):
            if not self._client.collection_exists(name):  # else: another shard made it a moment ago
                raise
            return
        if not self.uri.startswith(("file://", ":memory:")):
            for field, schema in (("bucket", "integer"), ("id", "keyword"), ("published_at", "datetime")):
                self._client.create_payload_index(name, field, field_schema=schema)

    def _tell(self, name: str, identity: Identity) -> None:
        if not self._client.collection_exists(REGISTRY):
            size = models.VectorParams(size=1, distance=models.Distance.DOT)
            try:
                self._client.create_collection(REGISTRY, vectors_config=size)
            except (UnexpectedResponse, ValueError):
                if not self._client.collection_exists(REGISTRY):
                    raise
        told = {"space": identity.space, "dimensions": identity.dimensions, "distance": identity.distance}
        self._client.upsert(REGISTRY, [models.PointStruct(id=_point(name), vector=[0.0], payload=told)], wait=True)

    def _told(self, name: str) -> Identity | None:
        if not self._exists(REGISTRY):
            return None
        found = self.run("look", lambda: self._client.retrieve(REGISTRY, [_point(name)], with_payload=True))
        return Identity(**found[0].payload) if found and found[0].payload else None


class QdrantCollection:
    """One collection; a document's point is a UUID made of its id."""

    def __init__(self, store: QdrantStore, client: Any, name: str, identity: Identity) -> None:
        self._store = store
        self._client = client
        self.name = name
        self.identity = identity

    def describe(self) -> Described:
        return Described(self.name, self.identity, self.count())

    def count(self, shard: int = 0, shards: int = 1) -> int:
        wanted = _of_shard(shard, shards)
        return int(self._do("count", lambda: self._client.count(self.name, count_filter=wanted, exact=True).count))

    def digests(self, shard: int = 0, shards: int = 1) -> Iterator[tuple[str, str]]:
        offset: Any = None
        while True:
            points, offset = self._do(
                "read",
                partial(
                    self._client.scroll,
                    self.name,
                    scroll_filter=_of_shard(shard, shards),
                    limit=4096,
                    offset=offset,
                    with_payload=["id", "digest"],
                ),
            )
            yield from ((p.payload["id"], p.payload["digest"]) for p in points)
            if offset is None:
                return

    def write(self, documents: Sequence[Document], vectors: Floats, *, new: bool) -> None:
        del new  # an upsert in either case
        points = [_as_point(d, v) for d, v in zip(documents, vectors, strict=True)]
        for start in range(0, len(points), PAGE):
            part = points[start : start + PAGE]
            self._do("write to", partial(self._client.upsert, self.name, part, wait=True))

    def delete(self, ids: Sequence[str]) -> None:
        if ids:
            points: list[Any] = [_point(i) for i in ids]
            self._do("delete from", lambda: self._client.delete(self.name, points, wait=True))

    def vectors(self, ids: Sequence[str]) -> dict[str, Floats]:
        points: list[Any] = [_point(i) for i in ids]
        found = self._do(
            "read", lambda: self._client.retrieve(self.name, points, with_payload=["id"], with_vectors=[DENSE])
        )
        return {p.payload["id"]: np.asarray(p.vector[DENSE], np.float32) for p in found if p.payload and p.vector}

    def finish(self) -> None:
        """Qdrant builds its indexes while points arrive."""

    def dense(self, vector: Floats, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        found = self._query(np.asarray(vector, np.float32).tolist(), DENSE, k, conditions)
        return _hits(found, -1.0 if self.identity.distance == "l2" else 1.0)

    def by_words(self, query: str, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        counts = Counter(words(query))
        if not counts:
            return []
        asked = models.SparseVector(indices=[_number(w) for w in counts], values=[1.0] * len(counts))
        return _hits([p for p in self._query(asked, SPARSE, k, conditions) if p.score > 0], 1.0)

    def _query(self, query: Any, using: str, k: int, conditions: Sequence[Condition]) -> list[Any]:
        narrowed = models.Filter(must=[_must(c) for c in conditions]) if conditions else None
        return list(
            self._do(
                "search",
                lambda: (
                    self._client.query_points(
                        self.name, query=query, using=using, limit=k, query_filter=narrowed, with_payload=True
                    ).points
                ),
            )
        )

    def _do(self, action: str, work: Callable[[], T]) -> T:
        return self._store.run(f"{action} {self.name}", work)


def _as_point(document: Document, vector: Floats) -> models.PointStruct:
    counts = Counter(words(f"{document.title} {document.content}"))
    length = K1 * (1 - B + B * counts.total() / MEAN_LENGTH)
    weights: dict[int, float] = {}
    for word, times in counts.items():
        weights[_number(word)] = weights.get(_number(word), 0.0) + times * (K1 + 1) / (times + length)
    payload = {
        "id": document.id,
        "bucket": bucket_of(document.id),
        "digest": document.digest,
        "title": document.title,
        "content": document.content,
        "published_at": document.published_at,
    }
    sparse = models.SparseVector(indices=list(weights), values=list(weights.values()))
    return models.PointStruct(id=_point(document.id), vector={DENSE: vector.tolist(), SPARSE: sparse}, payload=payload)


def _point(identifier: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, identifier))


def _number(word: str) -> int:
    """A word as the index of a sparse vector."""
    return xxhash.xxh32_intdigest(word.encode()) & 0x7FFFFFFF


def _of_shard(shard: int, shards: int) -> models.Filter | None:
    if shards == 1:
        return None
    buckets = [b for b in range(BUCKETS) if b % shards == shard]
    return models.Filter(must=[models.FieldCondition(key="bucket", match=models.MatchAny(any=buckets))])


def _must(condition: Condition) -> Any:
    if isinstance(condition.value, tuple):
        return models.FieldCondition(key=condition.field, match=models.MatchAny(any=list(condition.value)))
    if condition.operator == "eq":
        return models.FieldCondition(key=condition.field, match=models.MatchValue(value=condition.value))
    bounds: Any = {condition.operator: condition.value}
    return models.FieldCondition(key=condition.field, range=models.DatetimeRange(**bounds))


def _hits(points: Sequence[Any], sign: float) -> list[Hit]:
    hits = [
        Hit(
            p.payload["id"],
            sign * float(p.score),
            p.payload.get("title") or "",
            p.payload.get("content") or "",
            p.payload.get("published_at"),
        )
        for p in points
    ]
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


def _passing(error: Exception) -> bool:
    if isinstance(error, UnexpectedResponse):
        return (error.status_code or 0) >= 500 or error.status_code == 429
    return isinstance(error, ResponseHandlingException | httpx.TransportError)
