"""Questions from a language model behind HTTP: cache, limits, faults of the server, and what is charged."""

import json
import threading
from pathlib import Path

import pytest

from attune.contract import SyntheticSource, TokenPrice
from attune_trainer.data.records import Document, Tally
from attune_trainer.data.synthetic.asking import REFUSALS_IN_A_ROW, Purse, ask_about
from attune_trainer.data.synthetic.cache import Entry, QuestionCache
from attune_trainer.errors import BadConfig, StoreUnavailable
from chat_server import chat_server, completion, refusal, three_questions


def documents(count):
    return [Document(f"d{n}", f"title {n}", " ".join(f"word{n}x{m}" for m in range(30)) + ".") for n in range(count)]


@pytest.fixture
def ask(tmp_path):
    def run(server, count=10, *, run="run-1", retries=0, tally=None, **settings):
        source = SyntheticSource(**{"base_url": server.url, "model": "small", "concurrency": 2, **settings})
        purse = Purse(f"file://{tmp_path}/synthetic", run, retries)
        return ask_about(documents(count), source, purse, Tally() if tally is None else tally, lambda _: None)

    return run


def kept(tmp_path):
    """Titles are not in the cache; articles are, by their digest."""
    return sum(len(path.read_text().splitlines()) for path in (tmp_path / "synthetic").rglob("*.jsonl"))


def test_each_article_is_asked_about_once_and_its_questions_become_judgements(ask):
    with chat_server() as server:
        asked = ask(server)
    assert len(asked.judgements) == 30
    assert {judgement.doc_id for judgement in asked.judgements} == {f"d{n}" for n in range(10)}
    assert {judgement.source for judgement in asked.judgements} == {"synthetic"}
    assert set(server.by_title.values()) == {1}
    prompt = server.asked[0].prompt
    assert prompt.startswith("Generate 3 questions that this article answers.")
    assert "Title: title" in prompt
    assert "word" in prompt
    assert asked.facts == {
        "model": "small",
        "prompt": asked.facts["prompt"],
        "articles": 10,
        "inputTokens": 1000,
        "outputTokens": 500,
    }


def test_what_was_asked_once_is_not_asked_again_and_gives_the_same_questions(ask, tmp_path):
    with chat_server() as server:
        first = ask(server)
        assert len(list((tmp_path / "synthetic").rglob("*.jsonl"))) == 1, "the parts are joined at the end"
        again = ask(server, run="run-2")
        more = ask(server, 12, run="run-3")
    assert again == first
    assert len(server.asked) == 12
    assert len(more.judgements) == 36


def test_another_model_and_another_number_of_questions_are_asked_for_anew(ask):
    with chat_server() as server:
        ask(server, 2)
        ask(server, 2, model="large")
        ask(server, 2, questions_per_article=5)
    assert len(server.asked) == 6
    assert "Generate 5 questions" in server.asked[-1].prompt


def test_requests_are_under_way_together_but_never_more_than_asked_for(ask):
    with chat_server(delay=0.05) as server:
        ask(server, 12, concurrency=3)
    assert server.most_at_once == 3


def test_the_answer_is_asked_for_in_the_strictest_form_that_the_server_takes(ask):
    def no_schema(asked):
        form = asked.body.get("response_format", {}).get("type")
        return (400, refusal("response_format is not supported")) if form else three_questions(asked)

    with chat_server(no_schema) as server:
        assert len(ask(server, 5, concurrency=1).judgements) == 15
    forms = [asked.body.get("response_format", {}).get("type") for asked in server.asked]
    assert forms == ["json_schema", "json_object", *[None] * 5], "what it refused is not tried again"


def test_the_token_limit_has_the_name_that_the_server_takes(ask):
    def newer(asked):
        if "max_tokens" in asked.body:
            return 400, refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        return three_questions(asked)

    with chat_server(newer) as server:
        assert len(ask(server, 3, concurrency=1).judgements) == 9
    assert [asked.body.get("max_completion_tokens") for asked in server.asked] == [None, 400, 400, 400]
    assert server.asked[-1].body["response_format"]["type"] == "json_schema"


