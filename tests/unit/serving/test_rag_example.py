"""examples/rag against real serving processes: it finds, answers, and its feedback counts for the arm that answered."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from artifacts import Made
from attune.client import AsyncServing, BadRequest, NotFound, Serving, Unreachable
from attune.contract import IndexSpec, ServedModel, ServedSplit
from attune.contract.counting import VALUES
from chat_server import chat_server, completion
from serving_process import ServingProcess, served, serving_config
from tiny_bert import sentences

FOLDER = Path(__file__).parents[3] / "examples" / "rag"
QUERY, TEXT = sentences()[7]


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    """examples/rag/app.py, as a module."""
    spec = importlib.util.spec_from_file_location("rag_app", FOLDER / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rag_app"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(FOLDER))


@pytest.fixture
def pods(process: Callable[..., ServingProcess], artifacts: tuple[Made, Made], index: IndexSpec) -> ServingProcess:
    """emb-v1 serves, emb-v2 answers half of the queries in a test."""
    split = ServedSplit(test="trial", challenger="emb-v2", fraction=0.5, salt="salt", run="uid-1")
    both = [served(made, collection=f"c_{made.name.replace('-', '_')}") for made in artifacts]
    made = process()
    made.tell(serving_config(*both, index=index, embedding=ServedModel(active="emb-v1", split=split)))
    made.start()
    made.until(made.ready)
    made.until(lambda: {v.state.value for v in made.report().versions} == {"Ready"})
    return made


def test_a_question_is_answered_from_what_was_found_and_the_users_opinion_counts(
    example: ModuleType, pods: ServingProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def user(question: str) -> str:
        asked.append(question)
        return "y"

    assert example.main(["--serving", pods.url, QUERY, "-k", "3"], ask_user=user) == 0
    told = capsys.readouterr().out
    assert TEXT in told
    assert asked == ["Did that answer the question? [y/n] "]
    version = pods.post("/v1/search", {"query": QUERY}).headers["x-attune-version"]
    assert pods.metric("attune_serving_feedback_total", version=version, metric="answerAccepted") == 1
    assert pods.metric("attune_serving_feedback_value_sum", version=version, metric="answerAccepted") == 1


def test_feedback_is_counted_once_for_the_arm_that_answered(example: ModuleType, pods: ServingProcess) -> None:
    with Serving(pods.url) as serving:
        application = example.Application(example.AttuneRetriever(serving=serving, top_k=2))
        arms = {"A": 0, "B": 0}
        for query, _ in sentences()[:12]:
            answer = application.ask(query)
            arms[str(serving.search(query, top_k=1).arm)] += 1
            application.accepted(answer, yes=True)
            application.accepted(answer, yes=True)
    assert min(arms.values()) > 0

    def counted() -> dict[str, float | None]:
        return {arm: pods.metric(VALUES, arm=arm, metric="answerAccepted") for arm in arms}

    pods.until(lambda: counted() == arms)


def test_a_language_model_gets_the_passages_and_the_question(
    example: ModuleType, pods: ServingProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    prompts: list[str] = []

    def answer(asked: object) -> tuple[int, object]:
        prompts.append(str(asked.body["messages"]))  # type: ignore[attr-defined]
        return 200, completion("the very one [d007]")

    with chat_server(answer) as chat, Serving(pods.url) as serving:
        model = example.language_model(chat.url, "tiny")
        found = example.Application(example.AttuneRetriever(serving=serving, top_k=2), model).ask(QUERY)
    assert found.text == "the very one [d007]"
    assert TEXT in prompts[0]
    assert QUERY in prompts[0]


async def test_the_retriever_works_in_a_chain_and_without_a_thread(example: ModuleType, pods: ServingProcess) -> None:
    async with AsyncServing(pods.url) as serving_async:
        with Serving(pods.url) as serving:
            retriever = example.AttuneRetriever(serving=serving, serving_async=serving_async, top_k=2)
            found = await retriever.ainvoke(QUERY)
            assert found == retriever.invoke(QUERY)
    assert found[0].page_content == TEXT
    assert set(found[0].metadata) == {"id", "title", "score", "publishedAt", "version"}


def test_the_client_embeds_reranks_and_says_in_the_servers_words_what_is_wrong(pods: ServingProcess) -> None:
    with Serving(pods.url, attempts=1) as serving:
        done = serving.embed([QUERY, TEXT])
        assert done.model == "emb-v1"
        assert [len(v) for v in done.vectors] == [32, 32]
        assert len(serving.embed(QUERY, input_type="query", model="emb-v2").vectors) == 1
        with pytest.raises(BadRequest, match="query: give a text"):
            serving.search(" ")
        with pytest.raises(NotFound, match="emb-v9"):
            serving.search(QUERY, model="emb-v9")
        with pytest.raises(BadRequest, match="is measured by serving itself"):
            serving.feedback(QUERY, "latency", 1)
        assert serving.search(QUERY, filter={"id": "d007"}).hits[0].id == "d007"


def test_a_server_that_is_away_is_one_line_and_exit_code_1() -> None:
    command = [sys.executable, str(FOLDER / "app.py"), "--serving", "http://127.0.0.1:9", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("no answer: POST /v1/search: ")
    with pytest.raises(Unreachable), Serving("http://127.0.0.1:9", attempts=1) as serving:
        serving.search("x")
