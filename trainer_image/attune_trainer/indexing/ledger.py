"""What the collection has and what the archive wants, by id, on disk: memory does not grow with the corpus. Used by `build`."""

import sqlite3
from collections.abc import Iterable, Iterator, MutableMapping
from pathlib import Path


class Ledger:
    """One row a document: the digest that is stored, the digest that is wanted; either may be absent."""

    def __init__(self, folder: Path) -> None:
        self._db = sqlite3.connect(folder / "ledger.sqlite", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA cache_size = -16384")  # KiB
        self._db.execute("CREATE TABLE documents (id TEXT PRIMARY KEY, stored TEXT, wanted TEXT) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def stored(self, digests: Iterable[tuple[str, str]]) -> None:
        """What the collection has."""
        self._db.executemany("INSERT OR REPLACE INTO documents (id, stored) VALUES (?, ?)", digests)

    def want(self, identifier: str, digest: str) -> None:
        """A document of the archive."""
        self._db.execute(
            "INSERT INTO documents (id, wanted) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET wanted = excluded.wanted",
            (identifier, digest),
        )

    def is_due(self, identifier: str, digest: str) -> bool:
        """Whether this very document has to be embedded."""
        row = self._db.execute("SELECT stored, wanted FROM documents WHERE id = ?", (identifier,)).fetchone()
        return row is not None and row[1] == digest and row[0] != digest

    def is_new(self, identifier: str) -> bool:
        """Whether the collection has nothing under this id."""
        row = self._db.execute("SELECT stored FROM documents WHERE id = ?", (identifier,)).fetchone()
        return row is None or row[0] is None

    def done(self, documents: Iterable[tuple[str, str]]) -> None:
        """(id, digest) that were written."""
        self._db.executemany("UPDATE documents SET stored = ? WHERE id = ?", ((d, i) for i, d in documents))

    def counts(self) -> tuple[int, int]:
        """(documents that are wanted, documents that have to be embedded)."""
        row = self._db.execute(
            "SELECT count(wanted), count(CASE WHEN wanted IS NOT stored THEN wanted END) FROM documents"
        ).fetchone()
        return int(row[0]), int(row[1])

    def unwanted(self, at_once: int = 1000) -> Iterator[list[str]]:
        """Ids that the archive does not have any more, in portions."""
        after = ""
        while True:
            rows = self._db.execute(
                "SELECT id FROM documents WHERE wanted IS NULL AND id > ? ORDER BY id LIMIT ?", (after, at_once)
            ).fetchall()
            if not rows:
                return
            after = rows[-1][0]
            yield [row[0] for row in rows]

    def ids(self, name: str) -> "Ids":
        """A mapping from id to a number, on the same disk."""
        return Ids(self._db, name)

    def close(self) -> None:
        self._db.close()


class Ids(MutableMapping[str, int]):
    """The ids that a reading of the archive has met."""

    def __init__(self, db: sqlite3.Connection, name: str) -> None:
        if not name.isidentifier():
            raise ValueError(name)
        self._db, self._table = db, name
        db.execute(f"CREATE TABLE {name} (id TEXT PRIMARY KEY, content INTEGER) WITHOUT ROWID")

    def __getitem__(self, key: str) -> int:
        row = self._db.execute(f"SELECT content FROM {self._table} WHERE id = ?", (key,)).fetchone()  # noqa: S608  checked
        if row is None:
            raise KeyError(key)
        return int(row[0])

    def __setitem__(self, key: str, value: int) -> None:
        self._db.execute(f"INSERT OR REPLACE INTO {self._table} VALUES (?, ?)", (key, value))  # noqa: S608  checked

    def __delitem__(self, key: str) -> None:
        self._db.execute(f"DELETE FROM {self._table} WHERE id = ?", (key,))  # noqa: S608  checked

    def __iter__(self) -> Iterator[str]:
        return (row[0] for row in self._db.execute(f"SELECT id FROM {self._table}"))  # noqa: S608  checked

    def __len__(self) -> int:
        return int(self._db.execute(f"SELECT count(*) FROM {self._table}").fetchone()[0])  # noqa: S608  checked
