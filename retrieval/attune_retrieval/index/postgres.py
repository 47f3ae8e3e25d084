"""Collections as tables of PostgreSQL with pgvector.

Three tables a collection: the documents with their vectors, a posting for each word of a document, and, shared by all, a
row that tells what the collection is for. BM25 is computed in SQL from the postings: PostgreSQL's own ts_rank knows no
document frequencies. Credentials come from the address or from PG* in the environment. A connection that broke (the server
was restarted) is replaced, and the statement tried again.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import psycopg
import stamina
from psycopg import sql
from psycopg_pool import ConnectionPool

from attune_retrieval.errors import StoreUnavailable
from attune_retrieval.graph import Floats
from attune_retrieval.index.collection import Described, Document, Hit, Identity, bucket_of, check, missing
from attune_retrieval.index.filters import Condition
from attune_retrieval.index.hurry import tries
from attune_retrieval.words import words

T = TypeVar("T")
Connection = psycopg.Connection[Any]

REGISTRY = "attune_collections"
K1, B = 1.5, 0.75
COMMON_SHARE = 0.2
"""A word that more documents than this have says little; it is left out where the query has a rarer one."""
ANN_FROM = 20_000
OPERATORS = {"cosine": ("<=>", "vector_cosine_ops"), "dot": ("<#>", "vector_ip_ops"), "l2": ("<->", "vector_l2_ops")}
_SQL = {"eq": "=", "gte": ">=", "gt": ">", "lte": "<=", "lt": "<"}
_PASSING = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.errors.SerializationFailure, TimeoutError)


class PostgresStore:
    """One database. Connections are made when they are needed, and kept in a pool."""

    def __init__(self, uri: str, *, connections: int = 8) -> None:
        self.uri = uri
        self._pool = ConnectionPool(
            uri,
            min_size=0,
            max_size=connections,
            open=False,
            timeout=10,
            check=ConnectionPool.check_connection,
            kwargs={"autocommit": True, "connect_timeout": 5, "prepare_threshold": 5},
        )
        self._pool.open()

    def create(self, name: str, identity: Identity) -> "PostgresCollection":
        def make(connection: Connection) -> None:
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('attune'))")
                connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {REGISTRY} (name text PRIMARY KEY, space text NOT NULL, "
                    "dimensions int NOT NULL, distance text NOT NULL)"
                )
                connection.execute(
                    f"INSERT INTO {REGISTRY} VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",  # noqa: S608  a constant
                    (name, identity.space, identity.dimensions, identity.distance),
                )
                for statement in _tables(name, identity):
                    connection.execute(statement)

        self.run(f"make {name}", make)
        return self.open(name, identity)

    def open(self, name: str, identity: Identity | None = None) -> "PostgresCollection":
        def look(connection: Connection) -> Any:
            if connection.execute("SELECT to_regclass(%s)", (REGISTRY,)).fetchone() == (None,):
                return None
            return connection.execute(
                f"SELECT space, dimensions, distance FROM {REGISTRY} WHERE name = %s",  # noqa: S608  a constant
                (name,),
            ).fetchone()

        row = self.run(f"open {name}", look)
        if row is None:
            raise missing(name, shown(self.uri))
        found = Identity(*row)
        check(name, found, identity)
        return PostgresCollection(self, name, found)

    def drop(self, name: str) -> bool:
        if name not in self.names():
            return False

        def remove(connection: Connection) -> None:
            with connection.transaction():
                for table in (name, f"{name}_words"):
                    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(table)))
                connection.execute(f"DELETE FROM {REGISTRY} WHERE name = %s", (name,))  # noqa: S608  a constant

        self.run(f"drop {name}", remove)
        return True

    def names(self) -> list[str]:
        def look(connection: Connection) -> list[str]:
            if connection.execute("SELECT to_regclass(%s)", (REGISTRY,)).fetchone() == (None,):
                return []
            rows = connection.execute(f"SELECT name FROM {REGISTRY} ORDER BY name").fetchall()  # noqa: S608  a constant
            return [row[0] for row in rows]

        return self.run("list collections", look)

    def close(self) -> None:
        self._pool.close()

    def run(self, action: str, work: Callable[[Connection], T]) -> T:
        """Do it on a connection of the pool; again on another where the server went away."""
        try:
            for attempt in stamina.retry_context(on=_PASSING, **tries(8, 0.2, 8.0)):
                with attempt, self._pool.connection() as connection:
                    return work(connection)
        except psycopg.Error as error:
            raise StoreUnavailable(
                f"{shown(self.uri)}: could not {action}: {type(error).__name__}: {str(error).strip()}; check index.uri, that the "
                "server answers from this pod, and PGPASSWORD (index.secretRef)"
            ) from error
        raise AssertionError("stamina returns or raises")


class PostgresCollection:
    """One collection; all values are parameters, all names are quoted identifiers."""

    def __init__(self, store: PostgresStore, name: str, identity: Identity) -> None:
        self._store = store
        self.name = name
        self.identity = identity
        self._table, self._words = sql.Identifier(name), sql.Identifier(f"{name}_words")

    def describe(self) -> Described:
        return Described(self.name, self.identity, self.count())

    def count(self, shard: int = 0, shards: int = 1) -> int:
        statement = sql.SQL("SELECT count(*) FROM {} WHERE bucket %% %s = %s").format(self._table)
        return int(self._rows("count", statement, (shards, shard))[0][0])

    def digests(self, shard: int = 0, shards: int = 1) -> Iterator[tuple[str, str]]:
        after = ""
        statement = sql.SQL(
            "SELECT id, digest FROM {} WHERE bucket %% %s = %s AND id > %s ORDER BY id LIMIT 8192"
        ).format(self._table)
        while rows := self._rows("read", statement, (shards, shard, after)):
            yield from rows
            after = rows[-1][0]

    def write(self, documents: Sequence[Document], vectors: Floats, *, new: bool) -> None:
        del new  # one statement for both: a conflict is an update
        insert = sql.SQL(
            "INSERT INTO {} (id, bucket, digest, title, content, published_at, length, embedding) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s, %s::vector) ON CONFLICT (id) DO UPDATE SET digest = EXCLUDED.digest, "
            "title = EXCLUDED.title, content = EXCLUDED.content, published_at = EXCLUDED.published_at, "
            "length = EXCLUDED.length, embedding = EXCLUDED.embedding"
        ).format(self._table)
        counts = [Counter(words(f"{d.title} {d.content}")) for d in documents]
        rows = [
            (d.id, bucket_of(d.id), d.digest, _clean(d.title), _clean(d.content), d.published_at, c.total(), literal(v))
            for d, c, v in zip(documents, counts, vectors, strict=True)
        ]
        postings = [(w, d.id, n) for d, c in zip(documents, counts, strict=True) for w, n in c.items()]

        def put(connection: Connection) -> None:
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(insert, rows)
                cursor.execute(
                    sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(self._words), ([d.id for d in documents],)
                )
                with cursor.copy(sql.SQL("COPY {} (word, id, times) FROM STDIN").format(self._words)) as copy:
                    for posting in postings:
                        copy.write_row(posting)

        self._store.run(f"write to {self.name}", put)

    def delete(self, ids: Sequence[str]) -> None:
        def remove(connection: Connection) -> None:
            with connection.transaction():
                for table in (self._table, self._words):
                    connection.execute(sql.SQL("DELETE FROM {} WHERE id = ANY(%s)").format(table), (list(ids),))

        if ids:
            self._store.run(f"remove documents of {self.name}", remove)

    def vectors(self, ids: Sequence[str]) -> dict[str, Floats]:
        statement = sql.SQL("SELECT id, embedding::text FROM {} WHERE id = ANY(%s)").format(self._table)
        rows = self._rows("read", statement, (list(ids),))
        return {i: np.fromstring(text.strip("[]"), dtype=np.float32, sep=",") for i, text in rows}

    def finish(self) -> None:
        """Statistics for the planner, and from 20,000 documents on an HNSW index."""
        large = self.count() >= ANN_FROM
        index = sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} USING hnsw (embedding {})").format(
            sql.Identifier(f"{self.name}_ann"), self._table, sql.SQL(OPERATORS[self.identity.distance][1])
        )

        def build(connection: Connection) -> None:
            connection.execute("SELECT pg_advisory_lock(hashtext(%s))", (self.name,))
            try:
                if large:
                    connection.execute(index)
                for table in (self._table, self._words):
                    connection.execute(sql.SQL("ANALYZE {}").format(table))
            finally:
                connection.execute("SELECT pg_advisory_unlock(hashtext(%s))", (self.name,))

        self._store.run(f"index {self.name}", build)

    def dense(self, vector: Floats, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        operator = sql.SQL(OPERATORS[self.identity.distance][0])
        where, values = _where(conditions)
        statement = sql.SQL(
            "SELECT id, title, content, published_at, embedding {op} %s::vector AS far FROM {table} {where} "
            "ORDER BY far, id LIMIT %s"
        ).format(op=operator, table=self._table, where=where)
        rows = self._rows("search", statement, (literal(vector), *values, k))
        offset = 1.0 if self.identity.distance == "cosine" else 0.0
        return [Hit(i, offset - float(far), t, c, p) for i, t, c, p, far in rows]

    def by_words(self, query: str, k: int, conditions: Sequence[Condition] = ()) -> list[Hit]:
        asked = list(dict.fromkeys(words(query)))
        if not asked:
            return []
        where, values = _where(conditions, "d.")
        statement = sql.SQL(_BM25).format(table=self._table, words=self._words, where=where)
        parameters = (asked, COMMON_SHARE, K1 + 1, K1, 1 - B, B, *values, k)
        rows = self._rows("search", statement, parameters)
        return [Hit(i, float(score), t, c, p) for i, t, c, p, score in rows]

    def _rows(self, action: str, statement: sql.Composed, values: Sequence[Any]) -> list[Any]:
        return self._store.run(f"{action} {self.name}", lambda c: c.execute(statement, values).fetchall())


_BM25 = """
WITH corpus AS (SELECT count(*)::float8 AS n, avg(length)::float8 AS mean FROM {table}),
asked AS (SELECT word, (SELECT count(*) FROM {words} p WHERE p.word = a.word)::float8 AS df FROM unnest(%s::text[]) a(word)),
used AS (
    SELECT word, ln(1 + (n - df + 0.5) / (df + 0.5)) AS idf FROM asked, corpus
    WHERE df > 0 AND (df <= %s * n OR df = (SELECT min(df) FROM asked WHERE df > 0) OR n < 1000)
)
SELECT d.id, d.title, d.content, d.published_at,
    sum(idf * times * %s / (times + %s * (%s + %s * d.length / corpus.mean))) AS score
