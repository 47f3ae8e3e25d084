"""Collections as LanceDB tables: files in a folder, a claim or a bucket, without any server.

Reading needs no right to write. Writers of different shards append at the same time; what is lost to a conflict of commits is
tried again. BM25 is LanceDB's own, over our words.
"""

import errno
import json
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import lancedb
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import stamina
from lancedb.index import FTS, HnswSq
from lancedb.query import MatchQuery

from attune_retrieval import store
from attune_retrieval.errors import BadData, RetrievalError, StoreUnavailable
from attune_retrieval.graph import Floats
from attune_retrieval.index.collection import Described, Document, Hit, Identity, bucket_of, check, missing
from attune_retrieval.index.filters import Condition
from attune_retrieval.index.hurry import tries
from attune_retrieval.words import words

T = TypeVar("T")
_match: Any = MatchQuery  # its own annotations ask for arguments that have defaults

ANN_FROM = 50_000
"""Below so many documents an exact scan is fast enough."""
WORDS = FTS(
    base_tokenizer="whitespace",
    lower_case=False,
    stem=False,
    remove_stop_words=False,
    ascii_folding=False,
    max_token_length=None,
    with_position=False,
)
"""Our words as they are: LanceDB only cuts at spaces."""
SHOWN = ["id", "title", "content", "published_at"]
_KEY = b"attune"
_SQL = {"eq": "=", "gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}


class LanceStore:
    """A folder of tables."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        place = store.resolve(uri)
        self._address = place.path if place.local else uri
        self._local = place.local
        self._connection: Any = None

    def create(self, name: str, identity: Identity) -> "LanceCollection":
        if self._local and self.uri.startswith("pvc://"):
            store.writable(self.uri)
        try:
            return self.open(name, identity)
        except BadData as error:
            if error.reason != "CollectionMissing":
                raise
        schema, db = _schema(identity), self._db()
        table = _guarded(self.uri, f"make {name}", lambda: db.create_table(name, schema=schema, exist_ok=True))
        return self._checked(name, table, identity)

    def open(self, name: str, identity: Identity | None = None) -> "LanceCollection":
        if self._local and not Path(self._address).is_dir():
            raise missing(name, self.uri)
        try:
            table = _guarded(self.uri, f"open {name}", lambda: self._db().open_table(name))
        except ValueError as error:
            raise missing(name, self.uri) from error
        return self._checked(name, table, identity)

    def drop(self, name: str) -> bool:
        if name not in self.names():
            return False
        _guarded(self.uri, f"drop {name}", lambda: self._db().drop_table(name, ignore_missing=True))
        return True

    def names(self) -> list[str]:
        if self._local and not Path(self._address).is_dir():
            return []
        found: list[str] = []
        token: str | None = None
        while True:
            page = _guarded(self.uri, "list", partial(self._db().list_tables, page_token=token))
            found += page.tables
            token = page.page_token
            if not token:
                return sorted(found)

    def close(self) -> None:
        self._connection = None

    def _db(self) -> Any:
        if self._connection is None:
            interval = timedelta(0)  # always read the newest: other processes write
            self._connection = _guarded(
                self.uri, "open", lambda: lancedb.connect(self._address, read_consistency_interval=interval)
            )
        return self._connection

    def _checked(self, name: str, table: Any, identity: Identity | None) -> "LanceCollection":
        collection = LanceCollection(self.uri, name, table)
        check(name, collection.identity, identity)
        return collection


class LanceCollection:
    """One table. `identity` is in the metadata of its schema."""

    def __init__(self, uri: str, name: str, table: Any) -> None:
        self._uri = uri
        self.name = name
        self._table = table
        self.identity = Identity(**json.loads((table.schema.metadata or {})[_KEY]))

    def describe(self) -> Described:
        return Described(self.name, self.identity, self.count())

    def count(self, shard: int = 0, shards: int = 1) -> int:
        where = None if shards == 1 else f"bucket % {int(shards)} = {int(shard)}"
        return int(self._do("count", lambda: self._table.count_rows(where)))

    def digests(self, shard: int = 0, shards: int = 1) -> Iterator[tuple[str, str]]:
        query = self._table.search().select(["id", "digest"])
        if shards > 1:
            query = query.where(f"bucket % {int(shards)} = {int(shard)}")
        for batch in self._do("read", lambda: query.to_batches(batch_size=8192)):
            yield from zip(batch.column("id").to_pylist(), batch.column("digest").to_pylist(), strict=True)

    def write(self, documents: Sequence[Document], vectors: Floats, *, new: bool) -> None:
        rows = _rows(documents, vectors, self.identity)
        if new:
            self._do("write", lambda: self._table.add(rows))
            return
        self._do(
            "write",
            lambda: (
                self._table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(rows)
            ),
        )

    def delete(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            self._do("delete", partial(self._table.delete, _in("id", part)))

    def vectors(self, ids: Sequence[str]) -> dict[str, Floats]:
        found: dict[str, Floats] = {}
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            table = self._do("read", partial(self._stored, part))
            stacked = np.stack(table.column("vector").to_numpy(zero_copy_only=False)) if table.num_rows else ()
            found |= dict(zip(table.column("id").to_pylist(), np.asarray(stacked, np.float32), strict=True))
        return found

    def _stored(self, ids: Sequence[str]) -> Any:
        return self._table.search().where(_in("id", ids)).select(["id", "vector"]).limit(len(ids)).to_arrow()

    def finish(self) -> None:
        """The word index, the index of ids, and from 50,000 documents on one of vectors. New rows are merged into them."""
        documents = self.count()
        if documents:
            self._do("index", lambda: self._index("words", WORDS))
        if documents >= ANN_FROM:
            self._do("index", lambda: self._index("vector", HnswSq(distance_type=self.identity.distance)))
        self._do("optimize", lambda: self._table.optimize(cleanup_older_than=timedelta(hours=1)))

    def _index(self, column: str, config: Any) -> None:
        """Make an index, unless it is there, or another shard makes it at the same time."""
        if column in {index.columns[0] for index in self._table.list_indices()}:
            return
        try:
            self._table.create_index(column, config=config, replace=False)
        except RuntimeError as error:
            if "already exists" not in str(error):
                raise

    def dense(self, vector: Floats, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        distance = self.identity.distance

        def look() -> Any:  # making the query already reads the schema
            query = self._table.search(np.asarray(vector, np.float32), vector_column_name="vector")
            query = query.distance_type(distance).select([*SHOWN, "_distance"]).limit(k)
            return _narrowed(query, conditions).to_arrow()

        found = self._do("search", look)
        scores = [_score(float(value), distance) for value in found.column("_distance").to_pylist()]
        return _hits(found, scores)

    def by_words(self, query: str, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        asked = words(query)
        if not asked or self.count() == 0:
            return []

        def look() -> Any:
            query = self._table.search(_match(" ".join(asked), "words")).select([*SHOWN, "_score"]).limit(k)
            return _narrowed(query, conditions).to_arrow()

        found = self._do("search", look)
        return _hits(found, [float(value) for value in found.column("_score").to_pylist()])

    def _do(self, action: str, run: Callable[[], T]) -> T:
        return _guarded(self._uri, f"{action} {self.name}", run)


def _schema(identity: Identity) -> pa.Schema:
    told = {"space": identity.space, "dimensions": identity.dimensions, "distance": identity.distance}
    return pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("bucket", pa.int32(), nullable=False),
            pa.field("digest", pa.string(), nullable=False),
            pa.field("title", pa.string()),
            pa.field("content", pa.string()),
            pa.field("published_at", pa.string()),
            pa.field("words", pa.string()),
            pa.field("vector", pa.list_(pa.float32(), identity.dimensions)),
        ],
        metadata={_KEY: json.dumps(told).encode()},
    )


def _rows(documents: Sequence[Document], vectors: Floats, identity: Identity) -> pa.Table:
    flat = pa.array(np.ascontiguousarray(vectors, np.float32).reshape(-1))
    return pa.table(
        {
            "id": [d.id for d in documents],
            "bucket": pa.array([bucket_of(d.id) for d in documents], pa.int32()),
            "digest": [d.digest for d in documents],
            "title": [d.title for d in documents],
            "content": [d.content for d in documents],
            "published_at": pa.array([d.published_at for d in documents], pa.string()),
            "words": [" ".join(words(f"{d.title} {d.content}")) for d in documents],
            "vector": pa.FixedSizeListArray.from_arrays(flat, identity.dimensions),
        },
        schema=_schema(identity),
    )


def _quoted(text: str) -> str:
    """A text in LanceDB's SQL, which has no parameters: single quotes doubled, and nothing else has a meaning in it."""
    return "'" + text.replace("'", "''") + "'"


def _in(column: str, values: Sequence[str]) -> str:
    return f"{column} IN ({', '.join(map(_quoted, values))})"


def _narrowed(query: Any, conditions: Sequence[Condition]) -> Any:
    if not conditions:
        return query
    parts = [
        _in(c.field, c.value) if isinstance(c.value, tuple) else f"{c.field} {_SQL[c.operator]} {_quoted(c.value)}"
        for c in conditions
    ]
    return query.where(" AND ".join(parts), prefilter=True)


def _score(value: float, distance: str) -> float:
    """LanceDB gives 1 - cosine, 1 - dot product, or the squared distance; higher is better here."""
    return -float(np.sqrt(max(0.0, value))) if distance == "l2" else 1.0 - value


def _hits(table: pa.Table, scores: Sequence[float]) -> list[Hit]:
    columns = [table.column(name).to_pylist() for name in SHOWN]
    hits = [Hit(i, s, t or "", c or "", p) for i, t, c, p, s in zip(*columns, scores, strict=True)]
    return sorted(hits, key=lambda hit: (-hit.score, hit.id))


_SOURCES = re.compile(r",? ?/\S+\.rs:\d+(:\d+)?")
"""Where in its own sources LanceDB found a problem: nothing to users."""


def _passing(error: Exception) -> bool:
    """Conflicts of commits, and what a network does; a bad address or a full disk will not get better."""
    text = str(error).lower()
    if isinstance(error, RetrievalError | ValueError | TypeError | KeyError) and "conflict" not in text:
        return False
    return not any(part in text for part in ("no space left", "permission denied", "read-only"))


def _guarded(uri: str, action: str, run: Callable[[], T]) -> T:
    """Run with retries; what LanceDB raises (ValueError apart, its word for "not there") comes out as StoreUnavailable."""
    try:
        for attempt in stamina.retry_context(on=_passing, **tries(6, 0.1, 5.0)):
            with attempt:
                return run()
    except (RetrievalError, ValueError, TypeError, KeyError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise StoreUnavailable(f"{uri}: the disk is full; make room or use a larger volume") from error
        told = _SOURCES.sub("", str(error))
        raise StoreUnavailable(
            f"{uri}: could not {action}: {type(error).__name__}: {told}; check the volume or bucket"
        ) from error
    raise AssertionError("stamina returns or raises")
