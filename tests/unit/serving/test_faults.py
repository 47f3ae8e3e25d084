"""Never ready with a wrong model, always with a reason, and well again without help. Against real processes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts import Made
from attune.contract import IndexSpec, ServedModel, ServedVersion, VersionState
from attune_retrieval import manifest
from serving_process import ServingProcess, served, serving_config

Damage = Callable[[Path], str | None]


def flipped_byte(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def truncated(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    path.write_bytes(path.read_bytes()[:-100])


def without_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def without_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def wrong_golden_vectors(folder: Path) -> str:
    """Digests are right, answers are not: the files of another model, or another runtime."""
    path = folder / "golden.json"
    golden = json.loads(path.read_text())
    golden[0]["vector"] = golden[0]["vector"][::-1]
    path.write_text(json.dumps(golden))
    described = manifest.read(folder)
    return manifest.write(folder, described.model_copy(update={"files": manifest.file_digests(folder)}))


@pytest.fixture
def copy(tmp_path: Path, two: Made) -> Path:
    folder = tmp_path / "copy"
    shutil.copytree(two.folder, folder)
    return folder


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flipped_byte, "ArtifactCorrupt"),
        (truncated, "ArtifactCorrupt"),
        (without_tokenizer, "ArtifactCorrupt"),
        (without_manifest, "ArtifactMissing"),
        (wrong_golden_vectors, "ArtifactCorrupt"),
    ],
)
def test_a_damaged_version_is_never_served_the_old_one_goes_on_and_repair_is_noticed(
    process: Callable[..., ServingProcess], one: Made, two: Made, copy: Path, damage: Damage, reason: str
) -> None:
    digest = damage(copy) or two.digest
    broken = served(two).model_copy(update={"uri": str(copy), "digest": digest})
    server = process()
    server.tell(serving_config(served(one)))
    server.start()
    server.until(server.ready)
    server.tell(serving_config(broken, served(one), generation=2))
    server.until(lambda: any(v.state is VersionState.FAILED for v in server.report().versions))
    report = server.report()
    failed = next(v for v in report.versions if v.name == two.name)
    assert failed.reason == reason
    assert failed.message
    assert (report.generation, report.active["embedding"]) == (1, one.name)
    assert "generation 2 waits" in str(report.problem)
    assert server.metric("attune_serving_config_problem", reason=reason) == 1
    assert server.metric("attune_serving_load_failures_total", version=two.name, reason=reason)
    assert server.ready()
    assert server.post("/v1/embeddings", {"input": "red"}).headers["x-attune-version"] == one.name
    assert server.post("/v1/embeddings", {"input": "red", "model": two.name}).status_code == 404
    if digest == two.digest:
        shutil.rmtree(copy)
        shutil.copytree(two.folder, copy)
    else:
        server.tell(serving_config(served(two), served(one), generation=3))
    server.until(lambda: server.report().active.get("embedding") == two.name)
    server.until(lambda: server.metric("attune_serving_config_problem", reason=reason) is None)


def test_alone_and_damaged_it_is_not_ready(process: Callable[..., ServingProcess], two: Made, copy: Path) -> None:
    flipped_byte(copy)
    server = process()
    server.tell(serving_config(served(two).model_copy(update={"uri": str(copy)})))
    server.start()
    server.until(lambda: any(v.state is VersionState.FAILED for v in server.report().versions))
    ready = server.get("/readyz")
    assert ready.status_code == 503
    assert "emb-v2 is Failed (ArtifactCorrupt)" in ready.text
    assert server.post("/v1/embeddings", {"input": "red"}).status_code == 503


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dimensions": 64}, "DimensionMismatch"),
        ({"embedding_space": "sha256:other"}, "SpaceMismatch"),
        ({"collection": "c_emb_v2", "documents": 120}, "SpaceMismatch"),
        ({"collection": "c_absent", "documents": 120}, "CollectionMissing"),
        ({"collection": "c_emb_v1", "documents": 5000}, "CollectionIncomplete"),
    ],
)
def test_a_version_that_is_not_what_it_is_said_to_be_is_not_served(
    process: Callable[..., ServingProcess], one: Made, index: IndexSpec, change: dict[str, object], reason: str
) -> None:
    server = process()
    version = ServedVersion.model_validate(served(one).model_dump() | change)
    server.tell(serving_config(version, index=index))
    server.start()
    server.until(lambda: any(v.state is VersionState.FAILED for v in server.report().versions))
    assert server.report().versions[0].reason == reason
    assert not server.ready()


def test_a_store_that_is_away_at_the_start_is_waited_for(
    process: Callable[..., ServingProcess], one: Made, tmp_path: Path
) -> None:
    later = tmp_path / "later"
    server = process()
    server.tell(serving_config(served(one).model_copy(update={"uri": str(later)})))
    server.start()
    server.until(lambda: server.report().versions and server.report().versions[0].state is VersionState.FAILED)
    assert not server.ready()
    shutil.copytree(one.folder, later)
    server.until(server.ready)


def test_with_a_cache_it_starts_while_the_store_is_away(
    process: Callable[..., ServingProcess], one: Made, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(one.folder, store)
    server = process()
    server.tell(serving_config(served(one).model_copy(update={"uri": str(store)})))
    server.start()
    server.until(server.ready)
    server.until((server.folder / "cache" / "serving.json").is_file)
    server.stop()
    shutil.rmtree(store)
    server.config_file.unlink()
    server.start()
    server.until(server.ready)
    assert server.post("/v1/embeddings", {"input": "red"}).status_code == 200


def test_a_damaged_cache_is_fetched_anew(process: Callable[..., ServingProcess], one: Made) -> None:
    server = process()
    server.tell(serving_config(served(one)))
    server.start()
    server.until(server.ready)
    server.stop()
    flipped_byte(server.folder / "cache" / "versions" / one.digest.removeprefix("sha256:"))
    server.start()
    server.until(server.ready)
    assert server.report().versions[0].state is VersionState.READY


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{broken", "Invalid JSON"),
        ("{}", "namespace: Field required"),
        ('{"contract":"attune.dev/serving/v9","namespace":"n","retriever":"r","generation":9}', "contract"),
        ('{"namespace":"n","retriever":"r","generation":0,"versions":[]}', "generation"),
        (
            '{"namespace":"n","retriever":"r","generation":9,"embedding":{"active":"emb-v9"}}',
            "embedding points to emb-v9, which is not listed",
        ),
    ],
)
def test_a_configuration_that_cannot_be_followed_changes_nothing(
    process: Callable[..., ServingProcess], one: Made, text: str, words: str
) -> None:
    server = process()
    server.tell(serving_config(served(one)))
    server.start()
    server.until(server.ready)
    server.tell(text)
    server.until(lambda: server.report().problem)
    assert words in str(server.report().problem)
    assert "the last one is followed" in str(server.report().problem)
    reason = "UnknownVersion" if "points to" in words else "ConfigInvalid"
    assert server.metric("attune_serving_config_problem", reason=reason) == 1
    assert server.post("/v1/embeddings", {"input": "red"}).headers["x-attune-version"] == one.name
    server.tell(serving_config(served(one), generation=2))
    server.until(lambda: server.report().problem is None and server.report().generation == 2)


def test_a_configuration_that_cannot_be_read_is_said_whatever_else_goes_on(
    process: Callable[..., ServingProcess], one: Made, two: Made, tmp_path: Path
) -> None:
    """A preload that is tried again and again must not make the problem look solved."""
    server = process()
    later = tmp_path / "later"
    server.tell(serving_config(served(one), served(two).model_copy(update={"uri": str(later)})))
    server.start()
    server.until(server.ready)
    server.tell("{broken")
    server.until(lambda: server.report().problem)
    shutil.copytree(two.folder, later)
    server.until(lambda: server.report().ready(two.name, two.digest))
    assert "Invalid JSON" in str(server.report().problem)
    assert server.metric("attune_serving_config_problem", reason="ConfigInvalid") == 1


def test_a_file_that_is_older_than_what_is_known_is_passed_over(
    process: Callable[..., ServingProcess], one: Made, two: Made
) -> None:
    server = process()
    server.tell(serving_config(served(two), served(one), generation=5))
    server.start()
    server.until(server.ready)
    server.tell(serving_config(served(one), served(two), generation=4))
    time.sleep(3)
    assert server.report().active["embedding"] == two.name
    server.tell(serving_config(served(one), served(two), generation=6))
    server.until(lambda: server.report().active["embedding"] == one.name)


def test_the_previous_version_must_be_ready_too(
    process: Callable[..., ServingProcess], one: Made, two: Made, copy: Path
) -> None:
    flipped_byte(copy)
    server = process()
    model = ServedModel(active=one.name, previous=two.name)
    broken = served(two).model_copy(update={"uri": str(copy)})
    server.tell(serving_config(served(one), broken, embedding=model))
    server.start()
    server.until(lambda: server.report().problem)
    assert not server.ready()


def test_artifacts_that_are_not_in_use_leave_the_cache(
    process: Callable[..., ServingProcess], one: Made, two: Made
) -> None:
    server = process()
    server.tell(serving_config(served(one)))
    server.start()
    server.until(server.ready)
    folder = server.folder / "cache" / "versions"
    assert [path.name for path in folder.iterdir()] == [one.digest.removeprefix("sha256:")]
    server.tell(serving_config(served(two), generation=2))
    server.until(lambda: [path.name for path in folder.iterdir()] == [two.digest.removeprefix("sha256:")])
    assert server.post("/v1/embeddings", {"input": "red"}).headers["x-attune-version"] == two.name


def test_a_search_that_fails_names_its_version_and_is_counted_for_it(
    process: Callable[..., ServingProcess], one: Made, index: IndexSpec, tmp_path: Path
) -> None:
    copied = tmp_path / "index"
    shutil.copytree(index.uri.removeprefix("file://"), copied)
    server = process(ATTUNE_SEARCH_SECONDS="1")
    version = served(one, collection="c_emb_v1", documents=120)
    server.tell(serving_config(version, index=IndexSpec(store="lancedb", uri=f"file://{copied}")))
    server.start()
    server.until(server.ready)
    assert server.post("/v1/search", {"query": "red house"}).status_code == 200
    copied.rename(tmp_path / "away")
    answer = server.post("/v1/search", {"query": "red house"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "index_unavailable"), answer.text
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-attune-version"] == one.name
    assert server.metric("attune_serving_errors_total", endpoint="search", version=one.name) == 1
    assert server.post("/v1/embeddings", {"input": "red house"}).status_code == 200
    (tmp_path / "away").rename(copied)
    server.until(lambda: server.post("/v1/search", {"query": "red house"}).status_code == 200)
