"""Versions change under traffic, told through an API server that comes and goes. Against real processes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from artifacts import Made
from attune.contract import IndexSpec
from fake_api_server import FakeApiServer
from load import Load, failures
from serving_process import ServingProcess, served, serving_config
from tiny_bert import sentences


@pytest.fixture
def api() -> Iterator[FakeApiServer]:
    made = FakeApiServer().start()
    yield made
    made.stop()


@pytest.fixture
def watched(process: Callable[..., ServingProcess], api: FakeApiServer) -> ServingProcess:
    return process(
        ATTUNE_API_SERVER=api.url,
        ATTUNE_CONFIG_MAP="news-serving",
        ATTUNE_NAMESPACE="news",
        ATTUNE_CONFIG_FILE="/nonexistent",
    )


def asks(number: int) -> tuple[str, dict[str, object]]:
    return "/v1/search", {"query": sentences()[number % 120][0], "top_k": 3}


def test_no_request_fails_and_each_has_vector_and_collection_of_one_version(
    watched: ServingProcess, api: FakeApiServer, one: Made, two: Made, index: IndexSpec
) -> None:
    versions = [served(m, collection=f"c_{m.name.replace('-', '_')}", documents=120) for m in (one, two)]
    api.put(serving_config(*versions, index=index).to_json())
    watched.start()
    watched.until(watched.ready)
    load = Load(where=lambda: [watched.url.removeprefix("http://")], make=asks, rate=150).start()
    for generation in range(2, 8):
        api.put(serving_config(*versions[:: 1 if generation % 2 else -1], index=index, generation=generation).to_json())
        watched.until(lambda generation=generation: watched.report().generation == generation)
        time.sleep(0.3)
    answers = load.stop()
    assert failures(answers) == {}
    assert {(a.version, a.collection) for a in answers} == {("emb-v1", "c_emb_v1"), ("emb-v2", "c_emb_v2")}
    assert watched.metric("attune_serving_swaps_total") == 7


def test_memory_after_50_swaps_is_as_before(watched: ServingProcess, api: FakeApiServer, one: Made, two: Made) -> None:
    """Each swap loads one version and frees the other."""
    api.put(serving_config(served(one)).to_json())
    watched.start()
    watched.until(watched.ready)
    sizes = []
    for generation in range(2, 62):
        made = two if generation % 2 == 0 else one
        api.put(serving_config(served(made), generation=generation).to_json())
        watched.until(lambda generation=generation: watched.report().generation == generation)
        watched.until(lambda: len(watched.report().versions) == 1)
        watched.post("/v1/embeddings", {"input": [t for _, t in sentences()[:64]]})
        sizes.append(psutil.Process(watched.pid).memory_info().rss)
    before = max(sizes[5:10])
    assert max(sizes[-3:]) < 1.1 * before, [s >> 20 for s in sizes]


def test_an_api_server_that_breaks_is_outlived_and_followed_again(
    watched: ServingProcess, api: FakeApiServer, one: Made, two: Made
) -> None:
    api.put(serving_config(served(one)).to_json())
    watched.start()
    watched.until(watched.ready)
    api.status = 500
    api.end_watches()
    time.sleep(1)
    assert watched.post("/v1/embeddings", {"input": "red"}).headers["x-attune-version"] == one.name
    api.put(serving_config(served(two), generation=2).to_json())
    api.status = 200
    watched.until(lambda: watched.report().active["embedding"] == two.name)
    assert watched.post("/v1/embeddings", {"input": "red"}).headers["x-attune-version"] == two.name
    assert watched.report().problem is None


def test_a_watch_whose_version_is_too_old_starts_again(
    watched: ServingProcess, api: FakeApiServer, one: Made, two: Made
) -> None:
    api.put(serving_config(served(one)).to_json())
    watched.start()
    watched.until(watched.ready)
    watches = api.watches
    api.gone = True
    api.end_watches()
    watched.until(lambda: api.watches >= watches + 2)
    api.put(serving_config(served(two), generation=2).to_json())
    watched.until(lambda: watched.report().active["embedding"] == two.name)
    assert watched.report().problem is None


@pytest.mark.parametrize(
    "junk",
    [b"<html>Bad Gateway</html>", b"[]", b"{}", b'{"metadata":{}}', b'{"type":"ADDED"}', b'"text"', b"\xff\xfe", b""],
)
def test_an_api_server_that_talks_nonsense_is_outlived_and_followed_again(
    watched: ServingProcess, api: FakeApiServer, one: Made, two: Made, junk: bytes
) -> None:
    api.put(serving_config(served(one)).to_json())
    watched.start()
    watched.until(watched.ready)
    watches = api.watches
    api.junk = junk
    api.end_watches()
    watched.until(lambda: api.watches > watches)
    time.sleep(0.5)
    assert watched.post("/v1/embeddings", {"input": "red"}).headers["x-attune-version"] == one.name
    api.junk = None
    api.put(serving_config(served(two), generation=2).to_json())
    watched.until(lambda: watched.report().active["embedding"] == two.name)


def test_an_api_server_that_ends_every_watch_is_not_flooded_and_still_followed(
    watched: ServingProcess, api: FakeApiServer, one: Made, two: Made
) -> None:
    api.hasty = True
    api.put(serving_config(served(one)).to_json())
    watched.start()
    watched.until(watched.ready)
    before = api.watches
    time.sleep(2)
    assert api.watches - before <= 4
    api.put(serving_config(served(two), generation=2).to_json())
    api.hasty = False
    watched.until(lambda: watched.report().active["embedding"] == two.name)


def test_a_config_map_that_is_deleted_changes_nothing_and_is_said(
    watched: ServingProcess, api: FakeApiServer, one: Made, two: Made
) -> None:
    api.put(serving_config(served(one)).to_json())
    watched.start()
    watched.until(watched.ready)
    api.delete()
    watched.until(lambda: watched.metric("attune_serving_config_problem", reason="ConfigMissing") == 1)
    assert watched.ready()
    assert watched.post("/v1/embeddings", {"input": "red"}).headers["x-attune-version"] == one.name
    api.put(serving_config(served(two), generation=2).to_json())
    watched.until(lambda: watched.report().active["embedding"] == two.name and watched.report().problem is None)


def test_started_while_the_config_map_is_deleted_it_serves_what_it_served(
    watched: ServingProcess, api: FakeApiServer, one: Made, two: Made
) -> None:
    api.put(serving_config(served(one)).to_json())
    watched.start()
    watched.until(watched.ready)
    watched.until((watched.folder / "cache" / "serving.json").is_file)
    watched.kill()
    api.delete()
    watched.start()
    watched.until(watched.ready)
    watched.until(lambda: "there is none; the last one is followed" in str(watched.report().problem))
    assert watched.metric("attune_serving_config_problem", reason="ConfigMissing") == 1
    assert watched.post("/v1/embeddings", {"input": "red"}).headers["x-attune-version"] == one.name
    api.put(serving_config(served(two)).to_json())
    watched.until(lambda: watched.report().active["embedding"] == two.name and watched.report().problem is None)


def test_without_an_api_server_the_mounted_file_is_followed(
    process: Callable[..., ServingProcess], api: FakeApiServer, one: Made, two: Made
) -> None:
    api.status = 503
    server = process(ATTUNE_API_SERVER=api.url, ATTUNE_CONFIG_MAP="news-serving", ATTUNE_NAMESPACE="news")
    server.tell(serving_config(served(one)))
    server.start()
    server.until(server.ready)
    api.put(serving_config(served(two), generation=2).to_json())
    api.status = 200
    server.until(lambda: server.report().active["embedding"] == two.name)
    assert server.post("/v1/embeddings", {"input": "red"}).headers["x-attune-version"] == two.name
    assert server.report().generation == 2


def test_sigterm_answers_what_came_and_ends_well(watched: ServingProcess, api: FakeApiServer, one: Made) -> None:
    api.put(serving_config(served(one)).to_json())
    watched.start()
    watched.until(watched.ready)
    body = {"input": [t for _, t in sentences()[:64]] * 8}
    load = Load(
        where=lambda: [watched.url.removeprefix("http://")],
        make=lambda _: ("/v1/embeddings", body),
        rate=20,
        keep_bodies=False,
    ).start()
    time.sleep(1)
    load._stopped.set()
    time.sleep(0.05)
    assert watched.stop() == 0
    assert failures(load.stop()) == {}


def test_sigterm_does_not_wait_for_a_store_that_hangs(
    process: Callable[..., ServingProcess], one: Made, two: Made
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, answers nothing
        server = process(
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{silent.getsockname()[1]}",
            AWS_ACCESS_KEY_ID="a",
            AWS_SECRET_ACCESS_KEY="b",
            AWS_REGION="us-east-1",
        )
        hanging = [
            served(two).model_copy(update={"name": f"emb-v{n}", "uri": f"s3://bucket/{n}", "digest": f"sha256:{n}"})
            for n in range(2, 5)
        ]
        server.tell(serving_config(served(one), *hanging))
        server.start()
        server.until(server.ready)  # and what hangs keeps nobody else back
        assert server.report().problem is None
        assert server.stop() == 0
        assert "Traceback" not in server.log


def test_a_preloaded_version_answers_by_name_and_is_not_asked_otherwise(
    watched: ServingProcess, api: FakeApiServer, one: Made, two: Made
) -> None:
    api.put(serving_config(served(one)).to_json())
    watched.start()
    watched.until(watched.ready)
    api.put(serving_config(served(one), served(two)).to_json())
    watched.until(lambda: watched.post("/v1/embeddings", {"input": "red", "model": two.name}).status_code == 200)
    assert watched.post("/v1/embeddings", {"input": "red"}).headers["x-attune-version"] == one.name
    report = watched.report()
    assert report.ready(two.name, two.digest)
    assert report.problem is None
