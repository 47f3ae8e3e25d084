"""The inline guard beside A/B tests, rerankers and models in memory that give no numbers for some texts. Against real processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from artifacts import Made, collection_of
from attune.contract import IndexSpec, ServedModel, ServedSplit, health
from attune_retrieval.artifact import open_verified
from attune_serving.assign import bucket
from attune_serving.guard import MOST_FAILED
from guarded_serving import QUERIES, Guarded, is_rescued
from odd_models import nan_for, odd_artifact, odd_reranker
from serving_process import ServingProcess, served, serving_config
from tiny_bert import sentences
from tiny_reranker import MadeReranker, tiny_reranker

Process = Callable[..., ServingProcess]


def test_in_a_test_arm_a_is_answered_for_and_counted_as_an_error_and_arm_b_is_not(
    guarded: Guarded, process: Process, one: Made, two: Made
) -> None:
    """B is the previous version's own artifact under another name, so that it goes on well."""
    challenger = served(replace(one, name="emb-v3"), collection=collection_of(one), documents=120)
    split = ServedSplit(test="ab", challenger="emb-v3", fraction=0.5, salt="guard", run="uid-1")
    config = guarded.config(embedding=ServedModel(active=two.name, previous=one.name, split=split))
    guarded.server.tell(config.model_copy(update={"versions": (*config.versions, challenger)}))
    guarded.server.start()
    guarded.server.until(guarded.server.ready)
    guarded.inference.broken = (500, "out of memory")
    arms = {"A": 0, "B": 0}
    for query in QUERIES[:24]:
        arm = "B" if bucket("guard", query) < 5000 else "A"
        arms[arm] += 1
        answer = guarded.search(query)
        assert (answer.headers["x-attune-test"], answer.headers["x-attune-arm"]) == ("ab", arm)
        if arm == "A":
            is_rescued(answer, guarded)
        else:
            assert answer.headers["x-attune-version"] == "emb-v3"
            assert "x-attune-fallback" not in answer.headers
    assert arms["A"] > MOST_FAILED
    assert arms["B"] > 0

    def errors(arm: str) -> float | None:
        name = "attune_serving_test_value_sum_total"
        return guarded.server.metric(name, test="ab", arm=arm, metric="error", sign="plus")

    def units(arm: str) -> float | None:
        return guarded.server.metric("attune_serving_test_units_total", test="ab", arm=arm)

    guarded.server.until(lambda: all(units(arm) == count for arm, count in arms.items()))
    assert (errors("A"), errors("B")) == (arms["A"], 0)


# ---- a model in memory that gives no numbers for some texts


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Made, MadeReranker, MadeReranker]:
    folder = tmp_path_factory.mktemp("odd")
    return (
        odd_artifact(folder, "emb-v9", nan_for("gold"), seed=3),
        odd_reranker(folder, "rer-v9", nan_for("gold"), seed=3),
        tiny_reranker(folder, "rer-v1"),
    )


def test_only_the_texts_that_a_model_has_no_numbers_for_are_answered_by_the_other(
    process: Process, one: Made, odd: tuple[Made, MadeReranker, MadeReranker]
) -> None:
    server = process()
    model = ServedModel(active="emb-v9", previous=one.name)
    server.tell(serving_config(served(odd[0]), served(one), embedding=model))
    server.start()
    server.until(server.ready)
    for query, version in (("red house", "emb-v9"), ("gold house", one.name), ("blue car", "emb-v9")) * 4:
        answer = server.post("/v1/embeddings", {"input": query, "input_type": "query"})
        assert (answer.status_code, answer.headers["x-attune-version"]) == (200, version)
    (guard,) = server.report().guards
    assert (guard.open, guard.failures, guard.attempts, guard.reason) == (False, 3, 10, "model_failed")


def test_a_reranker_is_answered_for_alone_and_within_a_search(
    process: Process, one: Made, index: IndexSpec, odd: tuple[Made, MadeReranker, MadeReranker]
) -> None:
    server = process()
    new, old = odd[1], odd[2]
    server.tell(
        serving_config(
            served(one, collection=collection_of(one), documents=120),
            new.served,
            old.served,
            index=index,
            reranker=ServedModel(active=new.name, previous=old.name),
        )
    )
    server.start()
    server.until(server.ready)
    documents = [text for _, text in sentences()[:8]]
    expected = open_verified(old.folder, None).reranker.score([("gold house", d) for d in documents])
    answer = server.post("/v1/rerank", {"query": "gold house", "documents": documents})
    assert (answer.status_code, answer.headers["x-attune-version"]) == (200, old.name)
    assert answer.headers["x-attune-fallback"] == new.name
    for result in answer.json()["results"]:
        assert result["relevance_score"] == pytest.approx(float(expected[result["index"]]), abs=1e-4)
    found = server.post("/v1/search", {"query": "gold house"})
    assert (found.status_code, found.headers["x-attune-version"]) == (200, one.name)
    assert (found.headers["x-attune-reranker"], found.headers["x-attune-reranker-fallback"]) == (old.name, new.name)
    assert "x-attune-fallback" not in found.headers
    assert server.metric(health.FAILURES, attune_version=new.name, attune_type="reranker", reason="model_failed") == 2
    assert server.metric(health.ATTEMPTS, attune_version=one.name, attune_type="embedding") == 1
    (guard,) = server.report().guards
    assert (guard.version, guard.failures) == (new.name, 2)


# ---- scores that show a collapse


def test_the_spread_of_scores_is_that_of_the_vectors_whatever_the_words_find(guarded: Guarded) -> None:
    guarded.start()
    for query in QUERIES[:4]:
        guarded.search(query, hybrid=True)
        guarded.search(query, hybrid=False, top_k=10)
    assert guarded.metric(f"{health.SPREAD}_count", guarded.new) == 8
    total = guarded.metric(f"{health.SPREAD}_sum", guarded.new)
    encoder = open_verified(guarded.new.folder, guarded.new.digest).encoder
    documents = encoder.encode([text for _, text in sentences()], "document")
    scores = np.sort(encoder.encode(QUERIES[:4], "query") @ documents.T, axis=1)
    assert total == pytest.approx(2 * float((scores[:, -1] - scores[:, -10]).sum()), abs=1e-4)
    guarded.search(top_k=1, hybrid=False)
    assert guarded.metric(f"{health.SPREAD}_count", guarded.new) == 8
