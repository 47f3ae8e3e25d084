"""What `attune test` says of an A/B test on the screen and in lists, and how it cancels one."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from aiohttp import web
from rich.console import Console

from attune.cli import cancelling, test_screen, test_view, test_words, view
from attune.cli import render as screens
from attune.cli.session import Problem, Session
from attune.cluster.client import KubernetesCluster
from attune.cluster.connect import Connection
from attune.cluster.transport import Transport

NOW = datetime(2026, 3, 15, 12, 0, tzinfo=UTC)


def at(hours_ago: float) -> str:
    return (NOW - timedelta(hours=hours_ago)).isoformat().replace("+00:00", "Z")


def metric(name: str, role: str = "primary", **more: Any) -> dict[str, Any]:
    return {"name": name, "role": role} | more


def mean(value: float, samples: int = 500, error: float = 0.01, **more: Any) -> dict[str, Any]:
    return {"mean": value, "samples": samples, "standardError": error, **more}


def an_ab_test(*metrics: dict[str, Any], spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    given = {"retriever": "news", "modelB": "emb-v7", "metrics": list(metrics or [metric("clicks")])}
    return {
        "apiVersion": "attune.dev/v1alpha1",
        "kind": "ABTest",
        "metadata": {"name": "news-v7", "namespace": "team", "creationTimestamp": at(77)},
        "spec": given | (spec or {}),
        "status": status,
    }


def running(*metrics: dict[str, Any], **status: Any) -> dict[str, Any]:
    known = {"phase": "Running", "modelA": "emb-v6", "startedAt": at(3), "samplesA": 1204, "samplesB": 301}
    return an_ab_test(*metrics, **(known | status))


def shown(test: dict[str, Any]) -> dict[str, Any]:
    return test_view.show_view(test)


def drawn(what: Any, width: int = 120) -> str:
    out = StringIO()
    Console(file=out, width=width, highlight=False, markup=False, emoji=False).print(what)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def screen(test: dict[str, Any], width: int = 120) -> str:
    return drawn(test_screen.screen(shown(test), NOW, width), width)


# ---- what a metric means


def meaning(given: dict[str, Any], a: float | None, b: float | None, low: float, high: float, p: float | None) -> str:
    name = given["name"]
    arms = {key: {name: mean(value)} for key, value in (("metricsA", a), ("metricsB", b)) if value is not None}
    p_values = {} if p is None else {"pValues": {name: p}}
    return str(
        shown(running(given, **arms, intervals={name: {"low": low, "high": high}}, **p_values))["metrics"][0]["meaning"]
    )


@pytest.mark.parametrize(
    ("direction", "b", "p", "expected"),
    [
        ("increase", 0.35, 0.04, "better"),
        ("increase", 0.25, 0.04, "worse"),
        ("decrease", 0.25, 0.04, "better"),
        ("decrease", 0.35, 0.04, "worse"),
        ("increase", 0.35, 0.06, "open"),
        ("increase", 0.3, 0.04, "open"),
    ],
)
def test_a_primary_metric_is_called_by_its_corrected_p_value_and_the_good_direction(
    direction: str, b: float, p: float, expected: str
) -> None:
    assert meaning(metric("m", direction=direction), 0.3, b, -1, 1, p) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.01, 0.1, "better"), (-0.1, -0.01, "worse"), (-0.1, 0.1, "open")]
)
def test_without_a_p_value_its_interval_says_it(low: float, high: float, expected: str) -> None:
    assert meaning(metric("m"), 0.3, 0.3 + (low + high) / 2, low, high, None) == expected


@pytest.mark.parametrize(
    ("given", "a", "low", "high", "expected"),
    [
        (metric("m", "guardrail", nonInferiorityMargin=0.1), 0.5, -0.049, 0.2, "withinMargin"),
        (metric("m", "guardrail", nonInferiorityMargin=0.1), 0.5, -0.051, 0.2, "open"),
        (metric("m", "guardrail", nonInferiorityMargin=0.1), 0.5, -0.2, -0.049, "open"),
        (metric("m", "guardrail", nonInferiorityMargin=0.1), 0.5, -0.2, -0.051, "harmed"),
        (
            metric("latency", "guardrail", direction="decrease", nonInferiorityMargin=0.1),
            3.0,
            -0.1,
            0.095,
            "withinMargin",
        ),
        (metric("latency", "guardrail", direction="decrease", nonInferiorityMargin=0.1), 3.0, 0.096, 0.3, "harmed"),
        (
            metric("error", "guardrail", direction="decrease", nonInferiorityMargin=0.01),
            0.0,
            -0.1,
            0.0099,
            "withinMargin",
        ),
        (metric("error", "guardrail", direction="decrease", nonInferiorityMargin=0.01), 0.5, -0.1, 0.0051, "open"),
        (metric("m", "guardrail", nonInferiorityMargin=0.1), -2.0, -0.19, 0.0, "withinMargin"),
    ],
)
def test_a_guardrail_is_compared_with_its_margin_in_the_unit_of_the_metric(
    given: dict[str, Any], a: float, low: float, high: float, expected: str
) -> None:
    assert meaning(given, a, a + (low + high) / 2, low, high, None) == expected


def test_a_metric_without_values_in_an_arm_is_said_to_have_none() -> None:
    assert meaning(metric("m"), 0.3, None, -1, 1, 0.01) == "noValues"
    assert "no values" in screen(running(metric("m")))


def test_margins_are_those_of_the_rule_that_decides() -> None:
    from attune.api import Metric
    from attune.decide.experiment.statistics.effect import ArmMean, Effect
    from attune.decide.experiment.verdict import margin

    for name, a in (("latency", 3.0), ("error", 0.02), ("clicks", 0.4), ("score", -1.5)):
        given = metric(name, "guardrail", direction="decrease", nonInferiorityMargin=0.07)
        effect = Effect(ArmMean(a, 0.1, 100), ArmMean(a, 0.1, 100), 98)
        ours = test_view.harmful_from(given, a)
        assert ours == pytest.approx(margin(Metric.model_validate(given), effect))


# ---- numbers in words


def row(given: dict[str, Any], a: dict[str, Any], b: dict[str, Any], low: float, high: float) -> dict[str, Any]:
    name = given["name"]
    status = {"metricsA": {name: a}, "metricsB": {name: b}, "intervals": {name: {"low": low, "high": high}}}
    found: dict[str, Any] = shown(running(given, **status))["metrics"][0]
    return found


def test_latency_is_shown_in_milliseconds_and_in_percent() -> None:
    found = row(
        metric("latency", direction="decrease"),
        mean(math.log(20), p99Milliseconds=58.24),
        mean(math.log(21)),
        math.log(0.98),
        math.log(1.12),
    )
    assert (test_words.arm(found, "a"), test_words.arm(found, "b")) == ("20.0 ms", "21.0 ms")
    assert test_words.tail(found, "a") == "p99 58.2"
    assert test_words.tail(found, "b") is None
    assert test_words.changes(found) == [("+5.0%", "(-2.0% to +12.0%)")]
    slow = row(metric("latency"), mean(math.log(20_000)), mean(math.log(20_000)), 0, 0)
    assert test_words.arm(slow, "a") == "20,000 ms"


def test_other_metrics_have_an_absolute_and_a_relative_change() -> None:
    found = row(metric("clicks"), mean(0.31), mean(0.323), -0.004, 0.03)
    assert (test_words.arm(found, "a"), test_words.arm(found, "b")) == ("0.310", "0.323")
    assert test_words.changes(found) == [("+0.013", "(-0.004 to +0.030)"), ("+4.2%", "(-1.3% to +9.7%)")]


def test_a_mean_that_is_about_zero_has_no_relative_change() -> None:
    found = row(metric("score"), mean(0.02, error=0.01), mean(0.05), -0.01, 0.07)
    assert test_words.changes(found) == [("+0.030", "(-0.010 to +0.070)")]
    negative = row(metric("score"), mean(-2.0), mean(-1.0), 0.5, 1.5)
    assert test_words.changes(negative)[1] == ("+50.0%", "(+25.0% to +75.0%)"), "a rise is a rise"


def test_errors_are_shares_of_the_requests_and_their_change_is_in_points() -> None:
    found = row(metric("error", direction="decrease"), mean(0.0008, error=0.001), mean(0.0031), -0.004, 0.0086)
    assert test_words.arm(found, "b") == "0.31%"
    assert test_words.changes(found) == [("+0.23 points", "(-0.40 to +0.86)")]


@pytest.mark.parametrize(
    ("p", "words"), [(None, "-"), (0.0004, "<0.001"), (0.034, "0.034"), (0.31, "0.31"), (1.0, "1.00")]
)
def test_p_values_are_as_long_as_they_need_to_be(p: float | None, words: str) -> None:
    assert test_words.p_value(p) == words


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 3.0, [0, 1, 2, 3]),
        (-0.03, 0.122, [0, 0.05, 0.1]),
        (0.0, 0.0, [0]),
        (-12.0, 25.0, [-10, 0, 10, 20]),
    ],
)
def test_axes_have_round_numbers(low: float, high: float, ticks: list[float]) -> None:
    assert test_words.ticks_between(low, high) == pytest.approx(ticks)


def test_every_metric_has_the_level_of_its_own_interval() -> None:
    metrics = [metric("a"), metric("b", "success"), metric("c", "guardrail", nonInferiorityMargin=0.1)]
    levels = [m["level"] for m in shown(running(*metrics))["metrics"]]
    assert levels == pytest.approx([0.975, 0.975, 0.95])


def test_what_serving_measures_anyway_is_shown_and_not_tested() -> None:
    found = shown(running(metricsA={"latency": mean(3.0)}, metricsB={"latency": mean(3.1)}))["metrics"]
    assert [(m["name"], m["role"], m["meaning"]) for m in found] == [
        ("clicks", "primary", "noValues"),
        ("latency", "shown", "notTested"),
    ]


# ---- the screens


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
    found = test_view.list_view([older, running()])
    assert [one["test"] for one in found] == ["news-v7", "news-v6"]
    text = drawn(test_screen.listing(found, NOW))
    assert "news-v7  news       emb-v6  emb-v7  20%    1,204 + 301  Running    3h ago" in text
    assert "inconclusive" in text
    assert "there is no ABTest" in drawn(test_screen.listing([], NOW))


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


# ---- an API server with one test


class Server:
    """One ABTest that ends as `ends` says when it is patched."""

    def __init__(self) -> None:
        self.test: dict[str, Any] = running()
        self.ends: dict[str, Any] | None = {"phase": "Cancelled", "message": "cancelled: spec.cancel is true"}
        self.patches: list[Any] = []
        self.away = 0
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/apis/attune.dev/v1alpha1":
            return web.json_response({"resources": [{"name": "abtests", "kind": "ABTest", "namespaced": True}]})
        if request.method == "PATCH":
            self.patches.append(await request.json())
            if self.ends is not None:
                self.test = {**self.test, "status": {**self.test["status"], **self.ends}}
            return web.json_response(self.test)
        if self.patches and self.away > 0:
            self.away -= 1
            return web.Response(status=503)
        return web.json_response(self.test)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    runner = web.ServerRunner(web.Server(made.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.fixture
async def session(server: Server) -> AsyncIterator[Session]:
    transport = Transport(Connection(server.url))
    yield Session("team", transport, KubernetesCluster(transport))
    await transport.close()


async def test_a_test_is_cancelled_by_one_field_and_its_end_is_waited_for(session: Session, server: Server) -> None:
    said: list[str] = []
    server.away = 2
    answer = await cancelling.cancel(session, cancelling.Asked("news-v7"), said.append)
    assert server.patches == [{"spec": {"cancel": True}}]
    assert (answer["result"], answer["message"]) == ("Cancelled", "cancelled: spec.cancel is true")
    assert (answer["samplesA"], answer["samplesB"], answer["before"]) == (1204, 301, "Running")
    assert said == ["news-v7: asked for; it is Running"]
    assert cancelling.exit_code(answer) == 0


async def test_a_test_that_is_decided_meanwhile_is_told_so(session: Session, server: Server) -> None:
    server.ends = {"phase": "Concluded", "winner": "B", "message": "emb-v7 is better"}
    answer = await cancelling.cancel(session, cancelling.Asked("news-v7"), lambda _: None)
    assert (answer["result"], answer["message"]) == ("Concluded", "winner B, emb-v7 is better")
    assert cancelling.exit_code(answer) == 1


async def test_a_request_without_an_answer_stands(session: Session, server: Server) -> None:
    server.ends = None
    answer = await cancelling.cancel(session, cancelling.Asked("news-v7", timeout=0.1), lambda _: None)
    assert (answer["result"], cancelling.exit_code(answer)) == ("Timeout", 3)
    assert "no answer after 0.1 s, the request stands" in answer["message"]
    answer = await cancelling.cancel(session, cancelling.Asked("news-v7", wait=False), lambda _: None)
    assert (answer["result"], cancelling.exit_code(answer)) == ("Asked", 0)


async def test_what_has_ended_cannot_be_cancelled(session: Session, server: Server) -> None:
    server.test = running(phase="Concluded", winner="A", message="emb-v7 is worse")
    with pytest.raises(Problem, match=r"news-v7 has ended already \(Concluded: winner A, emb-v7 is worse\)"):
        await cancelling.cancel(session, cancelling.Asked("news-v7"), lambda _: None)
    server.test = running(phase="Cancelled", reason="CancelRequested")
    answer = await cancelling.cancel(session, cancelling.Asked("news-v7"), lambda _: None)
    assert (answer["result"], cancelling.exit_code(answer)) == ("Cancelled", 0)
    assert server.patches == []


# ---- the command line


def test_help_of_tests_loads_nothing_heavy() -> None:
    script = (
        "import sys; from attune.cli.app import app; app(['test', 'plan', '--help'], standalone_mode=False)\n"
        "heavy = {'scipy', 'numpy', 'matplotlib', 'jinja2', 'plotext', 'aiohttp', 'kubernetes'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "--per-day" in done.stdout