def test_rubbish_is_counted_is_not_paid_for_twice_and_the_others_go_on(ask):
    def some_rubbish(asked):
        return (200, completion("Sorry.")) if asked.title == "title 3" else three_questions(asked)

    tally = Tally()
    with chat_server(some_rubbish) as server:
        asked = ask(server, tally=tally)
        ask(server, run="later")
    assert len(asked.judgements) == 27
    assert tally.by_source() == {"synthetic": {"unparsable": 1}}
    assert len(server.asked) == 10


PRICE = TokenPrice(input_per_million_usd=100, output_per_million_usd=1000)
"""100 tokens read and 50 written: 0.06 dollars an article; at most 0.43 beforehand, by the bytes of prompt and the longest answer."""


def test_the_cost_is_told_by_the_price_and_the_tokens_charged(ask):
    with chat_server() as server:
        assert ask(server, 10, price=PRICE).cost_usd == pytest.approx(0.6)
        assert ask(server, 10).cost_usd is None
        assert ask(server, 10, price=PRICE, run="later").cost_usd == 0


def test_asking_ends_before_the_limit_of_cost_and_what_was_not_asked_is_counted(ask):
    tally = Tally()
    with chat_server() as server:
        asked = ask(server, 40, price=PRICE, max_cost_usd=1.5, tally=tally)
    assert 0.9 < asked.cost_usd <= 1.5
    assert tally.by_reason() == {"costLimit": 40 - len(server.asked)}
    assert len(asked.judgements) == 3 * len(server.asked)


def test_no_request_is_made_that_could_cost_more_than_is_left(ask):
    with chat_server() as server:
        ask(server, 5, price=PRICE, max_cost_usd=0.3)
    assert server.asked == []


def test_an_attempt_that_was_cut_off_has_spent_its_share_of_the_limit_and_another_run_has_not(ask, tmp_path):
    def dies(asked):
        return (401, refusal("revoked")) if asked.number > 8 else three_questions(asked)

    with chat_server(dies) as server:
        with pytest.raises(BadConfig):
            ask(server, 40, price=PRICE, max_cost_usd=1.5)
        server.answer, paid = three_questions, kept(tmp_path)
        again = ask(server, 40, price=PRICE, max_cost_usd=1.5)
        assert 7 <= paid <= 8
        assert again.cost_usd == pytest.approx(0.06 * again.facts["articles"])
        assert again.cost_usd <= 1.5
        later = ask(server, 40, price=PRICE, max_cost_usd=1.5, run="next month")
    assert 0 < later.cost_usd <= 1.5
    assert later.facts["articles"] > again.facts["articles"]


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [(401, BadConfig, "LanguageModelRefused"), (403, BadConfig, "LanguageModelRefused"),
     (404, BadConfig, "LanguageModelNotFound"), (429, StoreUnavailable, "LanguageModelUnavailable"),
     (500, StoreUnavailable, "LanguageModelUnavailable"), (400, BadConfig, "LanguageModelRefused")],
)  # fmt: skip
def test_a_server_that_refuses_ends_the_stage_with_its_words_and_the_way_out(ask, status, error, reason):
    with chat_server(lambda _: (status, refusal("the server's own words"))) as server, pytest.raises(error) as caught:
        ask(server)
    assert caught.value.reason == reason
    assert "the server's own words" in str(caught.value)
    assert server.url in str(caught.value)


def test_nobody_there_is_retried_and_says_where_it_looked(ask):
    with chat_server() as server:
        pass
    with pytest.raises(StoreUnavailable, match=r"does not answer .*check that it answers from this pod") as caught:
        ask(server)
    assert server.url in str(caught.value)


