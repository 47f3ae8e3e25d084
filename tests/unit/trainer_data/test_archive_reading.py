"""Reading an archive: what is dropped is counted with its line, what is wrong as a whole is said with the way out."""

import csv
import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attune.contract import ArchiveFields, ArchiveSource
from attune_trainer.data.archive import MAX_CONTENT_CHARACTERS, read_archive
from attune_trainer.data.normalize import is_wordy, normalize, words
from attune_trainer.data.records import Tally
from attune_trainer.errors import BadData


def read(uri, tally=None, *, needs_title=True, **source):
    return read_archive(ArchiveSource(uri=uri, **source), tally or Tally(), needs_title=needs_title)


def write_lines(path: Path, lines: list[bytes]) -> str:
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return str(path)


def encoded(rows) -> list[bytes]:
    return [json.dumps(row).encode() for row in rows]


def test_jsonl_csv_and_parquet_give_the_same_documents(articles, jsonl, tmp_path):
    rows = articles(20)
    rows[3]["content"] = 'with, a comma, "quotes"\nand a line break'
    with (tmp_path / "a.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    pl.DataFrame(rows).write_parquet(tmp_path / "a.parquet")
    wanted = read(jsonl(rows)).documents
    assert len(wanted) == 20
    assert read(str(tmp_path / "a.csv"), format="csv").documents == wanted
    assert read(str(tmp_path / "a.parquet"), format="parquet").documents == wanted


def test_gzip_is_recognised_by_its_bytes_and_a_cut_one_is_named(articles, tmp_path):
    whole = gzip.compress(b"\n".join(encoded(articles(50))))
    (tmp_path / "a.jsonl").write_bytes(whole)
    assert len(read(str(tmp_path / "a.jsonl")).documents) == 50
    (tmp_path / "b.jsonl").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadData, match=r"b\.jsonl: the gzip data breaks off"):
        read(str(tmp_path / "b.jsonl"))


def test_columns_are_found_under_the_names_that_fields_gives(jsonl):
    rows = [{"nr": n, "headline": "two words", "body": f"text number {n}", "at": "2024-01-02"} for n in range(3)]
    fields = ArchiveFields(id="nr", title="headline", content="body", published_at="at")
    documents = read(jsonl(rows), fields=fields).documents
    assert [document.id for document in documents] == ["0", "1", "2"]
    assert documents[0].published_at == "2024-01-02T00:00:00+00:00"


@pytest.mark.parametrize("column", ["id", "title", "content"])
def test_a_missing_column_is_named_with_those_that_are_there(articles, jsonl, column):
    rows = articles(3)
    for row in rows:
        row["other"] = row.pop(column)
    with pytest.raises(BadData, match=rf"no column '{column}'.*there: .*other.*fields\.{column}") as caught:
        read(jsonl(rows))
    assert caught.value.reason == "MissingColumn"


def test_titles_and_dates_may_be_absent_where_nothing_needs_them(articles, jsonl):
    rows = articles(3, dated=False)
    for row in rows:
        del row["title"]
    assert [d.published_at for d in read(jsonl(rows), needs_title=False).documents] == [None, None, None]


def test_a_few_broken_lines_are_dropped_and_counted_with_their_numbers(articles, tmp_path):
    lines = encoded(articles(100))
    lines[6], lines[40] = b'{"id": "x", "title', b"[1, 2]"
    tally = Tally()
    archive = read(write_lines(tmp_path / "a", lines), tally)
    assert (len(archive.documents), archive.rows) == (98, 100)
    assert tally.by_reason() == {"brokenLine": 2}
    assert tally.examples["brokenLine"][0].startswith("line 7: Unterminated string")
    assert tally.examples["brokenLine"][1] == "line 41: a JSON object was expected, not list"


def test_more_than_five_percent_of_broken_lines_end_the_stage(articles, tmp_path):
    lines = encoded(articles(100))
    for number in range(5):
        lines[10 * number] = b"{"
    assert len(read(write_lines(tmp_path / "a", lines)).documents) == 95
    lines[99] = b"{"
    with pytest.raises(
        BadData, match=r"6 of 100 lines are broken \(allowed: 5%\): line 1: .*; line 11: .*; line 21: "
    ) as e:
        read(write_lines(tmp_path / "a", lines))
    assert e.value.reason == "BrokenLines"


def test_bytes_that_are_not_utf8_are_named_by_line_and_offset(articles, tmp_path):
    lines = encoded(articles(100))
    lines[1] = b'{"id": "caf\xe9"}'
    tally = Tally()
    read(write_lines(tmp_path / "a", lines), tally)
    assert tally.examples["brokenLine"] == [f"line 2: not UTF-8 at byte {len(lines[0]) + 1 + 11} of the file"]
    with pytest.raises(BadData, match=r"100 of 100 lines are broken.*line 1: not UTF-8 at byte \d+.*in UTF-8\?"):
        read(write_lines(tmp_path / "b", [line.replace(b"doc", b"d\xf6c") for line in encoded(articles(100))]))


