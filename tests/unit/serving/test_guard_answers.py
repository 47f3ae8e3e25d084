"""The inline guard: verified versions that break while they answer, and users who see nothing of it. Against real processes."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from artifacts import Made
from attune.contract import ServedModel, health
from attune_retrieval.artifact import open_verified
from attune_serving.guard import FIRST_PAUSE, MOST_FAILED
from guarded_serving import QUERIES, Guarded, is_own, is_rescued
from load import Load, failures
from tiny_bert import sentences


def vectors(answer: httpx.Response) -> Any:
    return np.array([row["embedding"] for row in answer.json()["data"]], np.float32)


def test_all_series_are_there_before_the_first_request(guarded: Guarded) -> None:
    guarded.start()
    for made in (guarded.old, guarded.new):
        for name in (health.ATTEMPTS, health.FALLBACKS, health.GUARD_OPEN, f"{health.SECONDS}_count"):
            assert guarded.metric(name, made) == 0, name
        for reason in ("model_failed", "wrong_dimension", "timed_out", health.SHARED):
            assert guarded.metric(health.FAILURES, made, reason=reason) == 0
    (guard,) = guarded.server.report().guards
    assert (guard.version, guard.open, guard.failures, guard.attempts) == (guarded.new.name, False, 0, 0)
    process = guarded.server.report().process
    assert guarded.metric(health.ATTEMPTS, guarded.new, **{health.PROCESS: process}) == 0


@pytest.mark.parametrize(
    ("broken", "reason", "words"),
    [
        ((500, "out of memory"), "upstream_failed", "out of memory"),
        ((200, "<html>busy</html>"), "upstream_failed", "something else than embeddings"),
        ("nan", "upstream_failed", "no numbers"),
        ("zeros", "model_failed", "no numbers"),
        ("short", "wrong_dimension", "31 dimensions, it has 32"),
        ("hang", "timed_out", "no answer in time"),
    ],
)
def test_a_version_that_breaks_costs_no_user_an_answer_and_is_soon_asked_no_more(
    guarded: Guarded, broken: Any, reason: str, words: str
) -> None:
    guarded.start()
    is_own(guarded.search(), guarded)
    guarded.inference.broken = broken
    expected = open_verified(guarded.old.folder, guarded.old.digest).encoder
    for number in range(MOST_FAILED):
        assert not guarded.is_open()
        if number % 2:
            answer = guarded.search(QUERIES[number])
        else:
            answer = guarded.embed(QUERIES[number])
            assert (vectors(answer) @ expected.encode([QUERIES[number]], "query")[0]).item() > 0.9999
        is_rescued(answer, guarded)
    assert guarded.is_open()
    asked = len(guarded.inference.texts)
    for query in QUERIES[:10]:
        began = time.monotonic()
        is_rescued(guarded.search(query), guarded)
        assert time.monotonic() - began < 2
    assert len(guarded.inference.texts) == asked
    assert guarded.failures(guarded.new) == {reason: MOST_FAILED}
    assert guarded.failures(guarded.old) == {}
    assert (guarded.attempts(guarded.new), guarded.attempts(guarded.old)) == (MOST_FAILED + 1, MOST_FAILED + 10)
    assert guarded.metric(f"{health.SECONDS}_count", guarded.new) == MOST_FAILED + 1
    assert (guarded.fallbacks(guarded.new), guarded.fallbacks(guarded.old)) == (MOST_FAILED + 10, 0)
    assert guarded.server.metric("attune_serving_errors_total", endpoint="search") is None
    (guard,) = guarded.server.report().guards
    assert (guard.failures, guard.attempts, guard.reason) == (MOST_FAILED, MOST_FAILED + 1, reason)
    assert words in guard.message
    assert guarded.server.log.count("is not asked any more") == 1


def test_what_the_previous_version_finds_is_from_its_own_collection(guarded: Guarded) -> None:
    """The query is embedded anew, and compared with documents of the space it was embedded in (invariant 5)."""
    guarded.start()
    named = {
        made.name: [guarded.search(q, model=made.name).json() for q in QUERIES[:12]]
        for made in (guarded.old, guarded.new)
    }
    assert named[guarded.old.name] != named[guarded.new.name]
    guarded.inference.broken = (500, "out of memory")
    assert [guarded.search(q).json() for q in QUERIES[:12]] == named[guarded.old.name]


def test_once_it_is_repaired_it_is_tried_by_single_requests_and_then_asked_again(guarded: Guarded) -> None:
    guarded.start()
    guarded.inference.broken = (500, "out of memory")
    for query in QUERIES[:MOST_FAILED]:
        is_rescued(guarded.embed(query), guarded)
    opened = time.monotonic()
    guarded.inference.broken = None
    asked = len(guarded.inference.texts)
    while time.monotonic() < opened + FIRST_PAUSE - 1:
        is_rescued(guarded.embed(), guarded)
        time.sleep(0.2)
    assert len(guarded.inference.texts) == asked
    guarded.server.until(lambda: guarded.embed().headers["x-attune-version"] == guarded.new.name)
    assert time.monotonic() > opened + FIRST_PAUSE - 0.5
    assert guarded.is_open()
    for _ in range(2):
        is_own(guarded.embed(), guarded)
    assert not guarded.is_open()
    is_own(guarded.embed(), guarded)
    (guard,) = guarded.server.report().guards
    assert (guard.failures, guard.attempts) == (0, 1)
    assert guarded.server.log.count("is asked again") == 1


def test_a_trial_that_fails_is_rescued_too(guarded: Guarded) -> None:
    guarded.start()
    guarded.inference.broken = (500, "out of memory")
    for query in QUERIES[:MOST_FAILED]:
        guarded.embed(query)
    asked = len(guarded.inference.texts)
    end = time.monotonic() + FIRST_PAUSE + 3
    while time.monotonic() < end:
        is_rescued(guarded.embed(), guarded)
        time.sleep(0.1)
    assert len(guarded.inference.texts) == asked + 1
    assert guarded.is_open()
    assert guarded.failures(guarded.new) == {"upstream_failed": MOST_FAILED + 1}


def test_no_request_fails_while_it_breaks_under_load(guarded: Guarded) -> None:
    guarded.start()

    def make(number: int) -> tuple[str, dict[str, object]]:
        query = QUERIES[number % 120]
        if number % 2:
            return "/v1/search", {"query": query}
        return "/v1/embeddings", {"input": query, "input_type": "query"}

    load = Load(where=lambda: [guarded.server.url.removeprefix("http://")], make=make, rate=60).start()
    for broken in ("hang", None, (500, "out of memory")):
        time.sleep(1.5)
        guarded.inference.broken = broken
    time.sleep(1.5)
    answers = load.stop()
    assert failures(answers) == {}
    assert {a.version for a in answers} == {guarded.old.name, guarded.new.name}
    for answer in answers:
        assert answer.collection == f"c_{answer.version.replace('-', '_')}"
    assert guarded.is_open()


def test_a_collection_that_is_gone_is_answered_for_by_the_previous_one(guarded: Guarded) -> None:
    guarded.start()
    is_own(guarded.search(), guarded)
    guarded.take_away(guarded.new)
    for query in QUERIES[: MOST_FAILED + 2]:
        is_rescued(guarded.search(query), guarded)
    assert guarded.is_open()
    assert set(guarded.failures(guarded.new)) <= {"timed_out", "index_unavailable"}
    assert sum(guarded.failures(guarded.new).values()) == MOST_FAILED
    guarded.bring_back(guarded.new)
    guarded.server.until(lambda: "x-attune-fallback" not in guarded.search().headers)


def test_a_store_that_is_away_for_both_is_no_reason_to_go_back(guarded: Guarded) -> None:
    guarded.start()
    guarded.take_away(guarded.old, guarded.new)
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda query=query: answers.append(guarded.search(query)))
        for query in QUERIES[: MOST_FAILED + 4]
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answer in answers:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "index_unavailable"), answer.text
        assert answer.headers["x-attune-version"] == guarded.new.name
        assert "x-attune-fallback" not in answer.headers
    assert guarded.failures(guarded.new) == {health.SHARED: MOST_FAILED + 4}
    assert guarded.failures(guarded.old) == {"index_unavailable": MOST_FAILED + 4}
    assert guarded.fallbacks(guarded.new) == 0
    assert not guarded.is_open()
    (guard,) = guarded.server.report().guards
    assert (guard.failures, guard.attempts, guard.reason) == (0, 0, "")
    errors = guarded.server.metric("attune_serving_errors_total", endpoint="search", version=guarded.new.name)
    assert errors == MOST_FAILED + 4
    guarded.bring_back(guarded.old, guarded.new)
    guarded.server.until(lambda: guarded.search().status_code == 200)
    is_own(guarded.search(), guarded)


def test_documents_are_never_of_two_spaces_and_say_of_the_version_what_happened(guarded: Guarded) -> None:
    guarded.start()
    guarded.inference.broken = (500, "out of memory")
    for number in range(MOST_FAILED):
        assert not guarded.is_open()
        answer = guarded.embed(sentences()[number][1], input_type="document")
        assert (answer.status_code, answer.headers["x-attune-version"]) == (502, guarded.new.name)
        assert "x-attune-fallback" not in answer.headers
    assert guarded.is_open()
    assert guarded.failures(guarded.new) == {"upstream_failed": MOST_FAILED}
    assert guarded.fallbacks(guarded.new) == 0
    is_rescued(guarded.embed(), guarded)
    several = guarded.server.post("/v1/embeddings", {"input": QUERIES[:3], "input_type": "query"})
    is_rescued(several, guarded)
    guarded.inference.broken = None
    is_own(guarded.embed(input_type="document"), guarded)
    assert guarded.is_open()  # it was no trial


def test_documents_of_the_same_space_are_answered_for(guarded: Guarded, two: Made) -> None:
    twin = replace(two, name="emb-v1b")
    guarded.old = twin
    collections = [f"c_{name.replace('-', '_')}.lance" for name in (two.name, twin.name)]
    shutil.copytree(guarded.index / collections[0], guarded.index / collections[1])
    guarded.start()
    guarded.inference.broken = (500, "out of memory")
    is_rescued(guarded.embed("the house stands", input_type="document"), guarded)
    assert guarded.fallbacks(guarded.new) == 1


def test_who_names_a_version_gets_that_version_or_its_error(guarded: Guarded) -> None:
    guarded.start()
    guarded.inference.broken = (500, "out of memory")
    for _ in range(MOST_FAILED + 1):
        answer = guarded.embed(model=guarded.new.name)
        assert (answer.status_code, answer.headers["x-attune-version"]) == (502, guarded.new.name)
    assert guarded.embed(model=guarded.old.name).status_code == 200
    assert guarded.failures(guarded.new) == {"upstream_failed": MOST_FAILED + 1}
    assert guarded.attempts(guarded.old) == 1
    assert not guarded.is_open()


def test_without_the_guard_a_failure_is_one(guarded: Guarded) -> None:
    guarded.start(inline_guard=False)
    guarded.inference.broken = (500, "out of memory")
    assert guarded.embed().status_code == 502
    assert guarded.server.report().guards == ()
    assert guarded.failures(guarded.new) == {"upstream_failed": 1}
    guarded.follow(2)
    is_rescued(guarded.embed(), guarded)


def test_what_a_client_does_wrong_is_no_attempt_and_asks_nobody_else(guarded: Guarded) -> None:
    guarded.start()
    before = [guarded.attempts(made) for made in (guarded.old, guarded.new)]
    assert guarded.search(top_k=100_000).status_code == 413
    assert guarded.embed("").status_code == 400
    assert guarded.embed(model="emb-v9").status_code == 404
    assert [guarded.attempts(made) for made in (guarded.old, guarded.new)] == before
    assert guarded.failures(guarded.new) == {}


def test_the_breaker_outlives_changes_of_other_things_and_is_new_for_another_active_version(guarded: Guarded) -> None:
    guarded.start()
    guarded.inference.broken = (500, "out of memory")
    for query in QUERIES[:MOST_FAILED]:
        guarded.embed(query)
    assert guarded.is_open()
    guarded.follow(2)
    assert guarded.is_open()
    back = ServedModel(active=guarded.old.name, previous=guarded.new.name)
    guarded.follow(3, embedding=back)
    assert guarded.metric(health.GUARD_OPEN, guarded.new) == 0
    (guard,) = guarded.server.report().guards
    assert (guard.version, guard.open, guard.attempts) == (guarded.old.name, False, 0)
    answer = guarded.embed()
    assert (answer.headers["x-attune-version"], answer.status_code) == (guarded.old.name, 200)
    guarded.follow(4)
    assert not guarded.is_open()
    asked = len(guarded.inference.texts)
    is_rescued(guarded.embed(), guarded)
    assert len(guarded.inference.texts) == asked + 1


def test_a_client_that_leaves_says_nothing_of_a_version(guarded: Guarded) -> None:
    guarded.start()
    guarded.inference.broken = "hang"

    async def leave() -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=0.05) as client:
            with pytest.raises(httpx.TimeoutException):
                await client.post(f"{guarded.server.url}/v1/embeddings", json={"input": "a", "input_type": "query"})

    asyncio.run(leave())
    guarded.server.until(lambda: guarded.fallbacks(guarded.new) == 1)  # it was answered, though nobody was there
    assert guarded.failures(guarded.new) == {"timed_out": 1}
