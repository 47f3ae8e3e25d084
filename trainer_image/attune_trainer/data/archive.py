"""The team's articles: from rows to documents. Called by prepare.py."""

from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from attune.contract.stage import ArchiveFields, ArchiveSource
from attune_trainer.data.normalize import is_wordy, normalize
from attune_trainer.data.records import Document, Tally
from attune_trainer.data.rows import Row, RowFile, open_rows
from attune_trainer.errors import BadData

MAX_CONTENT_CHARACTERS = 32_768
"""Longer articles are cut here: no supported model reads on, and one giant article must not fill the memory."""
MAX_ID_CHARACTERS = 512


@dataclass(frozen=True, slots=True)
class Archive:
    """The documents in the order of the file, the digest of the file, and how many rows it had."""

    documents: list[Document]
    digest: str
    rows: int
    cut: int = field(default=0)


def read_archive(source: ArchiveSource, tally: Tally, *, needs_title: bool) -> Archive:
    """Read, normalize and drop what cannot be used. BadData where the file as a whole is wrong."""
    with open_rows(source.uri, source.format, tally) as file:
        reader = _Reader(source.fields, tally, {})
        documents = list(reader.documents(file))
        _judge(source, file, tally, anything=bool(documents))
        if needs_title:
            file.require(source.fields.title, "title")
        return Archive(documents, file.digest(), file.lines, reader.cut)


def stream_archive(source: ArchiveSource, tally: Tally, known: MutableMapping[str, int]) -> Iterator[Document]:
    """The same documents one by one. `known` remembers the ids (and the hash of each one's content), wherever it wants.

    Raises BadData at the end, where the file as a whole is wrong: take nothing for good before.
    """
    with open_rows(source.uri, source.format, tally) as file:
        anything = False
        for document in _Reader(source.fields, tally, known).documents(file):
            anything = True
            yield document
        _judge(source, file, tally, anything=anything)


def _judge(source: ArchiveSource, file: RowFile, tally: Tally, *, anything: bool) -> None:
    file.require(source.fields.id, "id")
    file.require(source.fields.content, "content")
    if not anything:
        raise BadData(
            f"{source.uri}: none of {file.lines} rows is an article; dropped: {tally.sentence()}. "
            f"{tally.way_out() or 'Each row needs an id, and a content of several words'}",
            reason="NoArticles",
        )


class _Reader:
    """Keeps what has to be remembered from row to row: the ids, and a hash of each one's content."""

    def __init__(self, fields: ArchiveFields, tally: Tally, known: MutableMapping[str, int]) -> None:
        self.fields = fields
        self.tally = tally
        self.cut = 0
        self._content_of = known

    def documents(self, file: RowFile) -> Iterator[Document]:
        for number, row in file.rows():
            document = self._document(row, f"line {number}")
            if document is not None:
                yield document

    def _document(self, row: Row, where: str) -> Document | None:
        """One rung per reason to drop the row."""
        identifier = _text(row.get(self.fields.id)).strip()
        content, title = _text(row.get(self.fields.content)), _text(row.get(self.fields.title))
        if problem := _bad_id(identifier):
            return self._drop(problem, where)
        if len(content) > MAX_CONTENT_CHARACTERS:
            self.cut += 1
            content = content[:MAX_CONTENT_CHARACTERS]
        content = normalize(content)
        if identifier in self._content_of:
            same = self._content_of[identifier] == hash(content)
            return self._drop("duplicateId" if same else "conflictingId", f"{where}: {identifier}")
        self._content_of[identifier] = hash(content)
        if not content:
            return self._drop("emptyContent", f"{where}: {identifier}")
        if not is_wordy(content):
            return self._drop("oneWord", f"{where}: {identifier}")
        return Document(identifier, normalize(title), content, instant(row.get(self.fields.published_at)))

    def _drop(self, reason: str, where: str) -> Document | None:
        self.tally.drop(reason, where)
        return None


def _bad_id(identifier: str) -> str | None:
    """Ids end up as columns of a tab-separated file."""
    if not identifier:
        return "missingId"
    return "badId" if len(identifier) > MAX_ID_CHARACTERS or not identifier.isprintable() else None


def _text(value: Any) -> str:
    """Text of a cell; numbers as they are written, nothing for what is no text at all."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | dict | list):
        return ""
    return str(value)


_PARSERS: tuple[Callable[[str], datetime], ...] = (
    datetime.fromisoformat,
    lambda text: datetime.strptime(text, "%a, %d %b %Y %H:%M:%S %z"),  # RFC 2822, as in RSS feeds
)


def instant(value: Any) -> str | None:
    """ISO 8601 in UTC, so that texts sort by time; None for what is no time (the document is kept, undated)."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _from_epoch(float(value))
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    moment = value if isinstance(value, datetime) else _parsed(str(value).strip())
    if moment is None:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    try:
        return moment.astimezone(UTC).isoformat(timespec="seconds")
    except OverflowError:
        return None


def _parsed(text: str) -> datetime | None:
    for parse in _PARSERS:
        try:
            return parse(text)
        except ValueError:
            continue
    return None


def _from_epoch(seconds: float) -> str | None:
    """Seconds or milliseconds since 1970; the year 2286 tells them apart."""
    try:
        return datetime.fromtimestamp(seconds / 1000 if seconds > 1e10 else seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return None
