"""What chats and servers get: the numbers in words, one JSON for each form, and nothing that calls a whole channel."""

from __future__ import annotations

import json
from typing import Any

import pytest

from attune.api import NotificationEvent
from attune.decide.notifications.facts import facts_of
from attune.decide.notifications.payloads import LOUD, body_of, escaped
from notified import LONG_CAUSE, SUBJECTS, a_move, a_notification, a_run, a_target, a_trial
from versions import a_retriever

SLACK = a_target("chat", type="slack", secretRef={"name": "chat"})


def body(event: NotificationEvent, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(body_of(a_notification(event, **more)))
    return made


TEXTS = {
    NotificationEvent.TRAINING_SUCCEEDED: "[team/news] Training tune succeeded\n"
    "emb-v2: nDCG@10 0.800 (active) → 0.900 (+12.5%, 95% CI +0.050 to +0.150) on 200 queries",
    NotificationEvent.TRAINING_FAILED: "[team/news] Training tune failed: BelowThreshold\n"
    "ndcgAt10 0.71 < 0.85 (evalThreshold), on 200 queries",
    NotificationEvent.TEST_CONCLUDED: "[team/news] Test trial concluded: B wins\n"
    "Promote emb-v2: clicks +13.2% (95% CI +3.9% to +22.5%) on 2,608 queries.\n"
    "clicks: B 0.352 of 1,312, A 0.311 of 1,296 queries; difference +0.041 (+0.012 to +0.07)",
    NotificationEvent.TEST_FAILED: "[team/news] Test trial failed: NotStaged\nemb-v2 is failed",
    NotificationEvent.TEST_CANCELLED: "[team/news] Test trial was cancelled: CancelRequested\ncancelled",
    NotificationEvent.PROMOTED: "[team/news] emb-v2 was promoted: it serves instead of emb-v1\nrequest r1",
    NotificationEvent.ROLLED_BACK: "[team/news] emb-v2 was taken back: emb-v1 serves\n"
    "9.1% of 1,312 requests failed, 3 times the 1.0% before",
}


@pytest.mark.parametrize("event", NotificationEvent)
def test_the_built_in_text_tells_what_happened_with_the_numbers(event: NotificationEvent) -> None:
    assert body(event)["text"] == TEXTS[event]


@pytest.mark.parametrize("event", NotificationEvent)
def test_a_server_gets_the_documented_fields(event: NotificationEvent) -> None:
    told, made = a_notification(event), body(event)
    assert list(made) == [
        *(
            "version",
            "id",
            "event",
            "time",
            "retriever",
            "object",
            "title",
            "reason",
            "message",
            "names",
            "numbers",
            "text",
        )
    ]
    assert made["version"] == "1"
    assert made["id"] == told.id
    assert made["event"] == event.value
    assert made["time"] == "2026-03-15T11:59:00Z"
    assert made["retriever"] == {"namespace": "team", "name": "news"}
    assert made["object"] == {
        "apiVersion": "attune.dev/v1alpha1",
        "kind": told.about.kind,
        "namespace": "team",
        "name": told.about.metadata.name,
        "uid": told.about.metadata.uid,
    }


def test_numbers_are_numbers_and_what_was_not_measured_is_absent() -> None:
    run = body(NotificationEvent.TRAINING_SUCCEEDED)
    assert run["numbers"] == {
        "evalThreshold": 0.85,
        "score": 0.9,
        "ndcgAt10": 0.9,
        "baselineNdcgAt10": 0.8,
        "improvementPercent": 12.5,
        "queries": 200,
    }
    assert run["names"] == {"job": "tune", "type": "embedding", "version": "emb-v2"}
    failed = body(NotificationEvent.TRAINING_FAILED)
    assert failed["numbers"] == {"evalThreshold": 0.85}
    test = body(NotificationEvent.TEST_CONCLUDED)
    assert test["numbers"]["difference"] == pytest.approx(0.041)
    assert test["numbers"]["pValue"] == 0.004
    assert test["names"]["winner"] == "B"


def test_a_test_that_measured_nothing_is_told_without_numbers() -> None:
    blind = a_trial(metricsA=None, metricsB=None, intervals=None, pValues=None, winner="inconclusive")
    made = body(NotificationEvent.TEST_CONCLUDED, about=blind)
    assert made["title"] == "Test trial concluded: inconclusive"
    assert "difference" not in made["numbers"]


@pytest.mark.parametrize("event", NotificationEvent)
def test_a_chat_gets_text_and_blocks_within_slacks_limits(event: NotificationEvent) -> None:
    made = body(event, target=SLACK)
    assert list(made) == ["text", "blocks"]
    section, context = made["blocks"]
    assert section["type"] == "section"
    assert len(section["text"]["text"]) <= 3000
    assert context["elements"][0]["text"].endswith(a_notification(event).id)
    first = TEXTS[event].splitlines()[0].partition("] ")[2]
    assert first in made["text"]
    assert f"*team/news: {first}*" in section["text"]["text"]


def test_a_message_of_any_length_fits() -> None:
    long = a_run("Failed", message="x" * 30_000)
    made = body(NotificationEvent.TRAINING_FAILED, about=long, target=SLACK)
    assert len(made["text"]) == 3000
    assert len(made["blocks"][0]["text"]["text"]) == 3000


@pytest.mark.parametrize("loud", LOUD)
def test_what_a_job_said_is_no_link_no_mention_and_calls_nobody(loud: str) -> None:
    evil = a_run("Failed", message=f"<!{loud}> @{loud} <https://evil|click> & co")
    made = json.dumps(body(NotificationEvent.TRAINING_FAILED, about=evil, target=SLACK), ensure_ascii=False)
    assert f"@{loud}" not in made
    assert f"<!{loud}" not in made
    assert "<https" not in made
    assert "&lt;https://evil|click&gt; &amp; co" in made


def test_a_template_may_write_links_and_its_values_may_not() -> None:
    target = a_target("chat", type="slack", secretRef={"name": "chat"}, template="<https://wiki|wiki> {{ message }}")
    evil = a_run("Failed", message="<!channel>")
    made = body(NotificationEvent.TRAINING_FAILED, about=evil, target=target)
    assert made["text"] == "<https://wiki|wiki> &lt;!channel&gt;"
    assert made["blocks"][0]["text"]["text"] == made["text"]


def test_a_template_replaces_the_text() -> None:
    target = a_target(template="{{ previous }} → {{ version }}: {{ cause }}")
    assert body(NotificationEvent.ROLLED_BACK, target=target)["text"].startswith("emb-v2 → emb-v1: 9.1%")


@pytest.mark.parametrize("kind", ["slack", "webhook"])
def test_a_template_that_fails_gives_way_to_the_built_in_text_with_a_note(kind: str) -> None:
    more = {"secretRef": {"name": "chat"}} if kind == "slack" else {}
    target = a_target(type=kind, template="{{ message | round }}", **more)
    text = body(NotificationEvent.ROLLED_BACK, target=target)["text"]
    assert "emb-v2 was taken back: emb-v1 serves" in text
    assert "(the template of target chat fails: TypeError" in text


def test_a_cause_that_the_history_cut_is_told_in_full() -> None:
    cut = LONG_CAUSE[:119] + "…"
    condition = {
        "type": "RolledBack",
        "status": "True",
        "reason": "ErrorRate",
        "message": f"emb-v2 → emb-v1: {LONG_CAUSE}",
        "lastTransitionTime": "2026-03-15T11:59:00Z",
    }
    whole = a_retriever({"changes": [a_move(cause=cut)], "conditions": [condition]})
    assert facts_of(a_notification(about=whole)).message == LONG_CAUSE
    other = a_retriever({"changes": [a_move(cause="another " + cut)], "conditions": [condition]})
    assert facts_of(a_notification(about=other)).message == "another " + cut


def test_who_asked_is_told() -> None:
    by_hand = a_retriever({"changes": [a_move(requestID="cli-1")]})
    assert facts_of(a_notification(about=by_hand)).reason == "ByHand"
    assert facts_of(a_notification()).reason == "ByItself"


def test_escaping_leaves_ordinary_words_alone() -> None:
    assert escaped("nDCG@10 0.8 → 0.9, mail@example.com") == "nDCG@10 0.8 → 0.9, mail@example.com"


def test_every_event_has_a_subject_in_these_tests() -> None:
    assert set(SUBJECTS) == set(NotificationEvent) == set(TEXTS)
