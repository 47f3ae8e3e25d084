"""The golden-query probe: versions that answer every request, and answer wrongly. Against real processes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts import Made, write_sentences
from attune.contract import IndexSpec, ProbeReport, ServedModel, ServedProbe, ServingConfig, health
from attune_retrieval.index import open_store
from odd_models import collapsed, odd_artifact
from probe_snapshot import probe_snapshot
from serving_process import ServingProcess, served, serving_config
from tiny_bert import sentences
from tiny_reranker import tiny_reranker

Process = Callable[..., ServingProcess]
OFTEN = {"ATTUNE_PROBE_SECONDS": "0.5"}
LABELS = [(text, f"d{n:03}", 1.0) for n, (_, text) in enumerate(sentences())][::3]
"""Each document is asked for in its own words: any model that tells words apart finds it."""


@pytest.fixture(scope="module")
def collapsed_version(tmp_path_factory: pytest.TempPathFactory, index: IndexSpec) -> Made:
    """Every text of one length has the same vector. It has its golden answers, its manifest, and its own complete collection."""
    made = odd_artifact(tmp_path_factory.mktemp("collapsed"), "emb-v8", collapsed, seed=1)
    store = open_store(index)
    write_sentences(store, made)
    store.close()
    return made


@pytest.fixture
def probe(tmp_path: Path) -> ServedProbe:
    return probe_snapshot(tmp_path / "datasets", LABELS)


def promoted(new: Made, old: Made, index: IndexSpec, probe: ServedProbe, generation: int = 1) -> ServingConfig:
    versions = [served(made, collection=f"c_{made.name.replace('-', '_')}", documents=120) for made in (new, old)]
    model = ServedModel(active=new.name, previous=old.name, probe=probe)
    return serving_config(*versions, index=index, embedding=model, generation=generation)


def whole_report(server: ServingProcess, queries: int = len(LABELS)) -> ProbeReport:
    """The first one of all queries."""
    server.until(lambda: [report.queries for report in server.report().probes] == [queries])
    (report,) = server.report().probes
    return report


def recall(server: ServingProcess, made: Made) -> float | None:
    by = {health.NAMESPACE: "news", health.RETRIEVER: "news", health.VERSION: made.name, health.TYPE: "embedding"}
    assert server.metric(health.PROBE_QUERIES, **by) == len(LABELS)
    return server.metric(health.PROBE_RECALL, **by)


def test_collapsed_vectors_are_seen_though_no_request_fails(
    process: Process, one: Made, collapsed_version: Made, index: IndexSpec, probe: ServedProbe
) -> None:
    server = process(**OFTEN)
    server.tell(promoted(collapsed_version, one, index, probe))
    server.start()
    report = whole_report(server)
    assert (report.version, report.previous) == (collapsed_version.name, one.name)
    assert report.queries == report.previous_hits == len(LABELS)
    assert report.hits <= 0.3 * len(LABELS)
    assert (report.lost, report.won) == (report.queries - report.hits, 0)
    assert recall(server, one) == 1
    assert recall(server, collapsed_version) == pytest.approx(report.hits / report.queries)
    for query, _ in sentences()[:5]:  # the words would find it: users see less than they could, and no error
        assert server.post("/v1/search", {"query": query}).status_code == 200
    spread = server.metric(f"{health.SPREAD}_sum", attune_version=collapsed_version.name)
    assert spread == pytest.approx(0, abs=1e-3)
    (guard,) = server.report().guards
    assert (guard.open, guard.failures) == (False, 0)


def test_a_sound_version_loses_nothing_and_no_user_is_counted(
    process: Process, one: Made, two: Made, index: IndexSpec, probe: ServedProbe
) -> None:
    server = process(**OFTEN)
    server.tell(promoted(two, one, index, probe))
    server.start()
    report = whole_report(server)
    assert (report.queries, report.hits, report.lost) == (len(LABELS), len(LABELS), 0)
    time.sleep(2)
    assert server.metric("attune_serving_requests_total", endpoint="search", version=two.name) is None
    for made in (one, two):
        assert server.metric(health.ATTEMPTS, attune_version=made.name) == 0
        assert server.metric(f"{health.SPREAD}_count", attune_version=made.name) == 0
    assert server.get("/v1/traffic").json()["hours"] == []


def test_the_probe_begins_with_a_promotion_and_ends_with_its_window(
    process: Process, one: Made, two: Made, index: IndexSpec, tmp_path: Path
) -> None:
    probe = probe_snapshot(tmp_path / "few", LABELS[:6])
    server = process(**OFTEN)
    first = promoted(one, two, index, probe)
    server.tell(first.model_copy(update={"embedding": ServedModel(active=one.name)}))
    server.start()
    server.until(server.ready)
    server.tell(promoted(two, one, index, probe.model_copy(update={"seconds": 6.0}), generation=2))
    server.until(lambda: server.report().generation == 2)
    assert whole_report(server, 6).version == two.name
    time.sleep(6.5)

    def computed() -> float | None:
        return server.metric("attune_serving_tokens_total", version=two.name)

    before = computed()
    time.sleep(2)
    assert computed() == before
    assert server.report().probes
    server.tell(promoted(one, two, index, probe, generation=3))
    server.until(lambda: server.report().generation == 3)
    server.until(lambda: [found.version for found in server.report().probes] == [one.name])


def test_a_snapshot_that_is_damaged_is_said_and_nothing_is_reported(
    process: Process, one: Made, two: Made, index: IndexSpec, probe: ServedProbe
) -> None:
    path = Path(probe.uri) / "qrels.tsv"
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b"d000", b"d001"))
    server = process(**OFTEN)
    server.tell(promoted(two, one, index, probe))
    server.start()
    server.until(lambda: "the labelled queries cannot be read" in server.log)
    assert "qrels.tsv: its sha256 is not the manifest's" in server.log
    time.sleep(3)
    assert server.log.count("the labelled queries cannot be read") == 1
    assert server.report().probes == ()
    assert server.post("/v1/search", {"query": "red house"}).status_code == 200
    path.write_bytes(sound)
    assert whole_report(server).queries == len(LABELS)


def test_a_store_that_is_away_for_both_is_no_loss(
    process: Process, one: Made, two: Made, index: IndexSpec, probe: ServedProbe, tmp_path: Path
) -> None:
    copied = tmp_path / "index"
    shutil.copytree(index.uri.removeprefix("file://"), copied)
    few = probe_snapshot(tmp_path / "few", LABELS[:6])
    server = process(**OFTEN, ATTUNE_SEARCH_SECONDS="0.2")
    server.tell(promoted(two, one, IndexSpec(store="lancedb", uri=f"file://{copied}"), few))
    server.start()
    before = whole_report(server, 6)
    copied.rename(tmp_path / "away")
    time.sleep(5)
    assert server.report().probes == (before,)
    assert before.lost == 0


def test_a_reranker_is_compared_with_the_previous_one_on_the_same_candidates(
    process: Process, one: Made, index: IndexSpec, tmp_path: Path
) -> None:
    """The labels are what the previous reranker puts first, so that it is always right and the new one, which differs, is not."""
    old, new = tiny_reranker(tmp_path, "rer-v1"), tiny_reranker(tmp_path, "rer-v2", seed=5)
    embedding = served(one, collection="c_emb_v1", documents=120)
    server = process(**OFTEN)
    server.tell(serving_config(embedding, old.served, index=index, reranker=ServedModel(active=old.name)))
    server.start()
    server.until(server.ready)
    queries = [query for query, _ in sentences()[::10]]
    found = {
        query: server.post("/v1/search", {"query": query, "top_k": 1}).json()["data"][0]["id"] for query in queries
    }
    probe = probe_snapshot(tmp_path / "datasets", [(query, document, 1.0) for query, document in found.items()])
    model = ServedModel(active=new.name, previous=old.name, probe=probe)
    server.tell(serving_config(embedding, old.served, new.served, index=index, reranker=model, generation=2))
    server.until(lambda: server.report().generation == 2)
    report = whole_report(server, len(queries))
    assert (report.type.value, report.version, report.previous) == ("reranker", new.name, old.name)
    assert report.queries == report.previous_hits == len(queries)
    assert 0 < report.lost == report.queries - report.hits
    assert server.metric(health.ATTEMPTS, attune_version=new.name, attune_type="reranker") == 0
