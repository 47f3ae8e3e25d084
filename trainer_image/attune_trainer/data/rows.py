"""Rows of a jsonl, csv or parquet file as dictionaries, with line numbers. Called by archive.py and judgements.py.

Lines are read one at a time, so memory holds what is kept and not the file. A few broken lines are dropped and counted;
more than 5% mean that the file is not what it was said to be. gzip is recognised by its first bytes. A file that is written to
meanwhile is noticed.
"""

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any

from attune.contract.stage import DataFormat
from attune_retrieval import store
from attune_trainer.data.records import Tally
from attune_trainer.errors import BadData, StoreUnavailable

Row = dict[str, Any]

BROKEN_SHARE = 0.05
"""More broken lines than this share of all lines end the stage."""
_LOOKED_EVERY = 4096
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK = b"\xef\xbb\xbf"
_PARQUET = b"PAR1"


@dataclass(slots=True)
class RowFile:
    """One input file. Iterate `rows()` once; the counts are complete afterwards."""

    uri: str
    format: DataFormat
    path: Path
    tally: Tally
    lines: int = 0
    broken: int = 0
    first_broken: list[str] = field(default_factory=list)
    columns: dict[str, None] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[int, Row]]:
        """(line number, row). Raises BadData for a file that is empty, or broken in more than a few lines."""
        read = {"jsonl": self._jsonl, "csv": self._csv, "parquet": self._parquet}[self.format]
        try:
            size = self.path.stat().st_size
            for number, row in read():
                self.columns |= dict.fromkeys(row)
                yield number, row
                # Or a file that grows faster than it is read would have no end.
                if self.lines % _LOOKED_EVERY == 0 and self.path.stat().st_size != size:
                    raise BadData(f"{self.uri}: not the file that was opened", reason="BrokenFile")
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise BadData(
                f"{self.uri}: the gzip data breaks off or is damaged: {error}", reason="BrokenFile"
            ) from error
        self._judge()

    def digest(self) -> str:
        with self.path.open("rb") as file:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()

    def require(self, column: str, meaning: str) -> None:
        """Call after reading: BadData if no row has `column`."""
        if column not in self.columns:
            there = ", ".join(list(self.columns)[:20]) or "none"
            raise BadData(
                f"{self.uri}: no column {column!r} ({meaning}); the columns there: {there}; "
                f"name the right one in fields.{meaning}",
                reason="MissingColumn",
            )

    def _judge(self) -> None:
        first = "; ".join(self.first_broken)
        if self.broken > BROKEN_SHARE * self.lines:
            raise BadData(
                f"{self.uri}: {self.broken} of {self.lines} lines are broken (allowed: {BROKEN_SHARE:.0%}): {first}; "
                f"is it {self.format}, in UTF-8?",
                reason="BrokenLines",
            )
        if self.lines == 0:
            raise BadData(
                f"{self.uri}: the file is empty; write the rows into it, or correct the address", reason="EmptyFile"
            )

    def _break(self, number: int, why: str) -> None:
        self.broken += 1
        self.tally.drop("brokenLine", f"line {number}: {why}")
        if len(self.first_broken) < 3:
            self.first_broken.append(f"line {number}: {why}")

    def _jsonl(self) -> Iterator[tuple[int, Row]]:
        with _opened(self.path) as file:
            offset = 0
            for number, raw in enumerate(_without_mark(file, self.uri), start=1):
                start, offset = offset, offset + len(raw)
                if not raw.strip():
                    continue
                self.lines += 1
                try:
                    row = json.loads(raw.decode().rstrip())
                except UnicodeDecodeError as error:
                    self._break(number, f"not UTF-8 at byte {start + error.start} of the file")
                except (json.JSONDecodeError, RecursionError) as error:
                    self._break(number, str(error))
                else:
                    if isinstance(row, dict):
                        yield number, row
                    else:
                        self._break(number, f"a JSON object was expected, not {type(row).__name__}")

    def _csv(self) -> Iterator[tuple[int, Row]]:
        csv.field_size_limit(2**31 - 1)  # the default of 128 KiB refuses a long article
        with _opened(self.path) as file:
            reader = csv.reader(self._decoded(file), strict=True)
            header = next(reader, None)
            if header is None:
                return
            self.columns |= dict.fromkeys(header)
            while True:
                number = reader.line_num + 1
                try:
                    values = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    self.lines += 1
                    self._break(number, str(error))
                    continue
                if not values:
                    continue
                self.lines += 1
                if len(values) == len(header):
                    yield number, dict(zip(header, values, strict=True))
                else:
                    self._break(number, f"{len(values)} values under {len(header)} columns")

    def _decoded(self, file: IO[bytes]) -> Iterator[str]:
        """Text lines; the bytes of a line that is not UTF-8 are replaced, and the line is counted as broken."""
        offset = 0
        for number, raw in enumerate(_without_mark(file, self.uri), start=1):
            try:
                yield raw.decode()
            except UnicodeDecodeError as error:
                self.lines += 1
                self._break(number, f"not UTF-8 at byte {offset + error.start} of the file")
            offset += len(raw)

    def _parquet(self) -> Iterator[tuple[int, Row]]:
        import polars as pl

        with self.path.open("rb") as file:
            if not file.read(1):
                return
        try:
            frame = pl.scan_parquet(self.path)
            self.columns |= dict.fromkeys(frame.collect_schema().names())
            for part in frame.collect_batches(chunk_size=10_000):
                for row in part.iter_rows(named=True):
                    self.lines += 1
                    yield self.lines, row
        except (pl.exceptions.PolarsError, OSError) as error:
            raise BadData(f"{self.uri}: no readable parquet file: {error}", reason="BrokenFile") from error


@contextmanager
def open_rows(uri: str, format_: DataFormat, tally: Tally) -> Iterator[RowFile]:
    """The file at `uri`, downloaded first where it is not local.

    StoreUnavailable(SourceChanged), which is retried, where the file is another one at the end than it was at the beginning: what was
    read is of no state it ever had, also where it looks like bad data.
    """
    before = store.fingerprint(uri)
    try:
        with store.local_copy(uri) as path:
            with path.open("rb") as file:
                start = file.read(4)
            if start == _PARQUET and format_ != "parquet":
                raise BadData(
                    f"{uri}: this is a parquet file, but format says {format_}; set format: parquet",
                    reason="WrongFormat",
                )
            yield RowFile(uri, format_, path, tally)
    except BadData as error:
        _require_unchanged(uri, before, error)
        raise
    _require_unchanged(uri, before, None)


def _require_unchanged(uri: str, before: str, cause: BadData | None) -> None:
    after = store.fingerprint(uri)
    if after != before:
        raise StoreUnavailable(
            f"{uri}: the file changed while it was read ({before} → {after}); write a new file and rename it once it is whole; "
            "the next attempt reads it anew",
            reason="SourceChanged",
        ) from cause


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        zipped = file.read(2) == b"\x1f\x8b"
    with gzip.open(path, "rb") if zipped else path.open("rb") as opened:
        yield opened  # type: ignore[misc]


def _without_mark(file: IO[bytes], uri: str) -> Iterator[bytes]:
    """Lines without the byte order mark of UTF-8; UTF-16 is named for what it is."""
    first = file.readline()
    if first.startswith(_UTF16):
        raise BadData(f"{uri}: this is UTF-16 (byte order mark at byte 0); save it as UTF-8", reason="NotUtf8")
    return chain([first.removeprefix(_UTF8_MARK)] if first else [], file)
