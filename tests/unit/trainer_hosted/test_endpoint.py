"""The embeddings endpoint: what is sent, what is tried again, and what ends at once in the API's own words."""

from __future__ import annotations

import time

import httpx
import numpy as np
import pytest

from attune.contract import HostedModel, key_variable
from attune_retrieval import endpoint
from attune_retrieval.errors import BadConfig, StoreUnavailable
from openai_server import EMBEDS, Fault, OpenAIServer

TEXTS = [f"text number {n}" for n in range(600)]


def hosted(server: OpenAIServer, **more: object) -> HostedModel:
    return HostedModel.model_validate({"base_url": server.url, "model": EMBEDS} | more)


def test_vectors_come_in_the_order_of_the_texts_whatever_order_they_are_answered_in(server: OpenAIServer) -> None:
    answer = endpoint.embed(hosted(server), TEXTS)
    assert np.allclose(answer.vectors, server.vectors(TEXTS), atol=1e-6)
    assert server.asked("POST /v1/embeddings") == 3
    assert answer.tokens == sum(1 + len(text) // 4 for text in TEXTS)


def test_fewer_dimensions_are_asked_for_and_come_with_unit_length(server: OpenAIServer) -> None:
    found = endpoint.embed(hosted(server, dimensions=16), TEXTS[:3]).vectors
    assert found.shape == (3, 16)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_an_empty_text_does_not_fail_the_batch_that_it_is_in(server: OpenAIServer) -> None:
    assert endpoint.embed(hosted(server), ["a", ""]).vectors.shape == (2, 64)


@pytest.mark.parametrize("how", [429, 500, 503, 408, "garbage", "reset"])
def test_what_passes_is_tried_again(server: OpenAIServer, how: int | str) -> None:
    server.faults = [Fault("embeddings", how, times=3)]
    assert endpoint.embed(hosted(server), ["a"]).vectors.shape == (1, 64)
    assert server.asked("embeddings") == 4


def test_a_server_that_says_when_is_not_asked_before(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "LONGEST_PAUSE", 5.0)
    server.faults = [Fault("embeddings", 429, retry_after=1.2)]
    began = time.monotonic()
    endpoint.embed(hosted(server), ["a"])
    assert time.monotonic() - began >= 1.2


def test_a_server_that_never_answers_well_is_given_up_with_its_words(server: OpenAIServer) -> None:
    server.faults = [Fault("embeddings", 503, times=100, words="overloaded")]
    with pytest.raises(StoreUnavailable, match=r"answered 503: overloaded \(8 attempts\)") as failed:
        endpoint.embed(hosted(server), ["a"])
    assert failed.value.reason == "ApiUnavailable"
    assert server.asked("embeddings") == endpoint.ATTEMPTS


def test_a_server_that_hangs_is_given_up(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "TIMEOUT", httpx.Timeout(0.2))
    server.faults = [Fault("embeddings", "hang", times=100)]
    with pytest.raises(StoreUnavailable, match="did not answer: ReadTimeout"):
        endpoint.embed(hosted(server), ["a"])


@pytest.mark.parametrize(
    ("fault", "reason", "words"),
    [
        (Fault("embeddings", 401, words="Incorrect API key"), "Unauthorized", "OPENAI_API_KEY into the Secret"),
        (Fault("embeddings", 403, words="no access"), "Unauthorized", "403: no access"),
        (Fault("embeddings", 400, words="too many tokens"), "ApiRefused", "400: too many tokens"),
        (Fault("embeddings", 404, words="no such model"), "ApiRefused", "404: no such model"),
    ],
)
def test_what_does_not_pass_ends_at_once_in_the_servers_words(
    server: OpenAIServer, fault: Fault, reason: str, words: str
) -> None:
    server.faults = [fault]
    with pytest.raises(BadConfig) as failed:
        endpoint.embed(hosted(server), ["a"])
    assert failed.value.reason == reason
    assert words in str(failed.value)
    assert server.url in str(failed.value)
    assert server.asked("embeddings") == 1


def test_a_used_up_account_is_not_asked_again_and_again(server: OpenAIServer) -> None:
    server.faults = [Fault("embeddings", 429, words="You exceeded your current quota", code="insufficient_quota")]
    with pytest.raises(StoreUnavailable, match="You exceeded your current quota") as failed:
        endpoint.embed(hosted(server), ["a"])
    assert failed.value.reason == "QuotaExhausted"
    assert server.asked("embeddings") == 1


def test_a_server_gets_its_own_key_and_never_that_of_another(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-another")
    monkeypatch.setenv(key_variable(server.url), "its-own")
    endpoint.embed(hosted(server), ["a"])
    monkeypatch.setenv(key_variable(server.url), "")
    endpoint.embed(hosted(server), ["a"])
    assert server.keys == ["Bearer its-own", None]


def test_by_hand_the_key_is_that_of_the_usual_variable(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "by-hand")
    endpoint.embed(hosted(server), ["a"])
    assert server.keys == ["Bearer by-hand"]


def test_a_key_is_never_in_a_message(server: OpenAIServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(key_variable(server.url), "sk-secret")
    server.key = "another"
    with pytest.raises(BadConfig) as failed:
        endpoint.embed(hosted(server), ["a"])
    assert "sk-secret" not in str(failed.value)
