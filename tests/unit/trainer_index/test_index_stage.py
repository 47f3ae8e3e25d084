"""The index stage: a collection that equals the archive, whatever happened before."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from artifacts import Made
from attune.contract import ExitCode, IndexSpec, RetireWork, Stage, StageResult, StageSpec, combine_digests
from attune_retrieval.index import Collection, Document, Identity, open_store
from attune_trainer.indexing import build
from attune_trainer.running import Ended, run
from attune_trainer.signals import Termination
from postgres_server import PostgresServer
from tiny_bert import sentences

MakeSpec = Callable[..., StageSpec]


def write_archive(folder: Path, count: int = 60, **changed: str) -> None:
    """`count` articles; `d003="text"` gives that one another text."""
    rows = [
        {"id": f"d{n:03}", "title": query, "content": changed.get(f"d{n:03}", text), "publishedAt": "2026-01-01"}
        for n, (query, text) in enumerate((sentences() * (count // 100 + 1))[:count])
    ]
    (folder / "archive.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def done(spec: StageSpec) -> Ended:
    return run(spec, Termination(), lambda _: None)


def collection(spec: StageSpec) -> Collection:
    assert spec.index is not None
    return open_store(spec.index.index).open(spec.index.collection)


def test_the_first_run_embeds_everything_and_the_second_nothing(tmp_path: Path, make_spec: MakeSpec) -> None:
    write_archive(tmp_path)
    first, second = done(make_spec()).result, done(make_spec()).result
    assert first.index is not None
    assert (first.index.documents, first.index.embedded, first.index.removed, first.index.sampled) == (60, 60, 0, 16)
    assert second.index is not None
    assert (second.index.documents, second.index.embedded) == (60, 0)
    assert first.index.digest == second.index.digest
    assert first.message == "60 documents of news_1: 60 embedded, 0 removed."
    assert [h.id for h in collection(make_spec()).by_words("red house", 1)] == ["d000"]


def test_what_changed_came_and_left_is_followed(tmp_path: Path, make_spec: MakeSpec) -> None:
    write_archive(tmp_path)
    before = done(make_spec()).result.index
    write_archive(tmp_path, 58, d003="the red stone waits and burns")
    after = done(make_spec()).result.index
    assert before is not None
    assert after is not None
    assert (after.documents, after.embedded, after.removed) == (58, 1, 2)
    assert after.digest != before.digest
    stored = dict(collection(make_spec()).digests())
    assert len(stored) == 58
    assert (
        stored["d003"]
        == Document("d003", sentences()[3][0], "the red stone waits and burns", "2026-01-01T00:00:00+00:00").digest
    )


def test_vectors_are_those_of_the_exported_model(tmp_path: Path, make_spec: MakeSpec, artifact: Made) -> None:
    from attune_retrieval.artifact import open_verified

    write_archive(tmp_path, 5)
    done(make_spec())
    encoder = open_verified(artifact.folder, artifact.digest).encoder
    expected = encoder.encode([text for _, text in sentences()[:5]], "document")
    stored = collection(make_spec()).vectors([f"d{n:03}" for n in range(5)])
    for n in range(5):
        assert float(stored[f"d{n:03}"] @ expected[n]) > 0.9999


def test_shards_together_are_the_whole_and_the_last_one_finishes(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path)
    whole = done(make_spec(index=IndexSpec(store="lancedb", uri=f"file://{tmp_path}/other"))).result.index
    results = []
    for shard in (2, 0, 1):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(shard))
        results.append(done(make_spec(shards=3)).result.index)
    assert whole is not None
    assert all(r is not None and r.documents > 0 for r in results)
    assert sum(r.documents for r in results if r) == 60
    assert combine_digests([r.digest for r in results if r]) == whole.digest
    assert collection(make_spec()).describe().documents == 60
    assert len(collection(make_spec()).by_words("house", 60)) > 0


def test_another_model_does_not_write_into_the_collection(tmp_path: Path, make_spec: MakeSpec, another: Made) -> None:
    write_archive(tmp_path)
    done(make_spec())
    refused = done(make_spec(another))
    assert (refused.exit_code, refused.result.reason) == (ExitCode.BAD_DATA, "SpaceMismatch")
    assert dict(collection(make_spec()).digests())


def test_vectors_that_somebody_else_wrote_are_noticed(tmp_path: Path, make_spec: MakeSpec) -> None:
    write_archive(tmp_path, 10)
    done(make_spec())
    document = Document("d004", sentences()[4][0], sentences()[4][1], "2026-01-01T00:00:00+00:00")
    wrong = np.eye(1, 32, dtype=np.float32)
    collection(make_spec()).write([document], wrong, new=False)
    noticed = done(make_spec())
    assert (noticed.exit_code, noticed.result.reason) == (ExitCode.BAD_DATA, "VectorsDiffer")
    assert "'d004'" in noticed.result.message


def test_a_damaged_artifact_indexes_nothing(tmp_path: Path, make_spec: MakeSpec, artifact: Made) -> None:
    import shutil

    write_archive(tmp_path)
    copy = tmp_path / "damaged"
    shutil.copytree(artifact.folder, copy)
    data = bytearray((copy / "onnx" / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "onnx" / "model.onnx").write_bytes(bytes(data))
    refused = done(make_spec(Made("emb-v1", copy, artifact.digest, artifact.space, artifact.dimensions)))
    assert (refused.exit_code, refused.result.reason) == (ExitCode.BAD_DATA, "ArtifactCorrupt")
    assert not (tmp_path / "index").exists()


def test_a_broken_archive_leaves_the_collection_as_it_was(tmp_path: Path, make_spec: MakeSpec) -> None:
    write_archive(tmp_path)
    done(make_spec())
    before = dict(collection(make_spec()).digests())
    text = (tmp_path / "archive.jsonl").read_text().splitlines()
    (tmp_path / "archive.jsonl").write_text("\n".join([*text[:20], *["{broken"] * 20]) + "\n")
    refused = done(make_spec())
    assert (refused.exit_code, refused.result.reason) == (ExitCode.BAD_DATA, "BrokenLines")
    assert dict(collection(make_spec()).digests()) == before


def test_documents_are_those_that_prepare_takes(tmp_path: Path, make_spec: MakeSpec) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "title": "t", "content": "a red house stands"},
        {"id": "a", "title": "t", "content": "another text with this id"},
        {"id": "b", "title": "t", "content": "word"},
        {"id": "", "title": "t", "content": "no id at all here"},
        {"id": "c", "title": "", "content": "a  blue\u00a0car   moves"},
    ]
    (tmp_path / "archive.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = done(make_spec()).result
    assert result.index is not None
    assert result.index.documents == 2
    assert {h.id: h.content for h in collection(make_spec()).dense(np.ones(32, np.float32), 9)} == {
        "a": "a red house stands",
        "c": "a blue car moves",
    }


def start(spec: StageSpec, folder: Path, **environment: str) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    (folder / "stage.json").write_text(spec.to_json())
    command = [sys.executable, "-m", "attune_trainer", "index", "--spec", str(folder / "stage.json")]
    known = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "ATTUNE_TERMINATION_LOG": str(folder / "message")}
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, env=os.environ | known | environment, stdout=log, stderr=log)


def until(check: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end
        time.sleep(0.02)


def stored(spec: StageSpec) -> int:
    assert spec.index is not None
    store = open_store(spec.index.index)
    try:
        return store.open(spec.index.collection).describe().documents if spec.index.collection in store.names() else 0
    finally:
        store.close()


def message(folder: Path) -> StageResult:
    found = StageResult.from_termination_message((folder / "message").read_text())
    assert found is not None
    return found


MANY = 20_000


def killed_beyond(count: int, spec: StageSpec, folder: Path) -> int:
    """Start it, kill it once it has stored more than that; how many are stored then."""
    process = start(spec, folder)
    until(lambda: stored(spec) > count or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    return stored(spec)


def test_a_shard_killed_twice_goes_on_where_it_was(tmp_path: Path, make_spec: MakeSpec) -> None:
    write_archive(tmp_path, MANY)
    first = killed_beyond(0, make_spec(), tmp_path / "pod")
    reached = killed_beyond(first, make_spec(), tmp_path / "pod")
    assert 0 < first < reached < MANY
    process = start(make_spec(), tmp_path / "pod")
    assert process.wait(240) == 0, (tmp_path / "pod" / "log").read_text()[-2000:]
    result = message(tmp_path / "pod").index
    assert result is not None
    assert result.documents == MANY
    assert result.embedded <= MANY - reached
    assert stored(make_spec()) == MANY


def test_sigterm_ends_it_between_two_windows_and_asks_for_another_attempt(tmp_path: Path, make_spec: MakeSpec) -> None:
    write_archive(tmp_path, MANY)
    process = start(make_spec(), tmp_path / "pod")
    until(lambda: stored(make_spec()) > 0 or process.poll() is not None)
    process.terminate()
    assert process.wait(60) == ExitCode.INTERRUPTED
    assert stored(make_spec()) % build.WINDOW == 0


def test_postgresql_restarted_in_the_middle_of_a_build_does_no_harm(
    tmp_path: Path, make_spec: MakeSpec, postgres: PostgresServer
) -> None:
    write_archive(tmp_path, 6000)
    spec = make_spec(index=IndexSpec(store="pgvector", uri=postgres.database("restarted")))
    process = start(spec, tmp_path / "pod")
    until(lambda: stored(spec) > 0 or process.poll() is not None)
    postgres.stop()
    time.sleep(1)
    postgres.start()
    assert process.wait(240) == 0, (tmp_path / "pod" / "log").read_text()[-2000:]
    assert stored(spec) == 6000
    assert [h.id for h in open_store(spec.index.index).open("news_1").by_words("silver chair", 1)]  # type: ignore[union-attr]


def test_a_store_that_is_away_asks_for_another_attempt(
    tmp_path: Path, make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    import stamina

    write_archive(tmp_path, 5)
    stamina.set_testing(True, attempts=1)
    try:
        away = IndexSpec(store="pgvector", uri="postgresql://nobody:secret@127.0.0.1:9/nothing")
        refused = done(make_spec(index=away))
    finally:
        stamina.set_testing(False)
    assert refused.exit_code == ExitCode.STORE_UNAVAILABLE
    assert "postgresql://nobody@127.0.0.1:9/nothing" in refused.result.message
    assert ":secret@" not in refused.result.message


def test_retiring_deletes_collection_and_artifact_and_may_be_repeated(
    tmp_path: Path, make_spec: MakeSpec, artifact: Made
) -> None:
    import shutil

    write_archive(tmp_path, 10)
    done(make_spec())
    copy = tmp_path / "versions" / "emb-v1"
    shutil.copytree(artifact.folder, copy)
    index = make_spec().index
    assert index is not None
    work = {"index": index.index, "collections": ["news_1", "absent"], "artifacts": [str(copy)]}
    spec = make_spec().model_copy(update={"stage": Stage.RETIRE, "retire": RetireWork.model_validate(work)})
    first, second = done(spec).result, done(spec).result
    assert first.succeeded
    assert first.message == f"deleted: collection news_1, {copy}."
    assert second.message == "there was nothing left to delete."
    assert not copy.exists()
    assert open_store(index.index).names() == []


def test_a_folder_that_may_only_be_read_can_be_searched(tmp_path: Path, make_spec: MakeSpec) -> None:
    write_archive(tmp_path, 30)
    done(make_spec())
    folder = tmp_path / "index"
    script = (
        "import sys, numpy as np\n"
        "from attune.contract import IndexSpec\n"
        "from attune_retrieval.index import open_store, search\n"
        "c = open_store(IndexSpec(store='lancedb', uri='file://' + sys.argv[1])).open('news_1')\n"
        "print(len(search(c, np.ones(32, np.float32), 'red house', 5)))\n"
    )
    mounted = f"mount -t tmpfs none /mnt && mkdir /mnt/i && mount --bind -o ro {folder} /mnt/i"
    command = f'{mounted} && ! touch /mnt/i/x 2>/dev/null && {sys.executable} -c "$0" /mnt/i'
    done_ = subprocess.run(["unshare", "-m", "sh", "-c", command, script], capture_output=True, text=True, check=False)
    if "unshare" in done_.stderr:
        pytest.skip("mounting is not allowed here")
    assert done_.stdout.strip() == "5", done_.stderr[-2000:]


def test_the_identity_is_that_of_the_artifact(tmp_path: Path, make_spec: MakeSpec, artifact: Made) -> None:
    write_archive(tmp_path, 5)
    done(make_spec())
    assert collection(make_spec()).describe().identity == Identity(artifact.space, artifact.dimensions)