def test_utf16_is_named_for_what_it_is_and_a_utf8_mark_does_no_harm(articles, tmp_path):
    text = "\n".join(json.dumps(row) for row in articles(3))
    (tmp_path / "a").write_bytes(text.encode("utf-16"))
    with pytest.raises(BadData, match=r"this is UTF-16.*save it as UTF-8"):
        read(str(tmp_path / "a"))
    (tmp_path / "b").write_bytes(text.encode("utf-8-sig"))
    assert len(read(str(tmp_path / "b")).documents) == 3


def test_broken_csv_rows_and_bytes_are_counted_like_broken_lines(tmp_path):
    lines = [b"id,title,content", *(f"{n},a title {n},the text {n}".encode() for n in range(60))]
    lines[5], lines[9] = b"4,too,many,values", b"8,caf\xe9 bar,the text"
    tally = Tally()
    archive = read(write_lines(tmp_path / "a.csv", lines), tally, format="csv")
    assert (len(archive.documents), archive.rows) == (58, 60)
    assert tally.examples["brokenLine"][0] == "line 6: 4 values under 3 columns"
    assert tally.examples["brokenLine"][1].startswith("line 10: not UTF-8 at byte")


def test_a_csv_cell_may_be_longer_than_the_readers_default(tmp_path):
    path = write_lines(tmp_path / "a.csv", [b"id,title,content", b"1,two words," + b"word " * 40_000])
    assert read(path, format="csv").cut == 1


@pytest.mark.parametrize("format_", ["jsonl", "csv", "parquet"])
def test_an_empty_file_is_named(tmp_path, format_):
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(BadData, match="a: the file is empty") as caught:
        read(str(tmp_path / "a"), format=format_)
    assert caught.value.reason == "EmptyFile"


def test_a_file_of_another_format_is_named(articles, jsonl, tmp_path):
    with pytest.raises(BadData, match="no readable parquet file"):
        read(jsonl(articles(3)), format="parquet")
    pl.DataFrame(articles(3)).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(BadData, match="set format: parquet"):
        read(str(tmp_path / "a.parquet"))


def test_rows_that_are_no_article_are_dropped_by_reason(articles, jsonl):
    rows = articles(10)
    rows[0]["content"] = " \n\u200b"
    rows[1]["content"] = "word"
    rows[2]["content"] = None
    rows[3]["id"] = ""
    rows[4]["id"] = "a\tb"
    rows[5]["content"] = {"not": "a text"}
    tally = Tally()
    assert len(read(jsonl(rows), tally).documents) == 4
    assert tally.by_reason() == {"badId": 1, "emptyContent": 3, "missingId": 1, "oneWord": 1}


def test_of_equal_ids_the_first_is_kept_and_other_content_is_counted_apart(articles, jsonl):
    rows = articles(3)
    rows += [dict(rows[0]), {**rows[1], "content": "something else altogether"}]
    tally = Tally()
    documents = read(jsonl(rows), tally).documents
    assert [document.content for document in documents] == [row["content"] for row in rows[:3]]
    assert tally.by_reason() == {"conflictingId": 1, "duplicateId": 1}


def test_a_giant_article_is_cut_and_counted(articles, jsonl):
    rows = articles(2)
    rows[0]["content"] = "many words " * 300_000
    archive = read(jsonl(rows))
    assert archive.cut == 1
    assert len(archive.documents[0].content) <= MAX_CONTENT_CHARACTERS
    assert archive.documents[1].content == rows[1]["content"]


def test_an_archive_without_any_usable_row_says_why(jsonl):
    with pytest.raises(BadData, match="none of 3 rows is an article; dropped: oneWord 3"):
        read(jsonl([{"id": n, "title": "t", "content": "x"} for n in range(3)]))


@pytest.mark.parametrize(
    ("value", "instant"),
    [
        ("2024-03-01", "2024-03-01T00:00:00+00:00"),
        ("2024-03-01T10:00:00+02:00", "2024-03-01T08:00:00+00:00"),
        ("2024-03-01T10:00:00Z", "2024-03-01T10:00:00+00:00"),
        ("Fri, 01 Mar 2024 10:00:00 +0000", "2024-03-01T10:00:00+00:00"),
        (1709287200, "2024-03-01T10:00:00+00:00"),
        (1709287200000, "2024-03-01T10:00:00+00:00"),
        ("last week", None),
        ("", None),
        (None, None),
        (1e300, None),
        ([2024], None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_times_are_read_as_utc_or_not_at_all(articles, jsonl, value, instant):
    row = {**articles(1)[0], "publishedAt": value}
    assert read(jsonl([row])).documents[0].published_at == instant


@given(st.text())
def test_normalizing_twice_changes_nothing_and_leaves_one_line(text):
    once = normalize(text)
    assert normalize(once) == once
    assert once == once.strip()
    assert len(once.splitlines()) <= 1
    once.encode()  # no lone surrogates


def test_normalizing_folds_widths_ligatures_and_white_space():
    assert normalize("\ufeffＡ \u00a0ﬁne\t\nso\u00adft\u200b") == "A fine soft"


def test_scripts_without_spaces_are_no_single_word():
    assert is_wordy("機械学習")
    assert words("学习 AI模型") == ["学", "习", "ai", "模", "型"]
    assert not is_wordy("word.")
    assert not is_wordy("...")
