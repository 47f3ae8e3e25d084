"""What `attune test show`, `test list` and `status` draw of an A/B test."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from ab_test_objects import NOW, an_ab_test, at, drawn, mean, metric, running, shown
from attune.cli import render as screens
from attune.cli.ab_tests import screen as drawing
from attune.views import ab_tests as views
from attune.views import retrievers as view


def screen(test: dict[str, Any], width: int = 120) -> str:
    return drawn(drawing.screen(shown(test), NOW, width), width)


LOOKS = [
    {
        "at": at(3 - n / 4),
        "samplesA": 100 * n,
        "samplesB": 25 * n,
        "difference": 0.02,
        "low": 0.02 - 0.2 / n,
        "high": 0.02 + 0.2 / n,
    }
    for n in range(1, 9)
]


def test_one_screen_says_how_the_test_stands() -> None:
    test = running(
        metricsA={"clicks": mean(0.31)},
        metricsB={"clicks": mean(0.323)},
        intervals={"clicks": {"low": -0.004, "high": 0.03}},
        pValues={"clicks": 0.12},
        sampleRatioPValue=0.43,
        lookedAt=at(0.01),
        message="clicks +4.2%, p 0.12 > 0.05 (alpha), not yet a difference",
        recommendation="Wait: clicks +4.2%, p 0.12 > 0.05 (alpha), not yet a difference.",
        looks=LOOKS,
    )
    text = screen(test)
    assert "ABTest news-v7 of Retriever news" in text
    assert "Running 3h, ends in 6d21h at the latest" in text
    assert "A      emb-v6, 80% of the queries, 1,204 distinct queries" in text
    assert "B      emb-v7, 20% of the queries, 301 distinct queries" in text
    assert "+0.013 (-0.004 to +0.030)  0.12  open" in text
    assert "p 0.43: the arms get the shares that they should" in text
    assert text.count("not yet a difference") == 1, "the reason is in the recommendation already"
    assert "clicks: B minus A, with its 95% interval at each look (higher is better)" in text
    assert "●" in text
    assert "hours since the start" in text


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_screen_keeps_to_the_width_of_the_terminal(width: int) -> None:
    names = [metric("answerAccepted"), metric("latency", "guardrail", direction="decrease", nonInferiorityMargin=0.1)]
    test = running(
        *names,
        metricsA={"answerAccepted": mean(0.31), "latency": mean(3.0, p99Milliseconds=100.0)},
        metricsB={"answerAccepted": mean(0.32), "latency": mean(3.0, p99Milliseconds=100.0)},
        intervals={"answerAccepted": {"low": -0.01, "high": 0.03}, "latency": {"low": -0.01, "high": 0.03}},
        looks=LOOKS,
    )
    text = screen(test, width)
    assert max(map(len, text.splitlines())) <= width
    assert "answerAccepted" in text, "names are whole"
    assert "within margin" in text


def test_what_is_wrong_is_on_the_screen_with_its_reason_and_age() -> None:
    bad = {"status": "True", "lastTransitionTime": at(0.5)}
    conditions = [
        {
            "type": "MetricsUnavailable",
            "reason": "Unreachable",
            "message": "Prometheus http://p does not answer",
            **bad,
        },
        {"type": "SampleRatioMismatch", "reason": "ChiSquare", "message": "B got 900 of 1,000", **bad},
        {"type": "Complete", "reason": "Running", "message": "goes on", **bad, "status": "False"},
    ]
    test = running(conditions=conditions, sampleRatioPValue=0.0001)
    text = screen(test)
    assert "MetricsUnavailable: Unreachable: Prometheus http://p does not answer (since 30m)" in text
    assert "SampleRatioMismatch: ChiSquare: B got 900 of 1,000 (since 30m)" in text
    assert "p <0.001: the arms do not get the shares that they should" in text
    assert [p["type"] for p in shown(test)["problems"]] == ["MetricsUnavailable", "SampleRatioMismatch"]
    noted = {**conditions[0], "status": "False", "reason": "Noted", "message": "news-serving-1 is not scraped"}
    assert "news-serving-1 is not scraped" in screen(running(conditions=[noted]))


def test_before_it_runs_and_after_it_ended_the_screen_says_why() -> None:
    waiting = an_ab_test(phase="Pending", message="Waiting: another-test runs")
    assert "Pending 3d5h" in screen(waiting)
    assert "Waiting: another-test runs" in screen(waiting)
    assert "the active version, 80% of the queries" in screen(waiting)
    assert "no look at the primary metric has an interval yet" in screen(waiting)
    ended = running(phase="Concluded", concludedAt=at(2), winner="B", recommendation="Promote emb-v7: clicks +4%.")
    assert "Concluded 2h ago: winner B" in screen(ended)
    promoted = {"result": "Refused", "message": "ArtifactCorrupt: a file differs"}
    assert "Refused: ArtifactCorrupt: a file differs" in screen(running(promotion=promoted))
    assert "its time is over" in screen(running(startedAt=at(200)))
    assert "Pending" in screen(an_ab_test()), "nobody has looked at it yet"


def test_without_plotext_the_screen_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotext", None)
    assert "the plot needs plotext: pip install 'attune[operator,report]'" in screen(running(looks=LOOKS))


def test_the_plot_of_latency_is_in_percent() -> None:
    looks = [{**look, "difference": 0.1, "low": -0.05, "high": 0.4} for look in LOOKS]
    test = running(metric("latency", direction="decrease"), looks=looks)
    assert "latency: B minus A in percent" in screen(test)
    assert "+40%" in screen(test)
    assert "lower is better" in screen(test)


def test_what_is_shown_is_json_as_well() -> None:
    found = shown(running(looks=LOOKS))
    assert json.loads(json.dumps(found)) == found
    assert found["endsAt"] == "2026-03-22T09:00:00Z"
    assert (found["a"], found["b"], found["split"], found["since"]) == ("emb-v6", "emb-v7", 0.2, at(3))


def test_the_list_has_every_test_the_newest_first() -> None:
    older = an_ab_test(phase="Concluded", concludedAt=at(50), winner="inconclusive")
    older["metadata"] = {**older["metadata"], "name": "news-v6", "creationTimestamp": at(300)}
    found = views.list_view([older, running()])
    assert [one["test"] for one in found] == ["news-v7", "news-v6"]
    text = drawn(drawing.listing(found, NOW))
    assert "news-v7  news       emb-v6  emb-v7  20%    1,204 + 301  Running    3h ago" in text
    assert "inconclusive" in text
    assert "there is no ABTest" in drawn(drawing.listing([], NOW))


def status_screen(test: dict[str, Any], **status: Any) -> str:
    retriever = {
        "metadata": {"name": "news"},
        "spec": {"embedding": {"baseModel": "x"}},
        "status": {"embedding": {"active": "emb-v6", "promotedAt": at(9)}, **status},
    }
    return drawn(screens.status(view.status_view(retriever, [], [], [test]), NOW))


def test_status_has_a_running_test_in_one_line() -> None:
    split = {"test": "news-v7", "challenger": "emb-v7", "fraction": 0.2}
    text = status_screen(running(), embedding={"active": "emb-v6", "split": split})
    assert "test  news-v7: emb-v7 20% of queries, 1,204 + 301 queries, Running 3h" in text
    assert "answers 20%" not in text, "the same is not said twice"


def test_status_has_a_waiting_test_and_its_challenger_that_is_loaded() -> None:
    waiting = an_ab_test(phase="Pending", message="Waiting: another-test runs")
    assert "news-v7: emb-v7 20% of queries, Pending: another-test runs" in status_screen(waiting)
    candidate = {
        "type": "embedding",
        "version": "emb-v7",
        "requestID": "abtest:news-v7",
        "test": "news-v7",
        "since": at(1),
    }
    assert "to be tested  emb-v7 since 60m: accepted" in status_screen(waiting, candidates=[candidate])
