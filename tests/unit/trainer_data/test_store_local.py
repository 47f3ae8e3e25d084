"""The artifact store on a disk: what is written appears whole or not at all, and errors say what to check."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from attune_retrieval import store
from attune_trainer.errors import BadConfig, BadData, StoreUnavailable


def folder(at: Path, **files: str) -> Path:
    at.mkdir(parents=True)
    for name, text in {"manifest.json": "{}", **files}.items():
        (at / name).write_text(text)
    return at


def names(at: Path) -> list[str]:
    return sorted(path.name for path in at.iterdir())


def test_plain_paths_file_and_pvc_addresses_lead_to_the_same_file(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTUNE_PVC_ROOT", str(tmp_path))
    (tmp_path / "claim").mkdir()
    store.write_bytes("pvc://claim/a/b.txt", b"hello")
    assert store.read_text(f"file://{tmp_path}/claim/a/b.txt") == "hello"
    assert store.read_bytes(str(tmp_path / "claim" / "a" / "b.txt")) == b"hello"


def test_a_claim_that_is_not_mounted_is_not_written_into_the_container(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTUNE_PVC_ROOT", str(tmp_path))
    with pytest.raises(StoreUnavailable, match=r"pvc://claim/x.*claim is not mounted.*ATTUNE_PVC_ROOT"):
        store.write_bytes("pvc://claim/x", b"")
    assert names(tmp_path) == []


@pytest.mark.parametrize("uri", ["pvc://claim/../other/x", "ftp://host/x", "file://", "https://host/x", " "])
def test_addresses_that_cannot_be_written_to_are_refused(uri):
    with pytest.raises(BadConfig):
        store.write_bytes(uri, b"")


def test_a_missing_file_is_bad_data_that_names_the_address(tmp_path):
    with pytest.raises(BadData, match=f"file://{tmp_path}/none.jsonl: not found") as caught:
        store.read_bytes(f"file://{tmp_path}/none.jsonl")
    assert caught.value.reason == "DataNotFound"
    assert not store.exists(f"{tmp_path}/none.jsonl")


def test_a_folder_where_a_file_is_expected_is_named_as_such(tmp_path):
    with pytest.raises(BadData, match="must name a file") as caught, store.open_lines(str(tmp_path)):
        pass
    assert caught.value.reason == "NotAFile"


def test_text_that_is_not_utf8_names_the_byte(tmp_path):
    (tmp_path / "x").write_bytes(b"abc\xe9")
    with pytest.raises(BadData, match="not UTF-8 at byte 3"):
        store.read_text(str(tmp_path / "x"))


def test_a_published_folder_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path):
    store.publish_folder(folder(tmp_path / "one", old="1"), str(tmp_path / "out" / "target"))
    store.publish_folder(folder(tmp_path / "two", new="2"), str(tmp_path / "out" / "target"))
    assert names(tmp_path / "out" / "target") == ["manifest.json", "new"]
    assert names(tmp_path / "out") == ["target"]


def test_a_folder_without_manifest_is_not_published(tmp_path):
    (tmp_path / "one").mkdir()
    with pytest.raises(ValueError, match=r"manifest\.json"):
        store.publish_folder(tmp_path / "one", str(tmp_path / "two"))


def test_a_folder_without_manifest_is_absent_to_readers(tmp_path):
    (tmp_path / "half").mkdir()
    assert not store.folder_complete(str(tmp_path / "half"))
    with pytest.raises(BadData, match=r"manifest\.json is missing") as caught:
        store.fetch_folder(str(tmp_path / "half"), tmp_path / "here")
    assert caught.value.reason == "DataNotFound"
    assert not (tmp_path / "here").exists()


def test_a_fetched_folder_holds_every_file(tmp_path):
    source = folder(tmp_path / "one", a="1")
    (source / "sub").mkdir()
    (source / "sub" / "b").write_text("2")
    got = store.fetch_folder(str(source), tmp_path / "here")
    assert store.list_files(str(got)) == ["a", "manifest.json", "sub/b"]
    assert (got / "sub" / "b").read_text() == "2"


def test_what_is_copied_from_a_volume_comes_in_pieces_with_room_for_others_between(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PIECE", 4)
    source = folder(tmp_path / "one", a="123456789", b="")
    got, copied = tmp_path / "here", []
    store.fetch_folder(str(source), got, lambda: copied.append(sum(p.stat().st_size for p in tmp_path.rglob("*a"))))
    assert (got / "a").read_text() == "123456789"
    assert (got / "b").read_text() == ""
    assert len(copied) >= 3


def test_listing_and_deleting_what_is_not_there_is_fine(tmp_path):
    assert store.list_names(str(tmp_path / "none")) == []
    store.delete(str(tmp_path / "none"))
    folder(tmp_path / "one" / "two")
    assert store.list_names(str(tmp_path / "one")) == ["two"]
    store.delete(str(tmp_path / "one" / "two"))
    assert store.list_names(str(tmp_path / "one")) == []


FULL_DISK = """
import resource, sys
from pathlib import Path
from attune_retrieval import store
from attune_trainer.errors import StoreUnavailable
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
actions = {
    "write": lambda: store.write_bytes(sys.argv[2] + "/file", b"x" * 300_000),
    "publish": lambda: store.publish_folder(Path(sys.argv[3]), sys.argv[2] + "/folder"),
}
try:
    actions[sys.argv[1]]()
except StoreUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize("action", ["write", "publish"])
def test_a_disk_that_takes_no_more_is_said_clearly_and_leaves_nothing_half_written(tmp_path, action):
    big = folder(tmp_path / "big", data="x" * 300_000)
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", FULL_DISK, action, str(out), str(big)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    assert "the disk is full" in done.stdout, done.stderr
    assert "retry_scheduled" not in done.stdout, "a full disk is still full a second later"
    assert names(out) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


KILLED = """
import os, signal, sys
from pathlib import Path
from attune_retrieval import store
real = os.fsync
def die(handle):
    os.kill(os.getpid(), signal.SIGKILL)
os.fsync = die
store.publish_folder(Path(sys.argv[1]), sys.argv[2])
"""


def test_a_process_killed_while_publishing_leaves_the_old_folder_in_place(tmp_path):
    target = tmp_path / "out" / "target"
    store.publish_folder(folder(tmp_path / "one", data="old"), str(target))
    new = folder(tmp_path / "two", data="new")
    done = subprocess.run([sys.executable, "-c", KILLED, str(new), str(target)], capture_output=True, check=False)
    assert done.returncode == -9
    assert (target / "data").read_text() == "old"
    store.publish_folder(new, str(target))
    assert (target / "data").read_text() == "new"


def test_what_a_killed_process_left_is_swept_after_a_day_and_not_before(tmp_path):
    old, young = tmp_path / ".target.11111111.tmp", tmp_path / ".target.22222222.tmp"
    for leftover in (old, young):
        leftover.mkdir()
    os.utime(old, (0, 0))
    store.publish_folder(folder(tmp_path / "one"), str(tmp_path / "target"))
    assert not old.exists()
    assert young.exists()


def test_writing_replaces_a_file_by_rename_so_that_readers_keep_what_they_opened(tmp_path):
    store.write_text(str(tmp_path / "x"), json.dumps({"n": 1}))
    with (tmp_path / "x").open() as reader:
        store.write_text(str(tmp_path / "x"), json.dumps({"n": 2}))
        assert json.load(reader) == {"n": 1}
    assert json.loads(store.read_text(str(tmp_path / "x"))) == {"n": 2}
    assert names(tmp_path) == ["x"]
