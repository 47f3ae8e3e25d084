"""Tokenizers are read once for all versions of a base model, and are gone with the last of them."""

from __future__ import annotations

import gc
import json
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from artifacts import Made
from attune_retrieval.tokenizing import FILE, open_tokenizer


def copied(made: Made, folder: Path, **changes: object) -> Path:
    folder.mkdir()
    known = json.loads((made.folder / FILE).read_text(encoding="utf-8"))
    (folder / FILE).write_text(json.dumps(known | changes), encoding="utf-8")
    return folder


def test_the_same_file_in_another_folder_is_not_read_again(artifact: Made, tmp_path: Path) -> None:
    one, other = copied(artifact, tmp_path / "one"), copied(artifact, tmp_path / "other")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: open_tokenizer((one, other)[n % 2], 16), range(16)))
    assert {id(tokenizer) for tokenizer in found} == {id(found[0])}


def test_another_file_or_another_window_is_another_tokenizer(artifact: Made, tmp_path: Path) -> None:
    one = copied(artifact, tmp_path / "one")
    other = copied(artifact, tmp_path / "other", normalizer=None)
    text = "the red house " * 20
    short, long, cased = open_tokenizer(one, 8), open_tokenizer(one, 16), open_tokenizer(other, 16)
    assert [len(t.encode(text).ids) for t in (short, long)] == [8, 16]
    assert long.encode("RED HOUSE").ids == long.encode("red house").ids
    assert cased.encode("RED HOUSE").ids != cased.encode("red house").ids


def test_of_a_pair_the_longer_text_is_cut(artifact: Made) -> None:
    tokenizer = open_tokenizer(artifact.folder, 12)
    pair = tokenizer.encode("red house", "the red house " * 20)
    query = tokenizer.encode("red house", add_special_tokens=False).ids
    assert len(pair.ids) == 12
    assert pair.ids[1 : 1 + len(query)] == query


def test_it_is_gone_with_the_last_who_used_it(artifact: Made) -> None:
    tokenizer = open_tokenizer(artifact.folder, 20)
    gone = weakref.ref(tokenizer)
    assert open_tokenizer(artifact.folder, 20) is tokenizer
    del tokenizer
    gc.collect()
    assert gone() is None


def test_a_damaged_file_is_not_remembered(artifact: Made, tmp_path: Path) -> None:
    folder = copied(artifact, tmp_path / "one")
    whole = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(whole[:100])
    with pytest.raises(Exception, match="Cannot instantiate Tokenizer"):
        open_tokenizer(folder, 16)
    (folder / FILE).write_bytes(whole)
    assert open_tokenizer(folder, 16).encode("red house").ids
