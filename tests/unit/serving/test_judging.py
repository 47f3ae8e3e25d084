"""The judge on live traffic: which queries, within which bounds, what it asks, and what becomes of nonsense. With a real HTTP server."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from artifacts import Made
from attune.contract import IndexSpec, ServedJudge, ServedModel, ServedSplit
from attune.contract.counting import SUM, VALUES
from attune_serving.judging.judge import JudgeError, Judgement, faithfulness, score_of
from attune_serving.judging.sampling import Budget, is_sampled
from serving_process import ServingProcess, served, serving_config
from tiny_bert import sentences


class Model:
    """A language model that answers every question, and finds three of four statements supported."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.fail: list[int] = []
        """Statuses of the next answers."""
        self.answer = "Red houses are red."
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                model.asked.append(body | {"key": self.headers.get("authorization")})
                status = model.fail.pop(0) if model.fail else 200
                said = model.says(body["messages"][0]["content"])
                answer = {"choices": [{"message": {"content": said}}], "usage": {"total_tokens": 100}}
                text = json.dumps(answer).encode() if status == 200 else b"overloaded"
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def says(self, task: str) -> str:
        if not task.startswith("Split"):
            return self.answer
        verdicts = [{"statement": f"s{n}", "supported": n > 0} for n in range(4)]
        return "```json\n" + json.dumps({"statements": verdicts}) + "\n```"

    def stop(self) -> None:
        self._server.shutdown()


@pytest.fixture
def model() -> Iterator[Model]:
    made = Model()
    yield made
    made.stop()


def judge_of(url: str, **more: Any) -> ServedJudge:
    known = {"model": "judge-1", "share": 1.0, "per_minute": 6000, "tokens_per_day": 1_000_000}
    return ServedJudge(url=url, **(known | more))


def judged(url: str) -> Judgement:
    async def once() -> Judgement:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await faithfulness(client, judge_of(url), "what is red?", ["Red house: it is red.", "Blue."])

    return asyncio.run(once())


def test_faithfulness_is_the_share_of_supported_statements(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    assert judged(model.url) == Judgement(0.75, 200)
    assert model.asked[0]["messages"][1]["content"].endswith("Question: what is red?")
    assert "[1] Red house: it is red." in model.asked[1]["messages"][1]["content"]
    assert {a["key"] for a in model.asked} == {"Bearer sk-1"}


def test_passages_without_an_answer_are_not_faithful(model: Model) -> None:
    model.answer = "No answer."
    assert judged(model.url) == Judgement(0.0, 100)


def test_what_passes_by_itself_is_tried_again_and_what_does_not_is_said(model: Model) -> None:
    model.fail = [429, 503]
    assert judged(model.url).score == 0.75
    model.fail = [401]
    with pytest.raises(JudgeError, match="answered 401: overloaded"):
        judged(model.url)
    model.fail = [500, 500, 500]
    with pytest.raises(JudgeError, match="Busy"):
        judged(model.url)


@pytest.mark.parametrize(
    "text", ["", "yes", "[]", '{"statements": []}', '{"statements": [{"supported": "maybe"}]}', '{"statements": 3}']
)
def test_nonsense_is_no_score(text: str) -> None:
    with pytest.raises(JudgeError):
        score_of(text)


def test_the_sample_is_a_share_of_the_queries_and_the_same_everywhere() -> None:
    units = [n * 7_919_333_333_337 % 2**64 for n in range(20_000)]
    sampled = [u for u in units if is_sampled(u, 0.1)]
    assert 0.09 < len(sampled) / len(units) < 0.11
    assert all(is_sampled(u, 0.2) for u in sampled)
    assert not any(is_sampled(u, 0.0) for u in units)


def test_rate_and_tokens_are_bounded() -> None:
    budget = Budget(judge_of("http://x", per_minute=6, tokens_per_day=500))
    taken = [budget.take(float(second)) for second in range(120)]
    assert 11 <= taken.count(None) <= 12
    assert set(taken) == {None, "rate"}
    budget.spend(600)
    assert budget.take(200.0) == "tokens"
    assert budget.take(200.0 + 86_400) is None


def test_searches_of_a_test_are_judged_in_the_background_and_counted_once_each(
    artifacts: tuple[Made, Made], index: IndexSpec, process: Callable[..., ServingProcess], model: Model
) -> None:
    versions = [served(made, collection=f"c_{made.name.replace('-', '_')}", documents=120) for made in artifacts]
    split = ServedSplit(test="trial", challenger="emb-v2", fraction=0.5, salt="salt", run="uid-1")
    server = process()
    told = {"index": index, "embedding": ServedModel(active="emb-v1", split=split)}
    server.tell(serving_config(*versions, judge=judge_of(model.url), **told))
    server.start()
    server.until(server.ready)
    for query, _ in sentences()[:5]:
        for _ in range(2):
            assert server.post("/v1/search", {"query": query, "top_k": 3}).status_code == 200
    server.until(lambda: server.metric("attune_serving_judgements_total", outcome="judged") == 5)
    server.until(lambda: sum(_values(server, VALUES)) == 5)
    assert sum(_values(server, SUM)) == 5 * 0.75
    assert server.metric("attune_serving_judge_tokens_total") == 1000
    assert len(model.asked) == 10
    server.tell(serving_config(*versions, generation=2, **told))
    server.until(lambda: server.report().generation == 2)
    server.post("/v1/search", {"query": sentences()[7][0], "top_k": 3})
    assert server.metric("attune_serving_judgements_total", outcome="judged") == 5


def _values(server: ServingProcess, series: str) -> list[float]:
    lines = server.get("/metrics").text.splitlines()
    return [float(x.rpartition(" ")[2]) for x in lines if x.startswith(series + "{") and 'metric="faithfulness"' in x]
