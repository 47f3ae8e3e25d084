"""Who is to be told of what: each transition once, nothing from before somebody wanted to hear of it, nothing that is stale."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from attune.api import NotificationEvent, NotifyingStatus, Retriever, RetrieverStatus
from attune.api.notifications import MOST_PENDING, MOST_TARGETS
from attune.decide import Decision
from attune.decide.conditions import Said, said
from attune.decide.decision import NOTHING
from attune.decide.notifications.announce import CONDITION, announce, is_to_be_checked
from attune.decide.notifications.happenings import happenings
from attune.observation import (
    Delivery,
    Fate,
    News,
    SeenABTest,
    SeenModelVersion,
    SeenRetriever,
    SeenTrainingJob,
    TargetProblem,
)
from notified import SUBJECTS, a_move, a_run, a_target, a_trial
from versions import DEFAULTS, NOW, a_retriever, a_version

CHAT = {"name": "chat", "type": "webhook", "url": "http://chat/hook"}
PAGER = {**CHAT, "name": "pager", "events": ["TrainingFailed", "RolledBack"]}


def ending(phase: str = "Succeeded", targets: tuple[dict[str, Any], ...] = (CHAT,), **more: Any) -> Decision:
    """The look at which a run ends."""
    job, retriever = a_run(phase), a_retriever(notifications=list(targets)) if targets else a_retriever()
    running = job.model_copy(
        update={"status": job.status.model_copy(update={"phase": "Evaluating", "completion_time": None})}
    )
    return announce(Decision(status=job.status), SeenTrainingJob(running, DEFAULTS), News(retriever, **more), NOW)


def later(decision: Decision, *deliveries: Delivery, after: timedelta = timedelta(), **spec: Any) -> Decision:
    """The next look at it: nothing else happens."""
    job = a_run().model_copy(update={"status": decision.status})
    retriever = a_retriever(notifications=[CHAT, PAGER], **spec)
    return announce(NOTHING, SeenTrainingJob(job, DEFAULTS), News(retriever, deliveries), NOW + after)


def pending(decision: Decision) -> tuple[str, ...]:
    assert isinstance(decision.status, NotifyingStatus)
    return decision.status.pending_notifications or ()


def delivered(decision: Decision, fate: Fate = Fate.DELIVERED, words: str = "", at: int = 0) -> Delivery:
    one = decision.notify[at]
    return Delivery(one.key, one.event, fate, words)


def notified(decision: Decision) -> tuple[str, str, str]:
    assert isinstance(decision.status, NotifyingStatus)
    found = next(c for c in decision.status.conditions or () if c.type == CONDITION)
    return found.status, found.reason, found.message


def test_the_end_of_a_run_and_who_is_to_hear_of_it_are_one_write() -> None:
    decision = ending("Failed", (CHAT, PAGER))
    assert [n.key for n in decision.notify] == list(pending(decision))
    assert [n.target.name for n in decision.notify] == ["chat", "pager"]
    assert {n.event for n in decision.notify} == {NotificationEvent.TRAINING_FAILED}
    assert len({n.id for n in decision.notify}) == 1


def test_what_is_told_is_the_end_and_not_what_was_before_it() -> None:
    (told,) = ending("Failed").notify
    assert told.about == a_run("Failed")


def test_who_did_not_ask_for_an_event_is_not_told_of_it() -> None:
    assert [n.target.name for n in ending("Succeeded", (CHAT, PAGER)).notify] == ["chat"]


def test_without_targets_nothing_is_written_nor_sent() -> None:
    decision = ending(targets=())
    assert decision.notify == ()
    assert pending(decision) == ()


def test_without_a_retriever_nobody_is_told() -> None:
    job = a_run("Failed")
    before = job.model_copy(update={"status": job.status.model_copy(update={"phase": None})})
    decision = announce(Decision(status=job.status), SeenTrainingJob(before, DEFAULTS), News(None), NOW)
    assert decision == Decision(status=job.status)


@pytest.mark.parametrize("about", [a_run(), a_run("Failed")])
def test_what_had_ended_before_there_were_targets_is_never_told(about: Any) -> None:
    decision = announce(NOTHING, SeenTrainingJob(about, DEFAULTS), News(a_retriever(notifications=[CHAT])), NOW)
    assert decision == NOTHING


def test_moves_from_before_there_were_targets_are_never_told() -> None:
    old = a_retriever({"changes": [a_move("Promoted"), a_move()]}, notifications=[CHAT])
    assert announce(NOTHING, SeenRetriever(old, DEFAULTS), News(old), NOW).notify == ()


def test_it_stays_pending_until_it_was_delivered_and_then_never_comes_again() -> None:
    first = ending()
    again = later(first)
    assert again.notify[0].id == first.notify[0].id
    assert again.status is None
    told = later(first, delivered(first))
    assert pending(told) == ()
    assert told.notify == ()
    assert later(told).notify == ()


def test_each_target_is_recorded_by_itself() -> None:
    first = ending("Failed", (CHAT, PAGER))
    half = later(first, delivered(first))
    assert [n.target.name for n in half.notify] == ["pager"]
    whole = later(half, delivered(half))
    assert pending(whole) == ()
    assert notified(whole)[2].endswith("told chat, pager")


def test_an_id_is_of_the_object_and_the_transition_alone() -> None:
    for event, subject in SUBJECTS.items():
        about = subject()
        (mine,) = happenings(about.metadata.uid, about.status)
        assert mine.event is event
        assert mine == happenings(about.metadata.uid, subject().status)[0]
        assert mine.id != happenings("another-uid", about.status)[0].id


def test_two_moves_of_one_second_are_two_happenings() -> None:
    moves = [a_move(), a_move(type="reranker", version="rr-v1", previous="rr-v2"), a_move("Promoted")]
    ids = {h.id for h in happenings("u", RetrieverStatus.model_validate({"changes": moves}))}
    assert len(ids) == 3


def test_an_import_is_no_news() -> None:
    moves = [a_move("Imported", previous=None)]
    assert happenings("u", RetrieverStatus.model_validate({"changes": moves})) == ()


def test_a_refusal_is_said_with_its_words_as_condition_and_event_and_not_tried_again() -> None:
    first = ending()
    refused = later(first, delivered(first, Fate.FAILED, "chat answered 404: no_service"))
    assert refused.notify == ()
    assert notified(refused) == (
        "False",
        "NotificationFailed",
        f"TrainingSucceeded {first.notify[0].id}: chat: chat answered 404: no_service",
    )
    assert [(e.reason, e.warning) for e in refused.events] == [("NotificationFailed", True)]
    assert "no_service" in refused.events[0].message
    assert later(refused).status is None


def test_what_was_recorded_already_is_not_said_again() -> None:
    first = ending()
    gone = delivered(first, Fate.FAILED, "gone")
    refused = later(first, gone)
    assert later(refused, gone) == NOTHING
    assert later(refused, Delivery("chat/0123456789abcdef", NotificationEvent.PROMOTED, Fate.FAILED, "x")) == NOTHING


def test_what_failed_for_one_stays_said_when_another_was_told() -> None:
    first = ending("Failed", (CHAT, PAGER))
    half = later(first, delivered(first, Fate.FAILED, "gone"))
    whole = later(half, delivered(half))
    assert notified(whole)[:2] == ("False", "NotificationFailed")
    assert "chat: gone" in notified(whole)[2]
    both = later(half, delivered(half, Fate.FAILED, "gone, too"))
    assert notified(both)[2].endswith("chat: gone; pager: gone, too")


def test_a_target_that_does_not_answer_is_said_once_and_stays_pending() -> None:
    first = ending()
    silent = later(first, delivered(first, Fate.RETRYING, "chat gave no answer within 10 s"))
    assert len(silent.notify) == 1
    assert notified(silent)[:2] == ("False", "Retrying")
    assert silent.events == ()
    assert later(silent, delivered(first, Fate.RETRYING, "chat gave no answer within 10 s")).status is None
    told = later(silent, delivered(first))
    assert notified(told)[:2] == ("True", "Delivered")


def test_what_could_not_be_delivered_for_a_day_is_given_up_and_that_is_said() -> None:
    first = ending()
    assert len(later(first, after=timedelta(hours=23)).notify) == 1
    stale = later(first, after=timedelta(hours=25))
    assert stale.notify == ()
    assert pending(stale) == ()
    assert "not delivered within 24 h" in notified(stale)[2]
    assert [e.reason for e in stale.events] == ["NotificationFailed"]


def test_a_target_that_is_taken_away_is_not_told_any_more() -> None:
    first = ending("Failed", (CHAT, PAGER))
    job = a_run().model_copy(update={"status": first.status})
    decision = announce(NOTHING, SeenTrainingJob(job, DEFAULTS), News(a_retriever(notifications=[CHAT])), NOW)
    assert [n.target.name for n in decision.notify] == ["chat"]
    assert notified(decision)[2].endswith("pager: its target was taken away")
    gone = announce(NOTHING, SeenTrainingJob(job, DEFAULTS), News(None), NOW)
    assert pending(gone) == ()


def test_a_rollback_is_told_with_the_move_that_it_was() -> None:
    before = a_retriever({"changes": [a_move("Promoted")]}, notifications=[CHAT])
    after = before.status.model_copy(update={"changes": (*(before.status.changes or ()), *moves(a_move()))})
    decision = announce(Decision(status=after), SeenRetriever(before, DEFAULTS), News(before), NOW)
    assert [(n.event, n.change and n.change.version) for n in decision.notify] == [("RolledBack", "emb-v1")]


def moves(*changes: dict[str, Any]) -> tuple[Any, ...]:
    return RetrieverStatus.model_validate({"changes": list(changes)}).changes or ()


def test_of_more_than_fit_the_newest_are_kept_and_the_others_are_said_to_be_given_up() -> None:
    targets = [{**CHAT, "name": f"chat-{n}"} for n in range(MOST_TARGETS)]
    before = a_retriever(notifications=targets)
    changes = moves(*(a_move(at=f"2026-03-15T11:0{n}:00Z") for n in range(3)))
    after = before.status.model_copy(update={"changes": changes})
    decision = announce(Decision(status=after), SeenRetriever(before, DEFAULTS), News(before), NOW)
    assert len(pending(decision)) == MOST_PENDING
    assert {n.change.at.minute for n in decision.notify if n.change} == {1, 2}
    assert len([e for e in decision.events if "given up" in e.message]) == 3 * MOST_TARGETS - MOST_PENDING


def test_a_test_tells_of_its_end() -> None:
    trial = a_trial()
    running = trial.model_copy(update={"status": trial.status.model_copy(update={"phase": "Running"})})
    seen = SeenABTest(running, a_retriever(notifications=[CHAT]))
    decision = announce(Decision(status=trial.status), seen, News(seen.retriever), NOW)
    assert [n.event for n in decision.notify] == ["TestConcluded"]
    assert decision.notify[0].retriever == "news"


def test_a_version_tells_of_nothing() -> None:
    decision = Decision(status=a_version(1).status)
    assert announce(decision, SeenModelVersion(a_version(1), DEFAULTS), News(), NOW) is decision


def test_what_is_being_deleted_tells_of_nothing() -> None:
    job = a_run()
    going = job.model_copy(update={"metadata": job.metadata.model_copy(update={"deletion_timestamp": NOW})})
    assert announce(NOTHING, SeenTrainingJob(going, DEFAULTS), News(a_retriever(notifications=[CHAT])), NOW) is NOTHING


# ---- whether the targets can be told at all


def checked(retriever: Retriever, *problems: TargetProblem, examined: bool = True) -> Decision:
    news = News(retriever, problems=problems if examined else None)
    return announce(Decision(status=retriever.status), SeenRetriever(retriever, DEFAULTS), news, NOW)


def test_targets_are_said_to_be_ready_before_anything_happens() -> None:
    retriever = a_retriever(notifications=[CHAT, PAGER])
    assert is_to_be_checked(retriever)
    decision = checked(retriever)
    assert notified(decision) == ("True", "Ready", "to be told: chat, pager")
    assert not is_to_be_checked(retriever.model_copy(update={"status": decision.status}))


def test_a_secret_that_is_missing_is_said_at_once_and_looked_for_again() -> None:
    retriever = a_retriever(notifications=[CHAT])
    decision = checked(retriever, TargetProblem("SecretMissing", "chat: Secret chat: there is none"))
    assert notified(decision) == ("False", "SecretMissing", "chat: Secret chat: there is none")
    assert decision.requeue_after == timedelta(minutes=1)
    assert [e.reason for e in decision.events] == ["NotificationsNotReady"]
    stored = retriever.model_copy(update={"status": decision.status})
    assert is_to_be_checked(stored)
    again = checked(stored, TargetProblem("SecretMissing", "chat: Secret chat: there is none"))
    assert again.events == ()
    assert again.status == stored.status
    assert notified(checked(stored))[1] == "Ready"


def test_a_template_that_fails_is_said_at_once_with_its_line() -> None:
    decision = checked(a_retriever(notifications=[{**CHAT, "template": "{{ title }}\n{{ versoin }}"}]))
    assert notified(decision)[:2] == ("False", "TemplateInvalid")
    assert "there is no versoin" in notified(decision)[2]


def test_a_look_that_is_in_a_hurry_says_nothing_of_secrets() -> None:
    retriever = a_retriever(notifications=[CHAT])
    assert checked(retriever, examined=False).status == retriever.status


def test_a_new_generation_is_checked_and_keeps_what_was_said_of_a_delivery() -> None:
    retriever = a_retriever(notifications=[CHAT])
    status = said(retriever.status, Said(CONDITION, False, "NotificationFailed", "RolledBack 1: chat: gone"), 0, NOW)
    new = retriever.model_copy(
        update={"status": status, "metadata": retriever.metadata.model_copy(update={"generation": 7})}
    )
    assert is_to_be_checked(new)
    decision = checked(new)
    assert notified(decision) == ("False", "NotificationFailed", "RolledBack 1: chat: gone")
    assert not is_to_be_checked(new.model_copy(update={"status": decision.status}))


def test_where_nobody_is_to_be_told_nothing_is_said() -> None:
    retriever = a_retriever()
    status = said(retriever.status, Said(CONDITION, True, "Ready", "to be told: chat"), 0, NOW)
    decision = checked(retriever.model_copy(update={"status": status}), examined=False)
    assert isinstance(decision.status, RetrieverStatus)
    assert decision.status.conditions is None
    assert not is_to_be_checked(retriever)


def test_a_target_without_events_wants_all() -> None:
    assert all(a_target().wants(event) for event in NotificationEvent)
    assert not a_target(events=["Promoted"]).wants(NotificationEvent.ROLLED_BACK)
