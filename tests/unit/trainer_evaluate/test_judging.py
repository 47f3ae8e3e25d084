"""Faithfulness and relevance by a judge: through ragas and a real HTTP server, to numbers, or to a reason why there are none."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

from attune.contract import EvaluationConfig, Judgements, JudgeSource
from attune_trainer.errors import Interrupted
from attune_trainer.evaluate.comparison import Beyond, summarised
from attune_trainer.evaluate.judging import REPEATS, Sitting, judged, sampled
from compared import EqualVectors, compared, ranked
from judge_server import TOKENS, JudgeServer, form_of

ALL = Judgements(scored=36, asked=36)
NONE = Judgements(scored=0, asked=36)


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    made = JudgeServer()
    yield made
    made.stop()


def sitting(server: JudgeServer, **more: Any) -> Sitting:
    source = JudgeSource(url=server.url, model="judge-1")
    return Sitting(**({"source": source, "encoder": EqualVectors(), "queries": 12, "seed": 1, "resamples": 200} | more))


def asked(server: JudgeServer) -> list[str]:
    return [form_of("\n".join(message["content"] for message in body["messages"])) for body in server.asked]


def test_a_supported_answer_is_faithful_and_everything_is_counted(server: JudgeServer) -> None:
    found = judged(compared(ranked(1), None), sitting(server))
    assert found.candidate == {"faithfulness": 1.0, "relevance": 1.0}
    assert found.active == {}
    assert found.not_measured == {}
    assert found.judge is not None
    assert (found.judge.faithfulness, found.judge.relevance) == (ALL, ALL)
    assert (found.judge.queries, found.judge.repeats) == (12, REPEATS)
    assert found.judge.calls == len(server.asked) == 12 * (1 + 3 * REPEATS)
    assert found.judge.tokens == TOKENS * found.judge.calls


def test_an_answer_that_the_passages_do_not_support_is_zero(server: JudgeServer) -> None:
    server.unsupported = True
    assert judged(compared(ranked(1), None), sitting(server)).candidate["faithfulness"] == 0.0


def test_passages_without_an_answer_are_neither_faithful_nor_relevant(server: JudgeServer) -> None:
    """ragas alone would call "the passages do not say" faithful."""
    server.unanswered = True
    found = judged(compared(ranked(0), None), sitting(server))
    assert found.candidate == {"faithfulness": 0.0, "relevance": 0.0}
    assert set(asked(server)) == {"answer"}


def test_the_active_version_is_judged_on_the_same_queries_and_equal_passages_once(server: JudgeServer) -> None:
    same, other = ranked(1), ranked(*[1] * 10, 0, 0)
    found = judged(compared(same, other), sitting(server))
    assert found.active == {"faithfulness": 1.0, "relevance": 1.0}
    assert found.differences["faithfulness"].low == found.differences["faithfulness"].high == 0.0
    assert len(server.asked) == 14 * (1 + 3 * REPEATS)


def test_a_sample_is_the_same_for_everybody_and_bounded(server: JudgeServer) -> None:
    assert sampled(1000, 50, 7) == sampled(1000, 50, 7)
    assert len(sampled(1000, 50, 7)) == len(set(sampled(1000, 50, 7))) == 50
    assert sampled(3, 50, 7) == [0, 1, 2]
    found = judged(compared(ranked(1), None), sitting(server, queries=2))
    assert len(server.asked) == 2 * (1 + 3 * REPEATS)
    assert found.judge is not None
    assert found.judge.queries == 2


@pytest.mark.parametrize(
    ("form", "said", "absent"),
    [
        ("verdicts", "I think so", "faithfulness"),
        ("statements", '{"statements": "all"}', "faithfulness"),
        ("statements", '{"statements": []}', "faithfulness"),
        ("question", '{"question": "", "noncommittal": 0}', "relevance"),
        ("question", "What?", "relevance"),
    ],
)
def test_what_cannot_be_read_is_left_out_and_never_zero(server: JudgeServer, form: str, said: str, absent: str) -> None:
    server.rubbish = {form: said}
    found = judged(compared(ranked(1), None), sitting(server, queries=4))
    (kept,) = {"faithfulness", "relevance"} - {absent}
    assert found.candidate == {kept: 1.0}
    assert "0 of 4 queries" in found.not_measured[absent]
    assert "unreadable" in found.not_measured[absent]
    assert found.judge is not None
    assert getattr(found.judge, absent) == Judgements(scored=0, asked=12)


def test_rubbish_instead_of_an_answer_is_no_score_either(server: JudgeServer) -> None:
    server.rubbish = {"answer": '{"answered": true, "answer": " "}'}
    found = judged(compared(ranked(1), None), sitting(server, queries=4))
    assert found.candidate == {}
    assert set(found.not_measured) == {"faithfulness", "relevance"}


def test_some_unreadable_judgements_leave_a_mean_of_the_others(server: JudgeServer) -> None:
    told = server.completion

    def sometimes(body: dict[str, Any]) -> dict[str, Any]:
        answer = told(body)
        if form_of("\n".join(m["content"] for m in body["messages"])) == "question" and len(server.asked) % 3 == 0:
            answer["choices"][0]["message"]["content"] = "…"
        return answer

    server.completion = sometimes  # type: ignore[method-assign]
    found = judged(compared(ranked(1), None), sitting(server))
    assert found.candidate["relevance"] == 1.0
    assert found.judge is not None
    assert found.judge.relevance is not None
    assert 18 <= found.judge.relevance.scored <= 36


def test_a_wrong_key_ends_it_at_once_with_the_servers_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    server = JudgeServer(key="sk-right")
    found = judged(compared(ranked(1), None), sitting(server))
    assert "answered 401 for model judge-1" in found.not_measured["faithfulness"]
    assert found.judge is not None
    assert (found.judge.faithfulness, found.judge.tokens) == (NONE, 0)
    assert len(server.asked) <= 4
    monkeypatch.setenv("OPENAI_API_KEY", "sk-right")
    assert judged(compared(ranked(1), None), sitting(server)).not_measured == {}
    server.stop()


def test_a_judge_that_is_away_leaves_the_reason_and_no_number(server: JudgeServer) -> None:
    server.stop()
    found = judged(compared(ranked(1), None), sitting(server))
    assert (found.candidate, found.active, found.differences) == ({}, {}, {})
    assert "0 of 12 queries" in found.not_measured["relevance"]
    assert "could not be reached" in found.not_measured["relevance"]


def test_an_overloaded_judge_is_asked_again(server: JudgeServer) -> None:
    server.fail = [429, 503]
    assert judged(compared(ranked(1), None), sitting(server, queries=2)).candidate["faithfulness"] == 1.0


def test_the_time_is_bounded(server: JudgeServer) -> None:
    told = server.completion

    def slowly(body: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.5)
        return told(body)

    server.completion = slowly  # type: ignore[method-assign]
    started = time.monotonic()
    found = judged(compared(ranked(1), None), sitting(server, seconds=1.0))
    assert time.monotonic() - started < 10
    assert "the time for judging (1 s) was over" in found.not_measured["faithfulness"]


def test_sigterm_ends_it_between_two_answers(server: JudgeServer) -> None:
    def told() -> None:
        raise Interrupted("SIGTERM")

    with pytest.raises(Interrupted):
        judged(compared(ranked(1), None), sitting(server, check=told))


def test_relevance_needs_an_encoder(server: JudgeServer) -> None:
    found = judged(compared(ranked(1), None), sitting(server, encoder=None, queries=2))
    assert found.candidate == {"faithfulness": 1.0}
    assert "embedding model" in found.not_measured["relevance"]
    assert "question" not in asked(server)


def test_a_question_elsewhere_is_irrelevant(server: JudgeServer) -> None:
    server.rubbish = {"question": '{"question": "far away?", "noncommittal": 0}'}
    assert judged(compared(ranked(1), None), sitting(server, queries=2)).candidate["relevance"] == 0.0


def test_nothing_is_told_to_the_makers_of_ragas(server: JudgeServer) -> None:
    judged(compared(ranked(1), None), sitting(server, queries=1))
    assert os.environ["RAGAS_DO_NOT_TRACK"] == "true"
    from ragas._analytics import do_not_track

    do_not_track.cache_clear()  # what ragas decided when another test imported it
    assert do_not_track()


def test_the_score_is_the_mean_of_the_metrics_that_were_measured() -> None:
    half = Beyond(candidate={"faithfulness": 0.5}, not_measured={"relevance": "away"})
    summary = summarised(compared(ranked(1), None), half, EvaluationConfig())
    assert summary.metrics.score == pytest.approx((0.5 + 1 + 1) / 3, abs=1e-4)
    assert summary.metrics.score_metric == "mean of faithfulness, contextPrecision, contextRecall"
    assert summary.not_measured == {"relevance": "away"}
    named = summarised(compared(ranked(1), None), half, EvaluationConfig(score_metric="faithfulness"))
    assert named.metrics.score == 0.5
    away = summarised(compared(ranked(1), None), half, EvaluationConfig(score_metric="relevance"))
    assert (away.metrics.score, away.metrics.relevance) == (None, None)