FROM used JOIN {words} p USING (word) JOIN {table} d ON d.id = p.id CROSS JOIN corpus {where}
GROUP BY d.id, d.title, d.content, d.published_at ORDER BY score DESC, d.id LIMIT %s
"""


def _tables(name: str, identity: Identity) -> list[sql.Composed]:
    table, postings = sql.Identifier(name), sql.Identifier(f"{name}_words")
    return [
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} (id text PRIMARY KEY, bucket int NOT NULL, digest text NOT NULL, title text NOT NULL, "
            "content text NOT NULL, published_at text, length int NOT NULL, embedding vector({}) NOT NULL)"
        ).format(table, sql.Literal(identity.dimensions)),
        sql.SQL(
            "CREATE TABLE IF NOT EXISTS {} (word text NOT NULL, id text NOT NULL, times int NOT NULL, PRIMARY KEY (word, id))"
        ).format(postings),
        sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} (id)").format(sql.Identifier(f"{name}_words_id"), postings),
    ]


def _where(conditions: Sequence[Condition], prefix: str = "") -> tuple[sql.Composable, list[Any]]:
    """`WHERE …` with parameters; the fields are a fixed set (`filters.FIELDS`)."""
    if not conditions:
        return sql.SQL(""), []
    parts = [
        sql.SQL(f"{prefix}{c.field} = ANY(%s)" if c.operator == "in" else f"{prefix}{c.field} {_SQL[c.operator]} %s")
        for c in conditions
    ]
    values = [list(c.value) if isinstance(c.value, tuple) else c.value for c in conditions]
    return sql.SQL("WHERE ") + sql.SQL(" AND ").join(parts), values


def literal(vector: Floats) -> str:
    """A vector as pgvector reads it."""
    return "[" + ",".join(f"{value:.8g}" for value in vector) + "]"


def _clean(text: str) -> str:
    """PostgreSQL's text has no NUL."""
    return text.replace("\x00", " ")


def shown(uri: str) -> str:
    """The address without a password."""
    head, at, tail = uri.rpartition("@")
    scheme, _, user = head.partition("://")
    return f"{scheme}://{user.partition(':')[0]}@{tail}" if at else uri