def test_a_key_is_sent_and_never_repeated_in_a_message(ask, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    with (
        chat_server(lambda a: (401, refusal(f"bad key {a.headers['authorization'][7:]}"))) as server,
        pytest.raises(BadConfig) as caught,
    ):
        ask(server, 1)
    assert server.asked[0].headers["authorization"] == "Bearer sk-very-secret"
    assert "bad key …" in str(caught.value)


def test_something_else_under_the_address_is_named(ask):
    with (
        chat_server(lambda _: (200, "<html>Welcome</html>")) as server,
        pytest.raises(BadConfig, match="usually ends in /v1"),
    ):
        ask(server, 2)


def test_what_was_answered_before_the_server_went_away_is_kept_and_said(ask, tmp_path):
    away = threading.Event()

    def goes(asked):
        if asked.number > 6:
            away.set()
        return (503, refusal("overloaded")) if away.is_set() else three_questions(asked)

    with chat_server(goes) as server:
        with pytest.raises(StoreUnavailable, match=r"of 30 articles were answered before") as caught:
            ask(server, 30, concurrency=1)
        assert caught.value.reason == "LanguageModelUnavailable"
        assert kept(tmp_path) == 6
        assert len(server.asked) == 6 + REFUSALS_IN_A_ROW
        server.answer, server.asked = three_questions, []
        assert len(ask(server, 30).judgements) == 90
        assert len(server.asked) == 24


def test_one_article_that_the_server_refuses_is_counted_and_the_others_go_on(ask):
    tally = Tally()
    with chat_server(
        lambda a: (400, refusal("content filter")) if a.title == "title 3" else three_questions(a)
    ) as server:
        asked = ask(server, tally=tally)
    assert len(asked.judgements) == 27
    assert tally.by_reason() == {"refusedByModel": 1}


def test_one_article_that_breaks_the_connection_is_no_reason_to_end(ask):
    """A server may fall over one article each time, or think about it for ever."""

    def falls(asked):
        if asked.title == "title 3":
            raise ConnectionAbortedError
        return three_questions(asked)

    tally = Tally()
    with chat_server(falls) as server:
        assert len(ask(server, tally=tally).judgements) == 27
    assert tally.by_reason() == {"refusedByModel": 1}


def test_a_server_that_stumbles_is_asked_again_by_the_sdk(ask):
    with chat_server(lambda a: (500, refusal("oops")) if a.number == 2 else three_questions(a)) as server:
        assert len(ask(server, 4, concurrency=1, retries=2).judgements) == 12
    assert len(server.asked) == 5


def test_tokens_are_estimated_where_the_server_does_not_tell_them(ask):
    def untold(asked):
        status, body = three_questions(asked)
        return status, {**body, "usage": None}

    with chat_server(untold) as server:
        facts = ask(server, 1).facts
    assert 150 < facts["inputTokens"] < 500
    assert 20 < facts["outputTokens"] < 100


def entry(n, answer="x"):
    return Entry(f"digest-{n}", answer, 1, 1, "run")


def test_many_small_files_become_one_before_the_end_and_nothing_is_lost_on_the_way(tmp_path):
    cache = QuestionCache(str(tmp_path))
    for n in range(450):
        cache.add([entry(n)])
    assert len(list(Path(tmp_path).glob("*.jsonl"))) < 60
    fresh = QuestionCache(str(tmp_path))
    fresh.load()
    assert len(fresh.entries) == 450
    fresh.tidy()
    assert len(list(Path(tmp_path).glob("*.jsonl"))) == 1
    cache.tidy()
    again = QuestionCache(str(tmp_path))
    again.load()
    assert again.entries == fresh.entries


def test_two_runs_that_asked_the_same_agree_on_one_answer_and_a_damaged_line_is_asked_for_again(tmp_path):
    one, other = QuestionCache(str(tmp_path)), QuestionCache(str(tmp_path))
    one.add([entry(1, "b")])
    other.add([entry(1, "a"), entry(2)])
    (tmp_path / "part-damaged.jsonl").write_text('{"article": "digest-3"}\n{"arti\n')
    found = QuestionCache(str(tmp_path))
    found.load()
    assert {name: e.answer for name, e in found.entries.items()} == {"digest-1": "a", "digest-2": "x"}
    assert json.loads((tmp_path / "part-damaged.jsonl").read_text().splitlines()[0])
